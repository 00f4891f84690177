"""One run of vLLM under the guardian: its processes, its lines, its progress, its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

from voxtral_ops.server import guardian, proc
from voxtral_ops.server.launch import Launch
from voxtral_ops.server.logfile import LogFile
from voxtral_ops.server.phases import StartProgress

MARK = "VOXTRAL_INSTANCE"
"""Names the instance's directory in the environment of every process of a server."""
_KEPT_LINES = 400
_DRAINED = "EngineCore: request processing complete"


class Engine:
    """Starts the server at once. ``ended`` turns true when all of its processes have gone."""

    def __init__(self, launch: Launch, log: LogFile, known: dict[str, float]) -> None:
        self.progress = StartProgress(time.monotonic, known)
        self.drained = False
        """Whether vLLM has said, after SIGTERM, that its last request is done."""
        self._began = time.monotonic()
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._log = log
        self._server_pid: int | None = None
        home = Path(launch.environment["HOME"])
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Its own session: a Ctrl-C at the terminal reaches the supervisor, which drains.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", guardian.__file__, str(os.getpid()), *launch.argv],
            env=launch.environment | {MARK: str(launch.directory)},
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            encoding="utf-8",
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self._process.poll() is not None

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._began

    @property
    def lines(self) -> tuple[str, ...]:
        """Its last lines. Complete once it has ended."""
        if self.ended:
            self._reader.join(timeout=5)
        return tuple(self._lines)

    @property
    def server_pid(self) -> int | None:
        """The API server."""
        if self._server_pid is None:
            self._server_pid = next(iter(proc.children(self._process.pid)), None)
        return self._server_pid

    @property
    def engine_pids(self) -> tuple[int, ...]:
        """Everything that the API server has started."""
        return tuple(pid for pid in proc.descendants(self._process.pid) if pid != self.server_pid)

    def ending(self) -> str:
        """How it ended, in words."""
        code = self._process.returncode
        if code is None:
            return "still running"
        number = -code if code < 0 else code - 128 if code > 128 else 0
        if number:
            with contextlib.suppress(ValueError):
                return f"vLLM was killed by {signal.Signals(number).name}"
        return f"vLLM ended with status {code}"

    def terminate(self) -> None:
        """Ask vLLM to drain and end."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End everything now, and wait until it is gone."""
        self._send(signal.SIGUSR1)
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # If the guardian itself was killed, what it guarded is ours now.
        guardian.end_all(os.getpid(), 0.0)
        self._reader.join(timeout=5)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _send(self, number: int) -> None:
        if not self.ended:
            self._process.send_signal(number)

    def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        for raw in stream:
            # Progress bars rewrite their line; the last state of it is what counts.
            line = raw.rstrip("\n").rpartition("\r")[2]
            self._log.write(line)
            self._lines.append(line)
            self.progress.feed(line)
            if _DRAINED in line:
                self.drained = True
