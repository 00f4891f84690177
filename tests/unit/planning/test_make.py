"""Rules of planning that hold for every host."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.planning.hosts import MIB, broken, gpu, host, profile_named, release
from voxtral_ops.catalog import catalog_model
from voxtral_ops.errors import ConfigurationError, HostError
from voxtral_ops.hardware.profile import Accelerators, GpuProcess, Profile
from voxtral_ops.planning import Instance, Memory, Plan, PlanOverrides, choose_model, make_plan
from voxtral_ops.planning.goals import RULES
from voxtral_ops.planning.plan import PARTS, Goal

REAL = ("mini-3b", "small-24b", "realtime-4b")
MEMORY = st.integers(min_value=1024, max_value=200_000).map(lambda size: size * MIB)
GOALS = st.sampled_from(list(RULES))
CAPABILITIES = st.sampled_from([(7, 0), (7, 5), (8, 0), (8, 9), (10, 0)])


def gpus(memory: int, count: int = 1, capability: tuple[int, int] = (8, 9), *, held: int = 0) -> Profile:
    process = GpuProcess(pid=4711, command="/usr/bin/python3 train.py", memory=held)
    changes = {
        "memory_total": memory,
        "compute_capability": capability,
        "memory_used": held,
        "processes": (process,) if held else (),
        "memory_bandwidth": 1_008_000_000_000,
    }
    cards = tuple(gpu("4090", index).model_copy(update=changes) for index in range(count))
    found = Accelerators(state="present", driver="580.1", gpus=cards)
    return host(memory=512_000_000_000).model_copy(update={"accelerators": found})


def planned(profile: Profile, *names: str, **wishes: object) -> Plan | None:
    """Plan these models, or nothing where the arithmetic refuses."""
    overrides = PlanOverrides.model_validate({"models": names, **wishes})
    try:
        return make_plan(profile, release(), overrides=overrides)
    except HostError:
        return None


def only(plan: Plan) -> Instance:
    (instance,) = plan.instances
    return instance


def whole(memory: Memory) -> int:
    parts: list[int] = [getattr(memory, part) for part in PARTS]
    return sum(parts)


@given(memory=MEMORY, count=st.integers(1, 8), goal=GOALS, held=st.integers(0, 60), capability=CAPABILITIES)
def test_the_parts_sum_and_never_exceed_the_gpu(
    memory: int, count: int, goal: Goal, held: int, capability: tuple[int, int]
) -> None:
    profile = gpus(memory, count, capability, held=min(held << 30, memory))
    plan = make_plan(profile, release(), overrides=PlanOverrides(goal=goal))
    promised: dict[int, int] = {}
    for instance in plan.instances:
        budget = instance.memory
        assert whole(budget) == budget.limit
        assert min(getattr(budget, part) for part in PARTS) >= 0
        if instance.gpus:
            assert budget.limit == memory
            assert budget.kv_cache > 0
        for index in instance.gpus:
            promised[index] = promised.get(index, budget.others) + budget.total
    assert all(size <= memory for size in promised.values())


@given(
    small=MEMORY,
    more=MEMORY,
    model=st.sampled_from(REAL),
    goal=GOALS,
    fp8=st.booleans(),
    parallel=st.sampled_from([1, 2, 4]),
)
def test_more_memory_never_gives_a_smaller_plan(
    small: int, more: int, model: str, goal: Goal, fp8: bool, parallel: int
) -> None:
    fixed = {"quantization": "fp8" if fp8 else "none", "tensor-parallel-size": parallel}
    before = planned(gpus(small, parallel), model, goal=goal, arguments=fixed)
    after = planned(gpus(small + more, parallel), model, goal=goal, arguments=fixed)
    if before is None:
        return
    assert after is not None
    one, other = only(before), only(after)
    assert other.arguments["max-model-len"] >= one.arguments["max-model-len"]  # type: ignore[operator]
    # For the longest audio the context comes first: a longer one may leave room for fewer at once.
    if goal != "longest-audio" or other.arguments["max-model-len"] == one.arguments["max-model-len"]:
        assert other.arguments["max-num-seqs"] >= one.arguments["max-num-seqs"]  # type: ignore[operator]
        for name, value in one.capacity:
            assert getattr(other.capacity, name) >= value, name


@given(memory=MEMORY, count=st.integers(1, 9), model=st.sampled_from(REAL), goal=GOALS)
def test_tensor_parallelism_divides_every_kind_of_heads(memory: int, count: int, model: str, goal: Goal) -> None:
    plan = planned(gpus(memory, count), model, goal=goal)
    known = catalog_model(model)
    for instance in plan.instances if plan else ():
        size = len(instance.gpus)
        assert int(str(instance.arguments.get("tensor-parallel-size", 1))) == size
        assert not any(heads % size for heads in (known.heads, known.kv_heads, known.encoder.heads))
    used = [index for instance in plan.instances for index in instance.gpus] if plan else []
    assert len(used) == len(set(used)) <= count


@given(memory=MEMORY, count=st.integers(0, 4), capability=CAPABILITIES, goal=GOALS)
def test_every_value_has_its_reason_and_none_is_false(
    memory: int, count: int, capability: tuple[int, int], goal: Goal
) -> None:
    profile = gpus(memory, count, capability) if count else host()
    plan = make_plan(profile, release(), overrides=PlanOverrides(goal=goal))
    for instance in plan.instances:
        told = ["model", "gpus", "port", "encoder", "clips", "files", "longest-audio"]
        decided = [*instance.arguments, *instance.environment, *told]
        assert [name for name in decided if not instance.reasons.get(name)] == []
        assert False not in [value for value in instance.arguments.values() if isinstance(value, bool)]
        assert not any(character.isspace() for value in instance.environment.values() for character in value)
    assert [name for name in ("build", "model", "goal") if not plan.reasons.get(name)] == []
    assert [each.port for each in plan.instances] == list(range(8000, 8000 + len(plan.instances)))


@given(memory=MEMORY, count=st.integers(1, 4), held=st.integers(0, 40))
def test_planning_twice_gives_the_same(memory: int, count: int, held: int) -> None:
    profile = gpus(memory, count, held=min(held << 30, memory))
    assert make_plan(profile, release()) == make_plan(profile, release())


def test_the_release_id_is_the_one_passed_in() -> None:
    assert make_plan(host(), release(), release_id="r1").release == "r1"
    assert make_plan(host(), release()).release.startswith("0.32.0-nano-")


def test_a_plan_survives_json() -> None:
    plan = make_plan(host("h100"), release())
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


@pytest.mark.parametrize(
    ("cards", "best"),
    [((), "nano"), (("3060",), "mini-3b"), (("4090",), "mini-3b"), (("h100",), "small-24b"), (("v100",), "nano")],
)
def test_the_best_model_that_fits(cards: tuple[str, ...], best: str) -> None:
    name, reasons = choose_model(host(*cards), [model.name for model in release().models])
    assert name == best
    assert reasons


def test_only_what_can_be_had_is_chosen() -> None:
    assert choose_model(host("h100"), ["nano", "mini-3b"])[0] == "mini-3b"
    assert choose_model(host("h100"), ["nano"])[0] == "nano"


def test_no_gpu_and_no_nano_is_refused_with_a_way_out() -> None:
    with pytest.raises(HostError, match="no NVIDIA GPU") as caught:
        choose_model(host(), ["mini-3b"])
    assert "by name" in caught.value.hint


def test_a_broken_gpu_is_named_with_its_cure_even_when_nano_runs() -> None:
    plan = make_plan(host(accelerators=broken("it smokes", "buy another")), release())
    assert plan.build == "cpu"
    assert any("it smokes" in warning and "buy another" in warning for warning in plan.warnings)


def test_a_broken_gpu_refuses_a_model_that_was_asked_for() -> None:
    with pytest.raises(HostError, match="it smokes"):
        make_plan(host(accelerators=broken("it smokes")), release(), overrides=PlanOverrides(models=("mini-3b",)))


def test_an_older_driver_runs_an_older_engine() -> None:
    plan = make_plan(profile_named("driver-550"), release("mini-3b", "realtime-4b"))
    assert (plan.engine, plan.build) == ("0.19.1", "cuda12")
    live = plan.instances[-1]
    assert live.environment["VLLM_DISABLE_COMPILE_CACHE"] == "1"
    newer = make_plan(profile_named("h100-80g"), release("realtime-4b")).instances[0]
    assert live.memory.encoder > newer.memory.encoder, "vLLM 0.19 profiles the whole context"


def test_without_a_release_nothing_is_pinned() -> None:
    plan = make_plan(host("4090"), None)
    assert plan.release == "unpinned"
    assert only(plan).revision == ""
    assert "not pinned yet" in only(plan).reasons["model"]


def test_a_model_that_the_release_lacks() -> None:
    with pytest.raises(ConfigurationError, match="names no model 'mini-3b'"):
        make_plan(host("h100"), release("nano"), overrides=PlanOverrides(models=("mini-3b",)))


@given(memory=MEMORY, model=st.sampled_from(REAL))
def test_a_refusal_has_the_number_and_changes_that_help(memory: int, model: str) -> None:
    profile = gpus(memory)
    if planned(profile, model) is not None:
        return
    with pytest.raises(HostError, match="short") as caught:
        make_plan(profile, release(), overrides=PlanOverrides(models=(model,)))
    details = caught.value.details
    assert details["needed"] > details["usable"]
    size = next(int(change.split()[3]) for change in details["changes"] if change.startswith("a GPU of"))
    assert planned(gpus(size << 30), model) is not None
    for change in details["changes"]:
        if change.endswith("such GPUs"):
            assert planned(gpus(memory, int(change.split()[0])), model) is not None
