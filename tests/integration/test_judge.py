"""Every plan for every known host, and plans that are known to be bad, before vLLM's own parser and configuration."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.unit.planning.hosts import host, release
from voxtral_ops.catalog import catalog
from voxtral_ops.errors import VoxtralError
from voxtral_ops.hardware.profile import Profile
from voxtral_ops.planning import PlanOverrides, make_plan
from voxtral_ops.planning.plan import Goal, Instance, Plan
from voxtral_ops.server.judgement import Bench, Case, Judgement, Verdict, judge

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]
ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "roles" / "voxtral_server" / "templates"
BAD = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "tests/data/bad_plans").iterdir()}


def profiles() -> Iterator[tuple[str, Profile]]:
    """The hosts that were detected through NVIDIA's bindings, which the golden plans are made for as well."""
    for path in sorted((ROOT / "tests" / "data" / "hosts").glob("*.json")):
        yield path.stem, Profile.model_validate_json(path.read_text(encoding="utf-8"))


@cache
def plans() -> dict[str, tuple[Profile, Plan]]:
    """Whatever the planner makes of every host: what it would serve, and each model by name, for every goal.

    Its refusals are no plans. A plan that another goal has made already is judged once.
    """
    made: dict[str, tuple[Profile, Plan]] = {}
    for name, profile in profiles():
        known: list[Plan] = []
        for wish in ((), *((model,) for model in catalog())):
            for goal in get_args(Goal):
                try:
                    plan = make_plan(profile, release(), overrides=PlanOverrides(models=wish, goal=goal))
                except VoxtralError:
                    continue
                same = plan.model_copy(update={"goal": "balanced", "reasons": {}})
                if same not in known:
                    known.append(same)
                    made[f"{name}/{'+'.join(wish) or 'all'}/{goal}"] = profile, plan
    return made


def spoilt(good: Instance, bad: dict[str, Any]) -> Instance:
    """A good instance with what a data file changes of it, past every check of our own."""
    arguments = good.arguments | bad.get("arguments", {})
    environment = good.environment | bad.get("environment", {})
    gpus = tuple(range(bad.get("gpus_seen", len(good.gpus))))
    return good.model_copy(update={"arguments": arguments, "environment": environment, "gpus": gpus})


def bad_cases(bench: Bench) -> Iterator[Case]:
    """Each bad plan, and beside it the good one that it was made of."""
    for name, bad in BAD.items():
        planned_for = host(*bad.get("planned_for", bad["gpus"]))
        plan = make_plan(planned_for, release(bad["model"]), overrides=PlanOverrides(models=(bad["model"],)))
        # One server is enough where the planner makes replicas.
        plan = plan.model_copy(update={"instances": plan.instances[:1]})
        yield from bench.plan(plan, planned_for, f"good/{name}")
        runs_on = host(*bad["gpus"])
        changed = plan.model_copy(update={"instances": (spoilt(plan.instances[0], bad),)})
        (case,) = bench.plan(changed, runs_on, f"bad/{name}")
        joined = (*case.argv[:-2], "=".join(case.argv[-2:]))
        yield case.model_copy(update={"argv": joined}) if bad.get("joined") else case


@pytest.fixture(scope="module")
def judgement(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Judgement:
    """One process judges everything: it imports vLLM once."""
    bench = Bench(TEMPLATES, tmp_path_factory.mktemp("judge"))
    cases = [case for name, (profile, plan) in plans().items() for case in bench.plan(plan, profile, f"plan/{name}")]
    return judge(engine, [*cases, *bad_cases(bench)])


@pytest.fixture(scope="module")
def verdicts(judgement: Judgement) -> dict[str, Verdict]:
    return {verdict.name: verdict for verdict in judgement.verdicts}


def test_every_plan_is_accepted(verdicts: dict[str, Verdict], record_property: Any) -> None:
    planned = {name: verdict for name, verdict in verdicts.items() if name.startswith("plan/")}
    rejected = {name: verdict.words for name, verdict in planned.items() if not verdict.accepted}
    record_property("plans", len(planned))
    assert not rejected, json.dumps(rejected, indent=1)
    assert len(planned) > 150
    print(f"{len(planned)} planned command lines, 0 rejected")


def test_what_was_planned_is_what_vllm_makes_of_it(verdicts: dict[str, Verdict]) -> None:
    """An accepted line may still mean something else; these are vLLM's own values after its defaults."""
    for name, (_, plan) in plans().items():
        for instance in plan.instances:
            made, asked = verdicts[f"plan/{name}/{instance.name}"].resolved, instance.arguments
            assert made["max_model_len"] == asked["max-model-len"]
            assert made["tensor_parallel_size"] == asked.get("tensor-parallel-size", 1)
            assert made["quantization"] == asked.get("quantization")
            assert made["max_num_seqs"] == asked.get("max-num-seqs", made["max_num_seqs"])
            assert made["max_num_batched_tokens"] == asked.get("max-num-batched-tokens", made["max_num_batched_tokens"])


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_bad_plan_is_rejected_with_the_reason(name: str, verdicts: dict[str, Verdict]) -> None:
    verdict = verdicts[f"bad/{name}/{BAD[name]['model']}"]
    assert (verdict.accepted, verdict.stage) == (False, BAD[name]["stage"]), verdict
    assert BAD[name]["words"] in verdict.words


@pytest.mark.parametrize("name", sorted(BAD))
def test_without_the_one_change_it_is_accepted(name: str, verdicts: dict[str, Verdict]) -> None:
    verdict = verdicts[f"good/{name}/{BAD[name]['model']}"]
    assert verdict.accepted, verdict


def test_what_only_the_hardware_can_tell_is_listed(judgement: Judgement) -> None:
    assert {verdict.platform for verdict in judgement.verdicts} == {"cpu", "cuda"}
    assert any("attention backend" in words for words in judgement.unjudged["cuda"])
    assert all(judgement.unjudged.values())
