"""The process in which recordings are decoded: bounded by the kernel, fed by file descriptors, ended with its parent.

Asked and answering over one socket: JSON, with the file and the spool as descriptors beside it.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import socket
import sys
import traceback
from dataclasses import asdict
from typing import Any

from voxtral_ops.audio.limits import AudioLimits
from voxtral_ops.errors import VoxtralError

LARGEST_MESSAGE = 1 << 16
IDLE_SECONDS = 120.0
"""After so long without a recording it ends."""
ADDRESS_SPACE = 2 << 30
"""Bytes. Python, numpy and FFmpeg take half a GB of it before the first file, 60 MB of them real."""


def main(channel: int, lifeline: int) -> int:
    """Decode what is sent until nobody sends any more."""
    _end_with_parent(lifeline)
    _restrain()
    import av.filter  # noqa: F401, PLC0415 - so that the first recording does not wait for it
    import numpy as np  # noqa: F401, PLC0415

    with socket.socket(fileno=channel) as asked:
        asked.settimeout(IDLE_SECONDS)
        asked.send(b'{"ready": true}')
        while True:
            try:
                message, descriptors, _, _ = socket.recv_fds(asked, LARGEST_MESSAGE, 2)
            except TimeoutError:
                return 0
            if not message:
                return 0
            try:
                answer = _answer(json.loads(message), *descriptors)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            asked.send(json.dumps(answer).encode())


def _answer(request: dict[str, Any], file: int, spool: int) -> dict[str, Any]:
    from voxtral_ops.audio.decode import Job, decode  # noqa: PLC0415

    limits = AudioLimits(**request["limits"])
    # SIGPROF ends us, even inside a decoder, when so much computing time is spent on this one recording.
    signal.setitimer(signal.ITIMER_PROF, limits.cpu_seconds)
    try:
        job = Job(request["name"], limits, request["loudness"])
        return {"decoded": asdict(decode(job, file, spool))}
    except VoxtralError as error:
        return {"error": error.as_dict()}
    except Exception:
        return {"fault": traceback.format_exc()[-8000:]}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _end_with_parent(lifeline: int) -> None:
    """The kernel sends SIGIO, which ends us even inside a decoder, when the other end of the pipe is closed."""
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
    try:
        orphaned = os.read(lifeline, 1) == b""
    except BlockingIOError:
        orphaned = False
    if orphaned:
        sys.exit(0)


def _restrain() -> None:
    """No core files, which would hold sound; a bounded address space; few descriptors."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
