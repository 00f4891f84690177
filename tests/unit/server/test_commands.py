"""status, down, logs, server and gate as a person types them, against the stub engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.unit.server.test_service import NOWHERE, install
from voxtral_ops.cli import down, gate, logs, server, status
from voxtral_ops.cli.main import main
from voxtral_ops.server import proc, service

if TYPE_CHECKING:
    from tests.unit.server.conftest import World

Said = pytest.CaptureFixture[str]


@pytest.fixture
def here(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The world's layout is this machine's; there is no systemd; nothing is installed yet."""
    for module in (down, gate, logs, server, status):
        monkeypatch.setattr(module, "default_layout", lambda: world.layout)
    monkeypatch.setattr(service.find_services, "__defaults__", (NOWHERE,))
    return world


def test_before_anything_is_installed(here: World, capsys: Said) -> None:
    assert main(["status"]) == 1
    assert "nothing is installed here" in capsys.readouterr().out
    assert main(["down"]) == 0
    assert "nothing was running" in capsys.readouterr().out
    assert main(["logs"]) == 2
    assert main(["gate"]) == 2
    assert "no server serves here" in capsys.readouterr().err


def test_a_day_of_a_server(here: World, capsys: Said) -> None:
    install(here)
    assert main(["server", "start", "--timeout", "30"]) == 0
    said = capsys.readouterr()
    assert f"main: serving on http://127.0.0.1:{here.port}" in said.err
    assert "main  serving  nano" in said.out

    assert main(["status", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["services"]
    assert (found["state"], found["supervisor"], found["restarts"]) == ("serving", "voxtral", 0)
    assert found["memory"] > 0

    assert main(["logs", "-n", "3"]) == 0
    assert capsys.readouterr().out.endswith("INFO:     Application startup complete.\n")
    assert main(["logs", "other"]) == 2
    assert "here are: main" in capsys.readouterr().err

    # The stub answers /health and cannot transcribe: the gate must not pass.
    assert main(["gate"]) == 1
    assert "FAILED: 0 of" in capsys.readouterr().out

    assert main(["down", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stopped"][0]["name"] == "main"
    assert not here.processes()
    assert proc.port_is_free("127.0.0.1", here.port)
    assert main(["status"]) == 1
    assert main(["down"]) == 0


def test_a_failed_start_shows_the_last_words_and_the_cure(here: World, capsys: Said) -> None:
    install(here)
    here.configure(STUB="die:ImportError:_libnuma.so.1:_cannot_open_shared_object_file")
    assert main(["server", "start"]) == 2
    said = capsys.readouterr()
    assert "libnuma is missing" in said.err
    assert "apt-get install libnuma1" in said.err
    assert main(["status"]) == 1
    shown = capsys.readouterr().out
    assert "last problem: the library libnuma" in shown
    assert "| ImportError: libnuma.so.1" in shown


def test_run_stays_in_the_foreground_and_drains_on_ctrl_c(here: World) -> None:
    command = [*here.manager().command(), "--echo"]
    here.manager().prepare()
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as running:
        assert running.stdout
        while "startup complete" not in running.stdout.readline():
            assert running.poll() is None
        here.until(lambda: here.manager().status().is_serving)
        assert here.manager().status().supervisor_pid == running.pid
        os.kill(running.pid, signal.SIGINT)
        assert running.wait(timeout=20) == 0
    assert not here.processes()


def test_logs_are_followed(here: World) -> None:
    log = here.manager().log_path
    log.parent.mkdir(parents=True)
    log.write_text("old\n")
    code = (
        "import sys; from pathlib import Path; from voxtral_ops.server.logfile import follow\n"
        "print('following', flush=True)\n"
        "[print(line, flush=True) for line in follow(Path(sys.argv[1]), pause=0.01)]\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, log], stdout=subprocess.PIPE, encoding="utf-8") as reader:
        assert reader.stdout
        assert reader.stdout.readline() == "following\n"
        here.until(lambda: str(log) in " ".join(open_files(reader.pid)))
        with log.open("a") as stream:
            stream.write("new\n")
        assert reader.stdout.readline() == "new\n"
        reader.kill()


def open_files(pid: int) -> list[str]:
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))  # noqa: PTH115
        except FileNotFoundError:
            continue
    return found
