"""Open what the caller hands over (a path, bytes, a stream) and refuse what cannot be a recording, before decoding."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from voxtral_ops.audio.limits import AudioLimits
from voxtral_ops.audio.spool import Spool, folder_for
from voxtral_ops.errors import AudioError

Source = str | os.PathLike[str] | bytes | BinaryIO
"""A path, the bytes of a file, or something with ``read()``."""

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Opened:
    """An open file at its start, with the name to use in messages."""

    name: str
    descriptor: int
    size: int


@contextmanager
def opened(source: Source, limits: AudioLimits, name: str = "") -> Iterator[Opened]:
    """Open the source for decoding. Raises AudioError for everything that is no file with something in it."""
    if isinstance(source, bytes | bytearray | memoryview):
        data = memoryview(source)
        label = name or "<bytes>"
        _check_size(label, data.nbytes, limits)
        with _memory_file() as file:
            file.write(data)
            yield _checked(label, file.fileno(), data.nbytes, limits)
    elif isinstance(source, str | os.PathLike):
        path = Path(source)
        label = name or str(path)
        with _open_path(path) as stream:
            if stream.seekable():
                yield _checked(label, stream.fileno(), stream.seek(0, io.SEEK_END), limits)
            else:
                yield from _drained(stream, label, limits)
    elif hasattr(source, "read"):
        yield from _drained(source, name or str(getattr(source, "name", "<stream>")), limits)
    else:
        raise AudioError(
            f"a recording cannot be a {type(source).__name__}", hint="give a path, bytes or an open binary file"
        )


def _open_path(path: Path) -> BinaryIO:
    try:
        return path.open("rb", buffering=0)
    except IsADirectoryError as error:
        raise AudioError(f"{path} is a directory", hint="name the files in it", path=path) from error
    except FileNotFoundError as error:
        raise AudioError(f"{path} does not exist", hint=_neighbour(path), path=path) from error
    except PermissionError as error:
        raise AudioError(
            f"{path} may not be read by this user", hint=f"chmod a+r {path}, or run as its owner", path=path
        ) from error
    except (OSError, ValueError) as error:
        # ValueError: a name with a null byte.
        raise AudioError(f"{str(path)!r} cannot be opened: {error}", hint="check the name and the disk") from error


def _neighbour(path: Path) -> str:
    """The nearest name in the same folder, for a typing slip."""
    import difflib  # noqa: PLC0415

    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f"the folder {path.parent} cannot be read either"
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"did you mean {path.parent / close[0]}?" if close else "check the name"


def _memory_file() -> BinaryIO:
    return os.fdopen(os.memfd_create("recording", os.MFD_CLOEXEC), "w+b", buffering=0)


def _drained(stream: BinaryIO, name: str, limits: AudioLimits) -> Iterator[Opened]:
    """A pipe or a socket read to its end, within the limit, into a nameless file."""
    spool = Spool(folder_for(limits.bytes))
    size = 0
    while chunk := _next(stream, name):
        size += len(chunk)
        _check_size(name, size, limits)
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(spool.descriptor, rest) :]
    yield _checked(name, spool.descriptor, size, limits)


def _next(stream: BinaryIO, name: str) -> bytes:
    try:
        chunk = stream.read(_CHUNK)
    except (OSError, ValueError) as error:
        # ValueError: the stream is closed.
        raise AudioError(f"{name} cannot be read: {error}", hint="open it again") from error
    if not isinstance(chunk, bytes):
        raise AudioError(f"{name} gives {type(chunk).__name__}, not bytes", hint="open it with mode 'rb'")
    return chunk


def _checked(name: str, descriptor: int, size: int, limits: AudioLimits) -> Opened:
    _check_size(name, size, limits)
    if size == 0:
        raise AudioError(f"{name} is empty (0 bytes)", hint="record or copy it again")
    return Opened(name, descriptor, size)


def _check_size(name: str, size: int, limits: AudioLimits) -> None:
    if size > limits.bytes:
        raise AudioError(
            f"{name} is too large: {size >> 20} MB or more; the limit is {limits.bytes >> 20} MB",
            hint="cut it into parts, or convert it to FLAC or Opus",
            size=size,
            limit=limits.bytes,
        )
