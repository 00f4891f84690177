"""Finding the servers of a host, in both worlds; systemd is played by scripts on PATH."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from voxtral_ops.errors import HostError, ReleaseError, ServerError
from voxtral_ops.server import systemd
from voxtral_ops.server.service import ManagedService, find_services
from voxtral_ops.server.systemd import SystemdService

if TYPE_CHECKING:
    from tests.unit.server.conftest import World

NOWHERE = Path("/nonexistent/systemd")


def install(world: World) -> None:
    """Make the world's release current."""
    release = world.directory.parents[1]
    instance = json.loads((world.directory / "instance.json").read_text())
    plan = {
        "release": release.name,
        "goal": "balanced",
        "engine": "0.32.0",
        "build": "cpu",
        "instances": [instance],
        "reasons": {},
    }
    (release / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    world.layout.current.symlink_to(release)


def test_nothing_installed(world: World) -> None:
    assert find_services(world.layout, NOWHERE) == ()


def test_a_broken_plan_is_named(world: World) -> None:
    install(world)
    (world.layout.current / "plan.json").write_text("{}")
    with pytest.raises(ReleaseError, match=r"plan\.json"):
        find_services(world.layout, NOWHERE)


def test_the_plan_of_another_version_has_servers_all_the_same(world: World) -> None:
    install(world)
    (world.layout.current / "plan.json").write_text(json.dumps({"later": 1, "instances": [{"name": "nano", "new": 2}]}))
    assert [service.name for service in find_services(world.layout, NOWHERE)] == ["nano"]


def test_without_systemd_the_manager_serves(world: World) -> None:
    install(world)
    (service,) = find_services(world.layout, NOWHERE)
    assert isinstance(service, ManagedService)
    assert service.status().state == "stopped"
    assert service.start(timeout=30).is_serving
    assert "Application startup complete" in "\n".join(service.logs(50))
    assert service.stop().state == "stopped"


def test_a_running_server_of_an_older_release_is_found(world: World) -> None:
    world.manager().start(timeout=30)
    (service,) = find_services(world.layout, NOWHERE)
    assert (service.name, service.status().state) == ("main", "serving")
    service.stop()
    assert find_services(world.layout, NOWHERE) == ()


@pytest.fixture
def host(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with systemd: ``show`` says what the file ``shown`` holds, every call is written down."""
    install(world)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("systemctl", "journalctl"):
        script = tools / name
        script.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/calls\n'
            f'case "{name} $1" in "systemctl show") cat {tmp_path}/shown;; journalctl*) cat {tmp_path}/journal;;\n'
            f'"systemctl stop") [ ! -e {tmp_path}/denied ] || {{ echo "Access denied" >&2; exit 4; }};; esac\n'
        )
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    units = tmp_path / "units"
    units.mkdir()
    (units / f"voxtral-engine@{world.directory.parents[1].name}-main.service").touch()
    monkeypatch.setattr(systemd, "_UNITS", units)
    (tmp_path / "journal").write_text("")
    return tmp_path


def shown(host: Path, active: str, sub: str, **more: str) -> SystemdService:
    values = {"ActiveState": active, "SubState": sub, "MainPID": "0", "NRestarts": "0", "Result": "success", **more}
    (host / "shown").write_text("".join(f"{key}={value}\n" for key, value in values.items()))
    layout_home = host / "home"
    (service,) = (SystemdService.of_unit(unit.name, layout_home / "releases") for unit in (host / "units").iterdir())
    return service


def test_with_systemd_the_unit_serves(world: World, host: Path) -> None:
    (service,) = find_services(world.layout, host)
    assert isinstance(service, SystemdService)
    assert service.unit == "voxtral-engine@0.32.0-nano-0badcafe-main.service"


def test_a_unit_whose_release_is_gone_still_has_its_name(tmp_path: Path) -> None:
    service = SystemdService.of_unit("voxtral-engine@0.32.0-mini-3b-0badcafe-mini-3b-2.service", tmp_path)
    assert service.name == "mini-3b-2"
    assert service._directory == tmp_path / "0.32.0-mini-3b-0badcafe" / "instances" / "mini-3b-2"


@pytest.mark.parametrize(
    ("active", "sub", "state"),
    [
        ("activating", "start-post", "starting"),
        ("activating", "auto-restart", "restarting"),
        ("active", "running", "starting"),  # nobody answers on the port
        ("deactivating", "stop-sigterm", "draining"),
        ("inactive", "dead", "stopped"),
        ("failed", "failed", "failed"),
    ],
)
def test_systemds_states(host: Path, active: str, sub: str, state: str) -> None:
    status = shown(host, active, sub, NRestarts="3").status()
    assert (status.state, status.restarts, status.model) == (state, 3, "nano")


def test_a_failed_unit_is_explained_by_its_journal(host: Path) -> None:
    (host / "journal").write_text("ImportError: libnuma.so.1: cannot open shared object file\n")
    service = shown(host, "failed", "failed", Result="exit-code")
    assert "libnuma" in service.status().cause
    with pytest.raises(ServerError, match="libnuma") as caught:
        service.start()
    assert "libnuma1" in caught.value.hint
    assert "systemctl start --no-block voxtral-engine@" in (host / "calls").read_text()


def test_systemds_refusal_is_passed_on(host: Path) -> None:
    service = shown(host, "active", "running")
    (host / "denied").touch()
    with pytest.raises(HostError, match="Access denied"):
        service.stop()
