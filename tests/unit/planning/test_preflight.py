"""Each thing that stands in the way is found, and comes with its cure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.planning.hosts import gpu, host, pinned, release
from voxtral_ops.catalog import catalog_model
from voxtral_ops.errors import HostError
from voxtral_ops.hardware.profile import Directory, GpuProcess, Interpreter, Listener, Profile
from voxtral_ops.paths import Layout
from voxtral_ops.planning import Finding, Plan, make_plan, preflight
from voxtral_ops.planning.builds import requirements
from voxtral_ops.planning.memory import gib
from voxtral_ops.planning.preflight import MARGIN

ROOT = Path("/srv")
LAYOUT = Layout(
    scope="system",
    home=ROOT / "home",
    models=ROOT / "models",
    config=ROOT / "config",
    state=ROOT / "state",
    cache=ROOT / "cache",
    runtime=ROOT / "run",
)


def ready(*cards: str, free: int = 100_000_000_000, complete: tuple[str, ...] = (), **changes: Any) -> Profile:
    places = [str(place) for place in (LAYOUT.home, LAYOUT.models)]
    folder = Directory(exists="/srv", device=7, writable=True, complete=complete)
    facts = {"disk_free": dict.fromkeys(places, free), "directories": dict.fromkeys(places, folder)}
    return host(*cards, **{**facts, **changes})


def findings(profile: Profile) -> dict[str, Finding]:
    return {each.check: each for each in preflight(profile, make_plan(profile, release()), LAYOUT)}


def test_nothing_in_the_way() -> None:
    assert [each for each in findings(ready()).values() if not each.ok] == []
    assert [each for each in findings(ready("h100")).values() if not each.ok] == []


@pytest.mark.parametrize(
    ("check", "changes", "cure"),
    [
        ("shm", {"shm_total": 64 << 20}, "mount -o remount,size=1g /dev/shm"),
        ("libnuma", {"libraries": {"libnuma.so.1": False}}, "apt-get install -y --no-install-recommends libnuma1"),
        ("memory", {"memory_available": 1_000_000_000}, "stop something that uses"),
        ("python", {"interpreters": ()}, "python3-venv"),
        (
            "python",
            {"interpreters": (Interpreter(path="/usr/bin/python3.11", version="3.11.2", venv=False),)},
            "python3-venv",
        ),
        ("certificates", {"certificates": False}, "ca-certificates"),
        ("port", {"listeners": (Listener(port=8000, pid=42, command="nginx"),)}, "kill 42"),
        ("port", {"listeners": (Listener(port=8000),)}, "look as root"),
    ],
)
def test_in_the_way_on_a_cpu_host(check: str, changes: dict[str, Any], cure: str) -> None:
    bad = [each for each in findings(ready(**changes)).values() if not each.ok]
    assert [each.check for each in bad] == [check]
    assert cure in bad[0].hint


def test_an_old_python_is_not_enough() -> None:
    old = (Interpreter(path="/usr/bin/python3.9", version="3.9.2", venv=True),)
    assert "3.11" in findings(ready(interpreters=old))["python"].detail


def test_no_avx2() -> None:
    profile = ready()
    found = findings(profile.model_copy(update={"cpu": profile.cpu.model_copy(update={"isa": ()})}))["processor"]
    assert not found.ok
    assert "AVX2" in found.hint


def test_a_gpu_engine_needs_a_compiler() -> None:
    found = findings(ready("h100", compiler=None))["compiler"]
    assert not found.ok
    assert "gcc" in found.hint
    assert "python3-dev" in found.hint


def filled(*processes: GpuProcess) -> Profile:
    profile = ready("4090")
    card = gpu("4090", used=10 << 30).model_copy(update={"processes": processes})
    return profile.model_copy(update={"accelerators": profile.accelerators.model_copy(update={"gpus": (card,)})})


def on_a_filled_gpu(*processes: GpuProcess) -> Finding:
    """Check the plan of a free GPU when somebody else has come meanwhile."""
    plan = make_plan(ready("4090"), release("mini-3b"))
    return next(each for each in preflight(filled(*processes), plan, LAYOUT) if each.check == "gpu memory")


def crowded(*processes: GpuProcess) -> Finding:
    """What is said of a plan that was made while the GPU was empty."""
    plan = make_plan(ready("4090"), release("mini-3b"))
    return {each.check: each for each in preflight(filled(*processes), plan, LAYOUT)}["gpu memory"]


def test_who_fills_a_gpu_is_named_the_largest_first() -> None:
    small = GpuProcess(pid=7, command="Xorg", memory=1 << 28)
    large = GpuProcess(pid=48211, command="/opt/other/train.py", memory=9 << 30)
    found = crowded(small, large)
    assert not found.ok
    assert "process 48211 (train.py), which holds 9.0 GiB, process 7 (Xorg)" in found.detail
    assert "kill 48211 7" in found.hint


def test_who_fills_a_gpu_may_not_be_seen_from_here() -> None:
    found = crowded()
    assert not found.ok
    assert "nvidia-smi" in found.hint


def test_what_our_own_server_holds_is_free_for_it() -> None:
    own = GpuProcess(pid=9, command="/srv/home/current/instances/mini-3b/engine/bin/python", memory=10 << 30)
    assert crowded(own).ok


def test_what_the_driver_keeps_is_not_free() -> None:
    profile = ready("h100")
    plan = make_plan(profile, release("mini-3b"))
    card = profile.accelerators.gpus[0]
    full = card.model_copy(update={"memory_reserved": card.memory_total - plan.instances[0].memory.total + 1})
    kept = profile.accelerators.model_copy(update={"gpus": (full,)})
    found = preflight(profile.model_copy(update={"accelerators": kept}), plan, LAYOUT)
    assert [each.check for each in found if not each.ok] == ["gpu memory"]


def two_instances(profile: Profile, **changes: Any) -> Plan:
    plan = make_plan(profile, release("small-24b"))
    first = plan.instances[0].model_copy(update={"gpus": (0,)})
    second = first.model_copy(update={"name": "second", "port": 8001, **changes})
    return plan.model_copy(update={"instances": (first, second)})


def test_instances_on_one_gpu_need_their_memory_together() -> None:
    profile = ready("h100")
    found = {each.check: each for each in preflight(profile, two_instances(profile), LAYOUT)}
    assert not found["gpu memory"].ok
    beside = ready("h100", "h100")
    found = {each.check: each for each in preflight(beside, two_instances(beside, gpus=(1,)), LAYOUT)}
    assert [each for each in found.values() if not each.ok] == []


def test_instances_on_one_port() -> None:
    profile = ready("h100", "h100")
    found = preflight(profile, two_instances(profile, gpus=(1,), port=8000), LAYOUT)
    assert ["would both listen on port 8000" in each.detail for each in found if not each.ok] == [True]


def test_weights_take_their_whole_size_on_the_disk_whatever_they_take_on_the_gpu() -> None:
    profile = ready("3060")
    plan = make_plan(profile, release("mini-3b"))
    assert plan.instances[0].memory.weights < catalog_model("mini-3b").weight_bytes
    disk = {each.check: each for each in preflight(profile, plan, LAYOUT)}["disk"]
    assert gib(requirements()["cuda13"].disk + catalog_model("mini-3b").weight_bytes + MARGIN) in disk.detail


def test_two_instances_of_one_model_share_its_files() -> None:
    profile = ready("h100", "h100")
    needed = [
        next(each.detail for each in preflight(profile, plan, LAYOUT) if each.check == "disk")
        for plan in (make_plan(profile, release("small-24b")), two_instances(profile, gpus=(1,)))
    ]
    assert needed[0] == needed[1]


@pytest.mark.parametrize(
    ("check", "driver", "glibc", "cure"),
    [("driver", "570.1", "2.36", "580 or newer"), ("glibc", "580.1", "2.17", "Debian 12")],
)
def test_a_plan_that_this_host_cannot_run(check: str, driver: str, glibc: str, cure: str) -> None:
    plan = make_plan(ready("h100"), release())
    profile = ready("h100", driver=driver)
    profile = profile.model_copy(update={"system": profile.system.model_copy(update={"glibc": glibc})})
    bad = [each for each in preflight(profile, plan, LAYOUT) if not each.ok]
    assert [each.check for each in bad] == [check]
    assert cure in bad[0].hint


def test_a_plan_for_a_gpu_on_a_host_without() -> None:
    bad = [each.check for each in preflight(ready(), make_plan(ready("h100"), release()), LAYOUT) if not each.ok]
    assert bad == ["gpu"]


def test_an_engine_that_does_not_serve_the_model() -> None:
    plan = make_plan(ready("h100"), release("small-24b"))
    found = {each.check: each for each in preflight(ready("h100"), plan.model_copy(update={"build": "cpu"}), LAYOUT)}
    assert "does not serve small-24b" in found["engine"].detail
    assert "nano" in found["engine"].hint


def test_the_engines_python_is_fetched_where_it_is_missing() -> None:
    newer = (Interpreter(path="/usr/bin/python3.13", version="3.13.1", venv=True),)
    assert "3.11" in findings(ready(interpreters=newer))["engine python"].detail


def test_some_gpus_that_work_are_enough() -> None:
    profile = ready("h100")
    lost = profile.accelerators.model_copy(update={"problem": "GPU 3 is lost", "hint": "reboot"})
    found = findings(profile.model_copy(update={"accelerators": lost}))["gpu"]
    assert found.ok
    assert "GPU 3 is lost" in found.detail


def test_without_a_plan_the_rest_is_still_said() -> None:
    refusal = HostError("no GPU", hint="add one")
    bad = [each for each in preflight(ready(shm_total=64 << 20), None, LAYOUT, refusal) if not each.ok]
    assert [each.check for each in bad] == ["shm", "plan"]
    assert bad[1].hint == "add one"


def test_one_file_system_is_counted_once_for_both() -> None:
    small = ready("4090", free=requirements()["cuda13"].disk + 1_000_000_000)
    found = [each for each in preflight(small, make_plan(small, release()), LAYOUT) if each.check == "disk"]
    assert [each.ok for each in found] == [False]
    assert "free 8." in found[0].hint


def test_what_is_installed_needs_no_space() -> None:
    model = pinned("nano")
    here = ("engines/0.32.0-cpu-12345678", model.directory)
    assert findings(ready(free=1000, complete=here))["disk"].ok
    assert not findings(ready(free=1000))["disk"].ok


def test_our_own_server_may_hold_port_and_memory() -> None:
    own = Listener(port=8000, pid=9, command="/srv/home/releases/r/instances/nano/engine/bin/python vllm serve")
    found = findings(ready(listeners=(own,), memory_available=1000))
    assert found["port"].ok
    assert found["memory"].ok


def test_rights() -> None:
    closed = Directory(exists="/srv", device=7, writable=False)
    profile = ready(directories={str(LAYOUT.home): closed, str(LAYOUT.models): closed}, user="ada")
    found = findings(profile)["rights"]
    assert not found.ok
    assert "ada cannot write /srv" in found.detail


def test_a_container_is_told_how_to_start() -> None:
    profile = ready(shm_total=64 << 20)
    boxed = profile.model_copy(update={"system": profile.system.model_copy(update={"container": "docker"})})
    assert "--shm-size" in findings(boxed)["shm"].hint


def test_an_unknown_system() -> None:
    profile = ready()
    odd = profile.model_copy(update={"system": profile.system.model_copy(update={"id": "plan9", "name": "Plan 9"})})
    assert "Plan 9" in findings(odd)["system"].detail
