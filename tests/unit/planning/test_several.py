"""Several models on one host, several servers of one model, and which GPUs work together."""

from __future__ import annotations

import pytest

from tests.unit.planning.hosts import gpu, host, profile_named, release
from voxtral_ops.errors import HostError
from voxtral_ops.hardware.profile import Accelerators, Gpu, Profile
from voxtral_ops.planning import Plan, PlanOverrides, make_plan


def with_gpus(*cards: Gpu, memory: int = 512_000_000_000) -> Profile:
    found = Accelerators(state="present", driver="580.95.05", gpus=cards)
    return host(memory=memory).model_copy(update={"accelerators": found})


def cards(card: str, count: int, *, nvlink: bool = False, bandwidth: int | None = None) -> tuple[Gpu, ...]:
    everyone = range(count)
    return tuple(
        gpu(card, index).model_copy(
            update={
                "nvlink": tuple(other for other in everyone if nvlink and other != index),
                "memory_bandwidth": bandwidth,
            }
        )
        for index in everyone
    )


def names(plan: Plan) -> list[tuple[str, tuple[int, ...]]]:
    return [(instance.name, instance.gpus) for instance in plan.instances]


def test_mini_and_realtime_share_one_gpu_of_80_gb() -> None:
    plan = make_plan(host("h100"), release("mini-3b", "realtime-4b"))
    mini, live = plan.instances
    assert names(plan) == [("mini-3b", (0,)), ("realtime-4b", (0,))]
    assert mini.memory.neighbours == live.memory.total
    assert live.memory.neighbours == mini.memory.total
    shares = [float(str(each.arguments["gpu-memory-utilization"])) for each in plan.instances]
    assert sum(shares) <= 0.92
    assert (mini.capacity.files, live.capacity.sessions) > (0, 0)
    assert [each.port for each in plan.instances] == [8000, 8001]


def test_the_first_model_of_the_release_comes_first() -> None:
    plan = make_plan(host("4090"), release("realtime-4b", "small-24b"))
    assert names(plan)[0] == ("realtime-4b", (0,))
    assert [warning for warning in plan.warnings if "not served: small-24b needs" in warning and "short" in warning]


def test_a_model_that_was_asked_for_is_refused_and_not_left_out() -> None:
    wish = PlanOverrides(models=("mini-3b", "realtime-4b"))
    with pytest.raises(HostError, match="realtime-4b needs") as caught:
        make_plan(host("4090"), release(), overrides=wish)
    assert "serve it without mini-3b" in caught.value.hint


def test_every_model_gets_a_gpu_of_its_own_before_any_gets_two() -> None:
    plan = make_plan(with_gpus(*cards("h100", 4)), release("mini-3b", "small-24b", "realtime-4b"))
    assert names(plan) == [("mini-3b", (0,)), ("small-24b", (1,)), ("realtime-4b", (2,)), ("mini-3b-2", (3,))]


def test_gpus_that_would_idle_serve_the_same_again() -> None:
    plan = make_plan(with_gpus(*cards("4090", 3)), release("mini-3b"))
    assert names(plan) == [("mini-3b", (0,)), ("mini-3b-2", (1,)), ("mini-3b-3", (2,))]
    assert len({instance.served_name for instance in plan.instances}) == 1
    assert [instance.port for instance in plan.instances] == [8000, 8001, 8002]
    assert "would idle" in plan.instances[1].reasons["gpus"]


def test_replicas_need_memory_of_the_host_as_well() -> None:
    plan = make_plan(with_gpus(*cards("4090", 8), memory=32_000_000_000), release("mini-3b"))
    assert len(plan.instances) == 5


def test_replicas_go_to_equal_gpus_only() -> None:
    plan = make_plan(profile_named("mixed"), release("mini-3b"))
    assert len(plan.instances) == 1


def test_tensor_parallelism_only_where_it_is_needed() -> None:
    assert names(make_plan(with_gpus(*cards("a40", 2)), release("small-24b"))) == [("small-24b", (0, 1))]
    assert names(make_plan(with_gpus(*cards("h100", 2)), release("small-24b")))[0] == ("small-24b", (0,))


def test_latency_takes_two_gpus_where_nvlink_makes_a_step_shorter() -> None:
    latency = PlanOverrides(goal="latency")
    joined = with_gpus(*cards("4090", 2, nvlink=True, bandwidth=936_000_000_000))
    apart = with_gpus(*cards("4090", 2, bandwidth=936_000_000_000))
    assert names(make_plan(joined, release("mini-3b"), overrides=latency)) == [("mini-3b", (0, 1))]
    assert len(make_plan(apart, release("mini-3b"), overrides=latency).instances) == 2
    assert len(make_plan(joined, release("mini-3b")).instances) == 2


def test_slices_of_a_gpu_never_work_together() -> None:
    profile = profile_named("h100-80g-mig")
    plan = make_plan(profile, release("mini-3b"))
    assert all(len(instance.gpus) == 1 for instance in plan.instances)
    assert plan.instances[0].environment["CUDA_VISIBLE_DEVICES"].startswith("MIG-")
    with pytest.raises(HostError, match="small-24b needs"):
        make_plan(
            with_gpus(*(each.model_copy(update={"memory_total": 20 << 30}) for each in profile.accelerators.gpus)),
            release("small-24b"),
        )


def test_nano_is_left_out_beside_real_models() -> None:
    plan = make_plan(host("4090"), release("nano", "mini-3b"))
    assert names(plan) == [("mini-3b", (0,))]
    with pytest.raises(HostError, match="one engine"):
        make_plan(host("4090"), release(), overrides=PlanOverrides(models=("nano", "mini-3b")))


def test_nano_serves_where_nothing_else_can() -> None:
    small = gpu("3060").model_copy(update={"memory_total": 4 << 30})
    plan = make_plan(with_gpus(small), release("nano", "mini-3b"))
    assert names(plan) == [("nano", ())]
    assert plan.build == "cpu"
    assert any("not served: mini-3b needs" in warning for warning in plan.warnings)


def test_two_models_share_a_processor() -> None:
    plan = make_plan(host(), release(), overrides=PlanOverrides(models=("mini-3b", "nano")))
    mini, nano = plan.instances
    assert nano.memory.neighbours == mini.memory.total
    assert nano.memory.spare < mini.memory.spare
