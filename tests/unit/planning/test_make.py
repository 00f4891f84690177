"""Rules of planning that hold for every host, and what operators may fix."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.planning.hosts import CARDS, MIB, broken, gpu, host, release
from voxtral_ops.errors import ConfigurationError, HostError, ModelError, VoxtralError
from voxtral_ops.hardware.profile import Accelerators, Profile
from voxtral_ops.planning import Instance, Plan, PlanOverrides, choose_model, make_plan

REAL = ("mini-3b", "small-24b", "realtime-4b")
MEMORY = st.integers(min_value=1024, max_value=200_000).map(lambda size: size * MIB)


def gpus(memory: int, count: int = 1, capability: tuple[int, int] = (8, 9)) -> Profile:
    cards = tuple(
        gpu("4090", index).model_copy(update={"memory_total": memory, "compute_capability": capability})
        for index in range(count)
    )
    return host().model_copy(update={"accelerators": Accelerators(state="present", driver="580.1", gpus=cards)})


def only(plan: Plan) -> Instance:
    (instance,) = plan.instances
    return instance


def context(profile: Profile, model: str) -> int:
    try:
        plan = make_plan(profile, release(), overrides=PlanOverrides(model=model))
    except VoxtralError:
        return 0
    return int(only(plan).arguments["max-model-len"])  # type: ignore[arg-type]


@given(memory=MEMORY, count=st.integers(1, 8), model=st.sampled_from(REAL))
def test_the_budget_sums_and_stays_below_the_limit(memory: int, count: int, model: str) -> None:
    try:
        instance = only(make_plan(gpus(memory, count), release(), overrides=PlanOverrides(model=model)))
    except VoxtralError:
        return
    budget = instance.memory
    assert budget.weights + budget.kv_cache + budget.encoder + budget.runtime == budget.total <= budget.limit == memory
    assert budget.kv_cache > 0


@given(small=MEMORY, more=MEMORY, count=st.integers(1, 8), model=st.sampled_from(REAL))
def test_more_memory_never_gives_a_smaller_context(small: int, more: int, count: int, model: str) -> None:
    assert context(gpus(small + more, count), model) >= context(gpus(small, count), model)


@given(memory=MEMORY, count=st.integers(1, 9))
def test_tensor_parallelism_divides_the_heads_and_uses_that_many_gpus(memory: int, count: int) -> None:
    try:
        instance = only(make_plan(gpus(memory, count), release(), overrides=PlanOverrides(model="small-24b")))
    except HostError:
        return
    size = int(instance.arguments.get("tensor-parallel-size", 1))  # type: ignore[arg-type]
    assert 8 % size == 0
    assert len(instance.gpus) == size <= count


@given(memory=MEMORY, count=st.integers(0, 4), capability=st.sampled_from([(7, 0), (7, 5), (8, 0), (10, 0)]))
def test_every_value_has_its_reason_and_none_is_false(memory: int, count: int, capability: tuple[int, int]) -> None:
    plan = make_plan(gpus(memory, count, capability) if count else host(), release())
    instance = only(plan)
    decided = [*instance.arguments, *instance.environment, "model", "gpus", "port"]
    assert [name for name in decided if not instance.reasons.get(name)] == []
    assert False not in [value for value in instance.arguments.values() if isinstance(value, bool)]
    assert not any(character.isspace() for value in instance.environment.values() for character in value)
    assert plan.reasons["build"]
    assert plan.reasons["model"]


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
    name, reasons = choose_model(host(*cards), release().models and [model.name for model in release().models])
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


def test_a_model_that_does_not_fit_says_what_would() -> None:
    with pytest.raises(HostError, match=r"7\.0 GiB short") as caught:
        make_plan(host("4090"), release(), overrides=PlanOverrides(model="small-24b"))
    assert "mini-3b" in caught.value.hint
    assert caught.value.details["needed"] > caught.value.details["usable"]


def test_a_context_that_does_not_fit_names_the_one_that_does() -> None:
    wish = PlanOverrides(model="mini-3b", arguments={"max-model-len": 32768, "quantization": "fp8"})
    with pytest.raises(HostError) as caught:
        make_plan(host("3060"), release(), overrides=wish)
    assert caught.value.hint.startswith("max-model-len 8192 fits")


def test_a_context_larger_than_the_models() -> None:
    with pytest.raises(ModelError, match="4096"):
        make_plan(host(), release(), overrides=PlanOverrides(model="nano", arguments={"max-model-len": 8192}))


def test_a_fixed_context_changes_the_arithmetic() -> None:
    free = only(make_plan(host("4090"), release()))
    fixed = only(make_plan(host("4090"), release(), overrides=PlanOverrides(arguments={"max-model-len": 8192})))
    assert fixed.memory.encoder < free.memory.encoder
    assert fixed.reasons["max-model-len"] == "set by the operator"
    assert int(fixed.environment["VLLM_MAX_AUDIO_DECODE_DURATION_S"]) < 600


def test_a_model_that_the_release_lacks() -> None:
    with pytest.raises(ConfigurationError, match="names no model 'mini-3b'"):
        make_plan(host("h100"), release("nano"), overrides=PlanOverrides(model="mini-3b"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"arguments": {"enable-prefix-caching": False}}, "no-enable-prefix-caching"),
        ({"arguments": {"--max-model-len": 1}}, "without its dashes"),
        ({"arguments": {"api-key": "x"}}, "credentials"),
        ({"arguments": {"host": "0.0.0.0"}}, "edge"),
        ({"arguments": {"max-model-len": "many"}}, "whole number"),
        ({"arguments": {"gpu-memory-utilization": 1.5}}, "at most 1"),
        ({"arguments": {"tensor-parallel-size": 3}, "model": "small-24b"}, "does not divide"),
        ({"environment": {"VLLM_API_KEY": "x"}}, "credentials"),
        ({"environment": {"VLLM_CACHE_ROOT": "/a b"}}, "spaces"),
        ({"environment": {"lower": "x"}}, "VLLM_CACHE_ROOT"),
    ],
)
def test_what_may_not_be_fixed(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_plan(host("h100"), release(), overrides=PlanOverrides.model_validate(overrides))
    assert message in f"{caught.value.message} {caught.value.hint}"


def test_operators_wishes_end_up_in_the_plan() -> None:
    wishes = PlanOverrides(port=9001, arguments={"max-num-seqs": 4}, environment={"VLLM_CACHE_ROOT": "/var/cache/v"})
    instance = only(make_plan(host(), release(), overrides=wishes))
    assert instance.port == instance.arguments["port"] == 9001
    assert instance.url == "http://127.0.0.1:9001"
    assert instance.arguments["max-num-seqs"] == 4
    assert instance.environment["VLLM_CACHE_ROOT"] == "/var/cache/v"
    assert instance.reasons["max-num-seqs"] == instance.reasons["VLLM_CACHE_ROOT"] == "set by the operator"


def test_every_card_of_the_table_gets_a_plan() -> None:
    for card in CARDS:
        assert make_plan(host(card), release()).instances
