"""A server's log: readable by its owner only, turned over by size, followed as it grows."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from voxtral_ops.errors import HostError

LIMIT_BYTES = 16 * 1024 * 1024


class LogFile:
    """Appends lines (with ``echo`` to stdout too); at ``limit`` bytes the file becomes ``<name>.1``."""

    def __init__(self, path: Path, limit: int = LIMIT_BYTES, *, echo: bool = False) -> None:
        self._path = path
        self._limit = limit
        self._echo = echo
        self._stream = self._open()

    def write(self, line: str) -> None:
        """Append one line. A full disk loses lines, never the server."""
        data = line.encode("utf-8", "replace") + b"\n"
        try:
            if self._stream.tell() + len(data) > self._limit:
                self._turn_over()
            self._stream.write(data)
            if self._echo:
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
        except OSError:
            return

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _turn_over(self) -> None:
        self._stream.close()
        self._path.replace(_older(self._path))
        self._stream = self._open()

    def _open(self) -> IO[bytes]:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.fchmod(descriptor, 0o600)
        stream = os.fdopen(descriptor, "ab", buffering=0)
        stream.seek(0, os.SEEK_END)
        return stream


def tail(path: Path, lines: int) -> tuple[str, ...]:
    """The last lines, over the turn of the file where need be. Empty where there is no log yet."""
    kept: deque[str] = deque(maxlen=lines)
    for part in (_older(path), path):
        try:
            with part.open(encoding="utf-8", errors="replace") as stream:
                kept.extend(line.rstrip("\n") for line in stream)
        except FileNotFoundError:
            continue
        except PermissionError as error:
            raise HostError(f"{part} may not be read by this user", hint="try as root, with sudo", path=part) from error
    return tuple(kept)


def follow(path: Path, wanted: Callable[[], bool] = lambda: True, pause: float = 0.2) -> Iterator[str]:
    """New lines as they are written, until ``wanted`` says no; goes along when the file turns over."""
    stream = _opened(path)
    if stream is not None:
        stream.seek(0, os.SEEK_END)
    try:
        while wanted():
            turned = stream is None or _has_turned(path, stream)
            # Asked before reading: what was written before the turn is read first.
            line = stream.readline() if stream is not None else ""
            if line:
                yield line.rstrip("\n")
            elif turned and path.exists():
                if stream is not None:
                    stream.close()
                stream = _opened(path)
            else:
                time.sleep(pause)
    finally:
        if stream is not None:
            stream.close()


def _opened(path: Path) -> IO[str] | None:
    return path.open(encoding="utf-8", errors="replace") if path.exists() else None


def _has_turned(path: Path, stream: IO[str]) -> bool:
    try:
        return path.stat().st_ino != os.fstat(stream.fileno()).st_ino
    except FileNotFoundError:
        return False


def _older(path: Path) -> Path:
    return path.with_name(path.name + ".1")
