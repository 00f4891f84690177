"""Each thing that stands in the way is found, and comes with its cure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.planning.hosts import gpu, host, pinned, release
from voxtral_ops.hardware.profile import Directory, Interpreter, Listener, Profile
from voxtral_ops.paths import Layout
from voxtral_ops.planning import Finding, make_plan, preflight
from voxtral_ops.planning.builds import requirements

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


def test_a_gpu_that_somebody_else_fills() -> None:
    profile = ready("4090")
    busy = profile.accelerators.model_copy(update={"gpus": (gpu("4090", used=10 << 30),)})
    found = findings(profile.model_copy(update={"accelerators": busy}))["gpu memory"]
    assert not found.ok
    assert "nvidia-smi" in found.hint


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
