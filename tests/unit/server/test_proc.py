"""What is read from /proc, held against processes that we start ourselves."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from voxtral_ops.errors import HostError
from voxtral_ops.server import proc
from voxtral_ops.server.pidfile import PidFile, read_pid
from voxtral_ops.server.ready import main as ready


def test_a_process_is_known_by_pid_and_start_time() -> None:
    started = proc.start_time(os.getpid())
    assert started
    assert proc.is_alive(os.getpid(), started)
    assert not proc.is_alive(os.getpid(), started - 1)
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not proc.is_alive(child.pid, None), "a zombie does not live"


def test_descendants_commands_and_marks() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()', 'a(b) c'])"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env={"MARK_OF_TEST": "here"}
    ) as child:
        while len(found := proc.descendants(child.pid)) != 1 or "a(b) c" not in proc.command(found[0]):
            assert child.poll() is None
        assert proc.children(child.pid) == found
        assert set(proc.marked("MARK_OF_TEST", "here")) == {child.pid, *found}
        assert proc.memory([child.pid, *found]) > 1_000_000
        assert child.stdin
        child.stdin.close()
    assert proc.memory([child.pid]) == 0


def test_listeners() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert proc.listener(port) == (os.getpid(),)
        assert not proc.port_is_free("127.0.0.1", port)
    assert proc.listener(port) is None
    assert proc.port_is_free("127.0.0.1", port)


def test_a_pid_file_is_held_by_one(tmp_path: Path) -> None:
    path = tmp_path / "a.pid"
    with PidFile(path):
        assert read_pid(path) == os.getpid()
        with pytest.raises(HostError, match=f"supervised by process {os.getpid()}"), PidFile(path):
            pass
    assert not path.exists()


def test_ready_says_no_in_time() -> None:
    assert ready(["http://127.0.0.1:1", "--timeout", "0"]) == 1
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert ready(["http://127.0.0.1:1", "--timeout", "60", "--pid", str(gone.pid)]) == 1


@pytest.mark.parametrize(("models", "status"), [(200, 0), (401, 0), (404, 1)])
def test_ready_wants_health_and_models(models: int, status: int) -> None:

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else models)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        assert ready([f"http://127.0.0.1:{server.server_address[1]}", "--timeout", "0"]) == status
        server.shutdown()
