"""Plans as text, one line a decision: a change of the planning shows as a change of these files.

``golden/hosts``: the plan of every host of ``tests/data/hosts`` when nothing is asked for. ``golden/goals``: on some of
them every model and every goal, a line each; ``golden/releases``: there, a release of every model, a line a server.
After a wanted change:
``VOXTRAL_WRITE_GOLDEN=1 pytest tests/unit/planning/test_golden.py``, and review the diff.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.planning.hosts import HOSTS, profile_named, release
from voxtral_ops.catalog import catalog
from voxtral_ops.errors import VoxtralError
from voxtral_ops.planning import Instance, Plan, PlanOverrides, make_plan
from voxtral_ops.planning.goals import RULES
from voxtral_ops.planning.memory import gib
from voxtral_ops.planning.plan import PARTS
from voxtral_ops.planning.show import decisions

GOLDEN = Path(__file__).parent / "golden"
EVERY_HOST = sorted(path.stem for path in HOSTS.glob("*.json"))
REPRESENTATIVE = (
    *("none", "t4", "rtx-3060", "l4", "rtx-4090", "rtx-3090-x2-nvlink", "l40s-x2", "driver-550"),
    *("a100-40g", "h100-80g", "h100-80g-mig", "h100-80g-x2", "h100-80g-x8", "mixed", "busy"),
)
THE_SAME_EVERYWHERE = {
    *("--tokenizer-mode", "--config-format", "--load-format", "--served-model-name", "--host", "--shutdown-timeout"),
    *("--allowed-media-domains", "--disable-fastapi-docs", "--enable-auto-tool-choice", "--tool-call-parser"),
    *("HF_HUB_OFFLINE", "VLLM_NO_USAGE_STATS", "DO_NOT_TRACK", "VLLM_MEDIA_URL_ALLOW_REDIRECTS"),
    *("VLLM_ENGINE_READY_TIMEOUT_S", "VLLM_MAX_AUDIO_CLIP_FILESIZE_MB", "VLLM_MAX_AUDIO_DECODE_BYTES"),
}


def check(path: Path, text: str) -> None:
    if os.environ.get("VOXTRAL_WRITE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def budget(instance: Instance) -> str:
    parts = [f"{part} {gib(size)}" for part in PARTS if (size := getattr(instance.memory, part))]
    return f"{' + '.join(parts)} = {gib(instance.memory.limit)}"


def lines(plan: Plan) -> Iterator[str]:
    alike = {instance.name for instance in plan.instances if instance.name != instance.model}
    skip = False
    budgets = {instance.name: budget(instance) for instance in plan.instances}
    for name, value, why in decisions(plan):
        if name == "model":
            skip = value in alike
            yield f"model: {value} | {why}"
            yield f"memory: {budgets[value]}"
        elif name in {"gpus", "--port"} or not (skip or name in THE_SAME_EVERYWHERE):
            yield f"{name}: {value} | {why}"
    yield from (f"warning: {warning}" for warning in plan.warnings)


@pytest.mark.parametrize("name", EVERY_HOST)
def test_every_host(name: str) -> None:
    try:
        text = "\n".join(lines(make_plan(profile_named(name), None)))
    except VoxtralError as error:
        text = f"{type(error).__name__}: {error.message}\nhint: {error.hint}"
    check(GOLDEN / "hosts" / f"{name}.txt", f"{text}\n")


def in_a_line(plan: Plan) -> str:
    first = plan.instances[0]
    arguments, capacity = first.arguments, first.capacity
    gpus = len(first.gpus)
    return (
        f"{len(plan.instances)} x {f'{gpus} GPU' if gpus else 'CPU'}, vLLM {plan.engine}: "
        f"{arguments.get('quantization', arguments['dtype'])}, context {arguments['max-model-len']}, "
        f"seqs {arguments['max-num-seqs']}, batch {arguments['max-num-batched-tokens']}, "
        f"share {arguments.get('gpu-memory-utilization', '-')}, cache {arguments['kv-cache-memory-bytes']}; at once "
        f"{capacity.clips} clips, {capacity.files} files, {capacity.sessions} sessions; {capacity.longest_audio} s"
    )


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_every_model_and_goal(name: str) -> None:
    profile, found = profile_named(name), []
    for model in catalog():
        for goal in RULES:
            overrides = PlanOverrides(models=(model,), goal=goal)
            try:
                text = in_a_line(make_plan(profile, None, overrides=overrides))
            except VoxtralError as error:
                text = f"no: {error.message} | {error.hint}"
            found.append(f"{model} {goal}: {text}\n")
    check(GOLDEN / "goals" / f"{name}.txt", "".join(found))


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_a_release_of_every_model(name: str) -> None:
    plan = make_plan(profile_named(name), release())
    found = [
        f"{each.name}: GPUs {','.join(map(str, each.gpus)) or 'none'}, port {each.port}, "
        f"context {each.arguments['max-model-len']}, share {each.arguments.get('gpu-memory-utilization', '-')}; "
        f"{budget(each)}"
        for each in plan.instances
    ]
    found += [f"warning: {warning}" for warning in plan.warnings]
    check(GOLDEN / "releases" / f"{name}.txt", "".join(f"{line}\n" for line in found))


def test_no_golden_file_is_left_over() -> None:
    assert sorted(path.stem for path in (GOLDEN / "hosts").iterdir()) == EVERY_HOST
    for folder in ("goals", "releases"):
        assert sorted(path.stem for path in (GOLDEN / folder).iterdir()) == sorted(REPRESENTATIVE)
