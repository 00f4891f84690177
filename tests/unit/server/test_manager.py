"""The manager and its supervisor against an engine that misbehaves on demand."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from voxtral_ops.errors import HostError, ReleaseError, ServerError
from voxtral_ops.server import proc
from voxtral_ops.server.manager import ServerEvent
from voxtral_ops.server.pidfile import read_pid
from voxtral_ops.server.status import read_status

if TYPE_CHECKING:
    from tests.unit.server.conftest import World


def gone(world: World) -> bool:
    return not world.processes() and proc.port_is_free("127.0.0.1", world.port)


def test_starts_tells_what_happens_and_stops_without_a_trace(world: World) -> None:
    events: list[ServerEvent] = []
    manager = world.manager()
    status = manager.start(on_event=events.append, timeout=30)
    assert status.state == "serving"
    assert status.url == f"http://127.0.0.1:{world.port}"
    assert status.release == "0.32.0-nano-0badcafe"
    assert len(status.engine_pids) == 2
    assert status.memory is None or status.memory >= 0
    assert proc.listener(world.port) == (status.pid,)
    assert events[-1].state == "serving"
    assert events[-1].fraction == 1.0
    fractions = [event.fraction for event in events if event.fraction is not None]
    assert fractions == sorted(fractions)
    assert stat.S_IMODE(manager.log_path.stat().st_mode) == 0o600
    assert any("Application startup complete" in line for line in manager.logs())

    assert manager.stop().state == "stopped"
    assert gone(world)
    assert not manager.pid_path.exists()
    assert manager.stop().state == "stopped"  # again: nothing to do


def test_starting_a_running_server_does_nothing(world: World) -> None:
    first = world.manager().start(timeout=30)
    second = world.manager().start(timeout=30)
    assert (second.pid, second.supervisor_pid) == (first.pid, first.supervisor_pid)


def test_a_changed_instance_is_started_anew(world: World) -> None:
    first = world.manager().start(timeout=30)
    world.configure(OMP_NUM_THREADS="2")
    second = world.manager().start(timeout=30)
    assert second.pid != first.pid
    assert second.digest != first.digest


def test_death_while_starting_is_explained(world: World) -> None:
    world.configure(STUB="die:ImportError:_libnuma.so.1:_cannot_open_shared_object_file")
    with pytest.raises(ServerError, match="libnuma is missing") as caught:
        world.manager().start(timeout=30)
    assert "libnuma1" in caught.value.hint
    words = caught.value.details["last_words"]
    assert any("ImportError: libnuma.so.1" in word for word in words)
    assert not any("nanobind" in word for word in words)
    status = world.manager().status()
    assert (status.state, status.restarts) == ("failed", 0)
    assert gone(world)
    world.configure()
    assert world.manager().start(timeout=30).state == "serving"  # and the next run goes on from there


@pytest.mark.parametrize("victim", ["server", "engine", "guardian"])
def test_comes_back_when_a_process_is_killed(world: World, victim: str) -> None:
    manager = world.manager()
    first = manager.start(timeout=30)
    assert first.pid
    guardian = proc.children(first.supervisor_pid or 0)[0]
    os.kill({"server": first.pid, "engine": first.engine_pids[0], "guardian": guardian}[victim], signal.SIGKILL)
    world.until(lambda: manager.status().restarts == 1)
    assert manager.status().cause
    world.until(lambda: manager.status().is_serving)
    second = manager.status()
    assert second.pid != first.pid
    assert not {first.pid, *first.engine_pids} & set(world.processes())
    assert len(world.processes()) == 4, "guardian, API server, engine core, worker: no left-over"


def test_killing_the_supervisor_leaves_no_process(world: World) -> None:
    manager = world.manager()
    status = manager.start(timeout=30)
    assert status.supervisor_pid
    os.kill(status.supervisor_pid, signal.SIGKILL)
    world.until(lambda: gone(world), 10)
    after = manager.status()
    assert after.state == "failed"
    assert "was killed" in after.cause
    assert manager.start(timeout=30).state == "serving"


def test_what_supervisor_and_guardian_killed_together_leave_is_swept(world: World) -> None:
    manager = world.manager()
    status = manager.start(timeout=30)
    assert status.supervisor_pid
    guardian = proc.children(status.supervisor_pid)[0]
    for pid in (guardian, status.supervisor_pid):
        os.kill(pid, signal.SIGSTOP)
    for pid in (guardian, status.supervisor_pid):
        os.kill(pid, signal.SIGKILL)
    manager.stop()
    assert gone(world)


def test_a_server_that_ignores_sigterm_is_killed(world: World) -> None:
    world.configure(STUB="stubborn")
    manager = world.manager()
    manager.start(timeout=30)
    began = time.monotonic()
    manager.stop(timeout=1.0)
    assert time.monotonic() - began < 8
    world.until(lambda: gone(world), 5)


def test_not_ready_in_time_leaves_nothing(world: World) -> None:
    world.configure(STUB="never")
    with pytest.raises(ServerError, match="not ready after 2 s"):
        world.manager().start(timeout=2)
    assert gone(world)


def test_two_starts_at_once_make_one_server(world: World) -> None:
    found = []
    threads = [threading.Thread(target=lambda: found.append(world.manager().start(timeout=30))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({status.pid for status in found}) == 1
    assert len(found) == 3
    assert len(world.processes()) == 4


def test_a_left_over_pid_file_is_not_believed(world: World) -> None:
    manager = world.manager()
    manager.pid_path.parent.mkdir(parents=True)
    # A live process of the same pid, but started at another time.
    manager.pid_path.write_text(f"{os.getpid()} 1\n", encoding="ascii")
    assert read_pid(manager.pid_path) is None
    assert manager.start(timeout=30).is_serving
    assert read_pid(manager.pid_path) == manager.status().supervisor_pid


def test_a_taken_port_is_refused_by_name(world: World) -> None:
    with socket.create_server(("127.0.0.1", world.port)):
        with pytest.raises(HostError, match=rf"port {world.port} .* process {os.getpid()} \(.*python") as caught:
            world.manager().start(timeout=30)
        assert caught.value.details["pids"] == [os.getpid()]
    assert not world.processes()


def test_ctrl_c_while_starting_leaves_nothing(world: World) -> None:
    world.configure(STUB="never")
    code = (
        "import sys; from pathlib import Path; from voxtral_ops.paths import Layout\n"
        "from voxtral_ops.server.manager import VLLMServerManager\n"
        "a = [Path(p) for p in sys.argv[1:]]\n"
        "layout = Layout('user', a[1], a[1], a[1], a[2], a[3], a[4])\n"
        "VLLMServerManager(a[0], layout).start(timeout=60)\n"
    )
    place = world.layout
    starting = subprocess.Popen(
        [sys.executable, "-c", code, world.directory, place.home, place.state, place.cache, place.runtime],
        stderr=subprocess.DEVNULL,
    )
    world.until(lambda: len(world.processes()) == 4)
    starting.send_signal(signal.SIGINT)
    starting.wait(timeout=20)
    assert gone(world)
    assert world.manager().status().state == "stopped"


def test_incomplete_instances_are_named(world: World) -> None:
    (world.directory / "env").unlink()
    with pytest.raises(ReleaseError, match=r"env missing"):
        world.manager().start()


def test_the_next_start_knows_how_long_the_last_one_took(world: World) -> None:
    manager = world.manager()
    manager.start(timeout=30)
    manager.stop()
    kept = read_status(manager.status_path)
    assert kept
    assert set(kept.start_phases) >= {"importing", "configuring", "loading"}
    manager.start(timeout=30)
    again = read_status(manager.status_path)
    assert again
    assert again.start_phases
