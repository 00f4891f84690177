"""One worker at a time on a model's directory, and the names of what lies beside it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from voxtral_ops.errors import HostError

POLL_SECONDS = 0.25


def beside(directory: Path, kind: str) -> Path:
    """Name what belongs to a model's directory: its ``lock``, and what is ``partial``, ``old`` or ``trash``."""
    return directory.with_name(f".{directory.name}.{kind}")


@contextmanager
def alone(directory: Path, wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Keep every other worker away from a directory. The lock falls with the process that holds it, however that ends.

    Where there is a worker already: ``wait`` is told for whom, and waited; without it HostError (``busy``) is raised.
    """
    lock = beside(directory, "lock")
    with _locked(lock, directory, wait) as stream:
        stream.seek(0)
        stream.truncate()
        stream.write(f"{os.getpid()}\n")
        stream.flush()
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)  # by whoever holds it; a waiter sees that its file has gone


def _locked(lock: Path, directory: Path, wait: Callable[[str], None] | None) -> IO[str]:
    told = False
    while True:
        stream = _open(lock)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(stream.fileno(), 32, 0).decode("ascii", "replace").strip()
            stream.close()
            busy = f"another process ({holder or 'unknown'}) is installing or removing {directory}"
            if wait is None:
                raise HostError(busy, hint="wait for it, then run this again", path=directory, busy=True) from error
            if not told:
                wait(f"{busy}: waiting for it")
            told = True
            time.sleep(POLL_SECONDS)
            continue
        # Whoever held it before may have removed the file: then this lock guards nothing.
        if _is_at(stream, lock):
            return stream
        stream.close()


def _open(lock: Path) -> IO[str]:
    while True:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.fdopen(os.open(lock, flags, 0o644), "a+", encoding="ascii")
        except FileNotFoundError:
            continue  # a collector removed the empty folder at this moment


def _is_at(stream: IO[str], path: Path) -> bool:
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    mine = os.fstat(stream.fileno())
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
