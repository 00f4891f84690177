"""A pid file that cannot lie: locked while its process lives, and naming the process's start time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from voxtral_ops.errors import HostError
from voxtral_ops.server import proc


class PidFile:
    """Held by a ``with``: two processes never hold the same one. Raises HostError where another does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> PidFile:
        while self._descriptor < 0:
            self._try()
        pid = os.getpid()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{pid} {proc.start_time(pid)}\n".encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _try(self) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            holder = read_pid(self._path)
            raise HostError(
                f"this server is already supervised by process {holder or 'unknown'}",
                hint="`voxtral-ops status` shows it; `voxtral-ops down` stops it",
                pid=holder,
            ) from None
        # The one before us may have removed the file between our opening and our locking it.
        if self._path.exists() and self._path.stat().st_ino == os.fstat(descriptor).st_ino:
            self._descriptor = descriptor
        else:
            os.close(descriptor)


def read_pid(path: Path) -> int | None:
    """The live process that the file names; None when there is none, or when the file is a left-over."""
    try:
        words = path.read_text(encoding="ascii").split()
        pid, started = int(words[0]), int(words[1])
    except (FileNotFoundError, ValueError, IndexError):
        return None
    return pid if proc.is_alive(pid, started) else None
