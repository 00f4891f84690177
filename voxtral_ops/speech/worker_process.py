"""One running Whisper worker: start it, ask it, end it. Every wait has a deadline."""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from voxtral_ops.errors import HostError, ServerError

WORKER = Path(__file__).with_name("whisper_worker.py")
START_SECONDS = 180.0
"""Importing and loading takes 2 s on an idle machine; on a busy one it takes its time."""
LONGEST_MESSAGE = 1 << 26


class WorkerProcess:
    """A subprocess that holds Whisper. Not for two threads at once; the backend sees to that."""

    def __init__(self, python: Path, weights: Path, threads: int) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        try:
            self._process = subprocess.Popen(
                [str(python), "-I", str(WORKER), str(weights), str(threads), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for us; we end the worker
                bufsize=0,
            )
        except OSError as error:
            self._log.close()
            raise HostError(f"Whisper's interpreter {python} cannot be started: {error}", hint=REINSTALL) from error
        for pipe in (self._stdin, self._stdout):
            os.set_blocking(pipe, False)
        self._weights = weights
        self._ready = False
        self.multilingual = False

    def wait_ready(self) -> None:
        """Wait until the model is loaded. Raises HostError when it cannot be."""
        if self._ready:
            return
        try:
            hello = self._receive(time.monotonic() + START_SECONDS)
        except BaseException:
            self.end()
            raise
        if "error" in hello:
            self.end()
            raise HostError(f"Whisper cannot be loaded: {hello['error']}", hint=REINSTALL, weights=self._weights)
        self.multilingual = bool(hello.get("multilingual"))
        self._ready = True

    @property
    def pid(self) -> int:
        """Of the worker."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def ask(self, request: dict[str, Any], samples: memoryview, seconds: float) -> dict[str, Any]:
        """Send a request with its samples and wait for the answer. Raises ServerError; the worker is then ended."""
        deadline = time.monotonic() + seconds
        body = json.dumps(request).encode()
        try:
            self._send(memoryview(struct.pack(">I", len(body)) + body), deadline)
            self._send(samples, deadline)
            return self._receive(deadline)
        except BaseException:
            # Half a conversation cannot be continued.
            self.end()
            raise

    def kill(self) -> None:
        """End it from any thread; whoever waits for its answer gets an error."""
        self._process.kill()

    def end(self) -> None:
        """Kill and reap it. It holds nothing that could be lost."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                pipe.close()

    @property
    def _stdin(self) -> int:
        assert self._process.stdin is not None
        return self._process.stdin.fileno()

    @property
    def _stdout(self) -> int:
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def _send(self, data: memoryview, deadline: float) -> None:
        rest = data
        while rest:
            self._wait([], [self._stdin], deadline)
            try:
                rest = rest[os.write(self._stdin, rest) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._died() from None

    def _receive(self, deadline: float) -> dict[str, Any]:
        size = struct.unpack(">I", self._read(4, deadline))[0]
        if size > LONGEST_MESSAGE:
            raise ServerError("the Whisper worker sent what is no message", hint=REINSTALL)
        message = json.loads(self._read(size, deadline))
        return message if isinstance(message, dict) else {"error": f"unexpected answer {message!r}"}

    def _read(self, size: int, deadline: float) -> bytes:
        data = b""
        while len(data) < size:
            self._wait([self._stdout], [], deadline)
            chunk = os.read(self._stdout, size - len(data))
            if not chunk:
                raise self._died()
            data += chunk
        return data

    def _wait(self, readers: list[int], writers: list[int], deadline: float) -> None:
        ready = select.select(readers, writers, [], max(0.0, deadline - time.monotonic()))
        if not (ready[0] or ready[1]):
            raise ServerError("Whisper took too long and was stopped", hint="cut the recording into parts")

    def _died(self) -> ServerError:
        """It closed its pipe: say how it ended and its last words."""
        try:
            code: int | str = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = "still running"
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - 2000))
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        last = f": {lines[-1].strip()}" if lines else ""
        return ServerError(
            f"the Whisper worker ended (status {code}){last}",
            hint="try again: it starts anew",
            log="\n".join(lines[-20:]),
        )


REINSTALL = "`voxtral-ops up` installs Whisper again"


def _environment() -> dict[str, str]:
    """What the worker needs from ours: no hub, no telemetry, none of our Python settings (-I sees to those)."""
    kept = {
        key: os.environ[key]
        for key in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
        if key in os.environ
    }
    return {**kept, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
