"""Decoder processes, kept warm: one file at a time each, killed at the limit, started anew after a crash."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from typing import Any

from voxtral_ops.audio.decode import Decoded, Job
from voxtral_ops.audio.quality import Levels
from voxtral_ops.audio.worker import LARGEST_MESSAGE
from voxtral_ops.errors import AudioError, HostError

BOOT = "import sys; sys.path[:] = {path!r}; from voxtral_ops.audio.worker import main; sys.exit(main({ends}))"
START_SECONDS = 60.0
"""Importing takes 0.2 s on an idle machine; on a busy one it takes its time."""
TOO_LONG = "convert it to WAV or FLAC first, or allow more (AudioLimits)"


class Decoder:
    """One process. Not for two threads at once; the pool sees to that."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        hold, lifeline = os.pipe()
        self._socket, self._lifeline = ours, lifeline
        code = BOOT.format(path=sys.path, ends=f"{theirs.fileno()}, {hold}")
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), hold),
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for us; we end it
            )
        except OSError as error:
            ours.close()
            os.close(lifeline)
            raise HostError(f"the decoder cannot be started: {error}", hint=REINSTALL) from error
        finally:
            theirs.close()
            os.close(hold)
        self._ready = False

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def ask(self, job: Job, file: int, spool: int) -> dict[str, Any] | None:
        """Send a file and wait for the answer. None when it had just retired."""
        seconds = job.limits.wall_seconds
        try:
            self._wait_ready()
            deadline = time.monotonic() + seconds
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                socket.send_fds(self._socket, [json.dumps(asdict(job)).encode()], [file, spool])
            answer = self._receive(deadline)
        except TimeoutError:
            self.end()
            raise AudioError(
                f"{job.name} takes too long to decode: {seconds:g} s were not enough", hint=TOO_LONG
            ) from None
        except BaseException:
            # Half a conversation cannot be continued.
            self.end()
            raise
        if answer is None:
            self._ended(job.name)
        return answer

    def end(self) -> None:
        """Kill and reap it. It holds nothing that could be lost."""
        self._process.kill()
        self._process.wait()
        self.forget()

    def forget(self) -> None:
        """Close our ends."""
        self._socket.close()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def _wait_ready(self) -> None:
        if self._ready:
            return
        try:
            hello = self._receive(time.monotonic() + START_SECONDS)
        except TimeoutError:
            raise HostError("the decoder does not start", hint="is the machine overloaded?") from None
        if hello is None:
            raise HostError("the decoder ends as soon as it starts: PyAV or numpy is broken", hint=REINSTALL)
        self._ready = True

    def _receive(self, deadline: float) -> dict[str, Any] | None:
        self._socket.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            message = self._socket.recv(LARGEST_MESSAGE)
        except ConnectionResetError:
            return None
        return dict(json.loads(message)) if message else None

    def _ended(self, name: str) -> None:
        """It closed its socket. Raises AudioError unless it had ended of its own accord."""
        status = self._process.wait()
        self.forget()
        if status == 0:
            return
        if status == -signal.SIGPROF:
            raise AudioError(f"{name} takes too much computing to decode", hint=TOO_LONG)
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        raise AudioError(
            f"{name} makes the decoder crash ({how})", hint="it is damaged or made to harm: do not open it elsewhere"
        )


class DecoderPool:
    """As many decoders as there are processors; those that are idle wait for the next recording."""

    def __init__(self) -> None:
        self._idle: list[Decoder] = []
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(os.cpu_count() or 1)

    def decode(self, job: Job, file: int, spool: int) -> Decoded:
        """Decode the open ``file`` into ``spool``. Raises AudioError."""
        with self._places:
            while True:
                decoder = self._take()
                answer = decoder.ask(job, file, spool)
                if answer is not None:
                    self._give(decoder)
                    return answered(answer)

    def close(self) -> None:
        """End those that are idle."""
        while self._idle:
            self._idle.pop().end()

    def forget(self) -> None:
        """After a fork: they belong to the parent."""
        for decoder in self._idle:
            decoder.forget()
        self.__init__()  # type: ignore[misc]

    def _take(self) -> Decoder:
        with self._lock:
            while self._idle:
                decoder = self._idle.pop()
                if decoder.alive:
                    return decoder
                decoder.forget()
        return Decoder()

    def _give(self, decoder: Decoder) -> None:
        with self._lock:
            self._idle.append(decoder)


def answered(answer: dict[str, Any]) -> Decoded:
    """What a decoder found, or the error that it tells of."""
    if "decoded" in answer:
        facts = answer["decoded"]
        return Decoded(**{**facts, "levels": Levels(**facts["levels"])})
    if "error" in answer:
        told = answer["error"]
        kind = HostError if told["category"] == "host" else AudioError
        raise kind(told["message"], hint=told["hint"], **told["details"])
    raise RuntimeError(f"a fault in the decoder, not in the recording:\n{answer.get('fault')}")


def _environment() -> dict[str, str]:
    """Little of ours: nothing that could hold a secret."""
    kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL") if key in os.environ}
    return {**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


REINSTALL = "install voxtral-ops again"
POOL = DecoderPool()
os.register_at_fork(after_in_child=POOL.forget)
atexit.register(POOL.close)
