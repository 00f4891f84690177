"""The supervisor's patience: how often it starts a server anew, and when it gives up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from voxtral_ops.server.status import ServerStatus, read_status, write_status

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.server.conftest import World

HURRIED = """
import sys
from pathlib import Path
from voxtral_ops.server.launch import read_instance
from voxtral_ops.server.logfile import LogFile
from voxtral_ops.server.supervisor import Policy, Supervisor
place, state = Path(sys.argv[1]), Path(sys.argv[2])
policy = Policy(first_backoff=0.05, restarts=2, health_interval=0.1, sick=0.3, kill_margin=0.6, teardown=0.3)
log = LogFile(state / "log")
sys.exit(Supervisor(read_instance(place, state), state / "status.json", log, policy).run())
"""


def supervise(world: World, state: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", HURRIED, world.directory, state])


def serving_after(world: World, state: Path, restarts: int) -> ServerStatus:
    def now() -> ServerStatus | None:
        status = read_status(state / "status.json")
        return status if status and status.is_serving and status.restarts == restarts else None

    world.until(now)
    found = now()
    assert found
    return found


def test_gives_up_after_too_many_deaths(world: World, tmp_path: Path) -> None:
    with supervise(world, tmp_path) as supervisor:
        for restarts in range(3):
            status = serving_after(world, tmp_path, restarts)
            assert status.pid
            os.kill(status.pid, signal.SIGKILL)
        assert supervisor.wait(timeout=20) == 1
    last = read_status(tmp_path / "status.json")
    assert last
    assert (last.state, last.restarts, last.pid) == ("failed", 2, None)
    assert "killed from outside" in last.cause
    assert any("killed by SIGKILL" in word for word in last.last_words)
    assert not world.processes()


def test_a_server_that_lingers_without_its_engine_is_started_anew(world: World, tmp_path: Path) -> None:
    world.configure(STUB="sick")
    with supervise(world, tmp_path) as supervisor:
        os.kill(serving_after(world, tmp_path, 0).engine_pids[0], signal.SIGKILL)
        serving_after(world, tmp_path, 1)
        supervisor.terminate()
        assert supervisor.wait(timeout=20) == 0
    assert not world.processes()


def test_drains_no_longer_than_its_time(world: World, tmp_path: Path) -> None:
    world.configure(STUB="stubborn")
    with supervise(world, tmp_path) as supervisor:
        serving_after(world, tmp_path, 0)
        began = time.monotonic()
        supervisor.terminate()
        assert supervisor.wait(timeout=20) == 0
    # vLLM's own two seconds and the margin, not more.
    assert 2.4 < time.monotonic() - began < 6
    last = read_status(tmp_path / "status.json")
    assert last
    assert last.state == "stopped"
    assert not world.processes()


def test_after_the_last_request_nobody_waits_for_the_teardown(world: World, tmp_path: Path) -> None:
    world.configure(STUB="lingers")
    path = world.directory / "instance.json"
    path.write_text(path.read_text().replace('"shutdown-timeout": 2', '"shutdown-timeout": 50'))
    with supervise(world, tmp_path) as supervisor:
        serving_after(world, tmp_path, 0)
        began = time.monotonic()
        supervisor.terminate()
        assert supervisor.wait(timeout=40) == 0
        assert time.monotonic() - began < 10
    assert not world.processes()


def test_a_second_signal_is_heeded_at_once(world: World, tmp_path: Path) -> None:
    world.configure(STUB="stubborn")
    with supervise(world, tmp_path) as supervisor:
        serving_after(world, tmp_path, 0)
        supervisor.terminate()
        time.sleep(0.3)
        supervisor.terminate()
        began = time.monotonic()
        assert supervisor.wait(timeout=20) == 0
        assert time.monotonic() - began < 1.5
    assert not world.processes()


def test_status_files_are_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    status = ServerStatus(name="main", state="serving", memory=5)
    write_status(path, status)
    assert read_status(path) == status.model_copy(update={"memory": None})
    assert list(tmp_path.iterdir()) == [path]
    path.write_text("half a fi")
    assert read_status(path) is None
