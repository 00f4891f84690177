"""Memory in other hands: what processes of others hold, and that our own servers never change their own plan."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.planning.hosts import gpu, host, profile_named, release
from voxtral_ops.errors import HostError
from voxtral_ops.hardware.profile import Accelerators, GpuProcess, Listener, Profile
from voxtral_ops.planning import PlanOverrides, make_plan

HOME = Path("/opt/voxtral")
OURS = "/opt/voxtral/releases/0.32.0-mini-3b-1a2b3c4d/instances/mini-3b/engine/bin/python"
GIB = 1 << 30


def used(memory: int, *processes: GpuProcess, card: str = "h100", **changes: object) -> Profile:
    found = gpu(card, used=memory).model_copy(update={"processes": processes})
    accelerators = Accelerators(state="present", driver="580.95.05", gpus=(found,))
    return host().model_copy(update={"accelerators": accelerators, **changes})


@given(held=st.integers(0, 79 * GIB), known=st.booleans())
def test_our_own_server_never_changes_its_own_plan(held: int, known: bool) -> None:
    ours = GpuProcess(pid=9, command=OURS, memory=held if known else None)
    asleep = make_plan(host("h100"), release("mini-3b"), home=HOME)
    awake = make_plan(used(held, ours), release("mini-3b"), home=HOME)
    assert awake == asleep


@given(held=st.integers(0, 60 * GIB))
def test_our_own_server_in_a_container_never_changes_its_own_plan(held: int) -> None:
    listener = Listener(port=8000, pid=9, command=OURS)
    asleep = make_plan(host("h100"), release("mini-3b"), home=HOME)
    assert make_plan(used(held, listeners=(listener,)), release("mini-3b"), home=HOME) == asleep


def test_our_own_server_beside_a_stranger() -> None:
    ours, stranger = (
        GpuProcess(pid=9, command=OURS, memory=30 * GIB),
        GpuProcess(pid=4711, command="/usr/bin/python3 train.py", memory=20 * GIB),
    )
    alone = make_plan(used(20 * GIB, stranger), release("mini-3b"), home=HOME)
    both = make_plan(used(50 * GIB, ours, stranger), release("mini-3b"), home=HOME)
    assert both == alone
    assert alone.instances[0].memory.others == 20 * GIB


@given(held=st.integers(513 << 20, 50 * GIB))
def test_what_others_hold_is_counted_in_whole_gib(held: int) -> None:
    memory = make_plan(used(held), release("mini-3b")).instances[0].memory
    assert memory.others % GIB == 0
    assert held <= memory.others < held + GIB


def test_a_desktop_changes_nothing() -> None:
    assert make_plan(used(400 << 20), release("mini-3b")) == make_plan(host("h100"), release("mini-3b"))


def test_the_share_fits_what_is_free_when_vllm_looks() -> None:
    instance = make_plan(used(40 * GIB), release("mini-3b")).instances[0]
    share = float(str(instance.arguments["gpu-memory-utilization"]))
    assert share * instance.memory.limit <= instance.memory.limit - 40 * GIB


def test_several_who_hold_it_are_named_together() -> None:
    many = [GpuProcess(pid=number, command=f"/usr/bin/job{number}", memory=25 * GIB) for number in (1, 2, 3)]
    with pytest.raises(HostError) as caught:
        make_plan(used(75 * GIB, *many), release("small-24b"))
    assert (
        "stop process 1 (job1), which holds 25.0 GiB and process 2 (job2), which holds 25.0 GiB;" in caught.value.hint
    )
    assert make_plan(used(25 * GIB, many[2]), release("small-24b")).instances[0].memory.spare >= 0


def test_who_holds_the_memory_is_named_as_a_way_out() -> None:
    profile = profile_named("busy")
    holder = profile.accelerators.gpus[0].processes[0]
    with pytest.raises(HostError, match="of which others hold 40.0 GiB") as caught:
        make_plan(
            profile, release(), overrides=PlanOverrides(models=("small-24b",), arguments={"quantization": "none"})
        )
    assert f"stop process {holder.pid}" in caught.value.hint
    assert "which holds" in caught.value.hint
    assert "quantization fp8" in caught.value.hint
