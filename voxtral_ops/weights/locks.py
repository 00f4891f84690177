"""One worker at a time on a model's directory, and the names of what lies beside it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from voxtral_ops.errors import HostError


def beside(directory: Path, kind: str) -> Path:
    """Name what belongs to a model's directory: its ``lock``, and what is ``partial``, ``old`` or ``trash``."""
    return directory.with_name(f".{directory.name}.{kind}")


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Keep every other worker away from a directory. Raises HostError (``busy``) where there is one already."""
    while True:
        stream = _open(beside(directory, "lock"))
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise HostError(
                    f"another process is installing or removing {directory}",
                    hint="wait for it, then run this again",
                    path=directory,
                    busy=True,
                ) from error
            # Whoever held it before may have removed the file: then this lock guards nothing.
            if _is_at(stream, beside(directory, "lock")):
                yield
                return


def _open(lock: Path) -> IO[str]:
    while True:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            return lock.open("w", encoding="ascii")
        except FileNotFoundError:
            continue  # a collector removed the empty folder at this moment


def _is_at(stream: IO[str], path: Path) -> bool:
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    mine = os.fstat(stream.fileno())
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
