"""Where samples live: in memory while they are few, beyond that in a nameless file, which dies with its holder."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from voxtral_ops.errors import HostError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WIDTH = 2
"""Bytes of one sample."""
IN_MEMORY = 16_000 * WIDTH * 600
"""Bytes that are held in memory: ten minutes."""
SPARE = 4
"""A folder in memory is taken for a spool only when this many of the largest possible would fit."""


class Pcm(Protocol):
    """16-bit samples that can be read from any place."""

    @property
    def count(self) -> int:
        """How many samples there are."""

    def read(self, start: int, stop: int) -> NDArray[np.int16]:
        """The samples from ``start`` up to ``stop``; both within the count."""

    def file(self, start: int, count: int) -> tuple[BinaryIO, int]:
        """An open file for another process, and where in it the sample ``start`` is."""


@dataclass(frozen=True, eq=False)
class InMemory:
    """Samples that are few."""

    data: bytes

    @property
    def count(self) -> int:
        """How many samples there are."""
        return len(self.data) // WIDTH

    def read(self, start: int, stop: int) -> NDArray[np.int16]:
        """A view, not a copy."""
        import numpy as np  # noqa: PLC0415

        return np.frombuffer(self.data, dtype="<i2", count=stop - start, offset=start * WIDTH)

    def file(self, start: int, count: int) -> tuple[BinaryIO, int]:
        """A file in memory that holds what was asked for."""
        file = os.fdopen(os.memfd_create("samples", os.MFD_CLOEXEC), "w+b", buffering=0)
        file.write(memoryview(self.data)[start * WIDTH : (start + count) * WIDTH])
        file.seek(0)
        return file, 0


class Spool:
    """A file without a name, for this user only. Nothing is left of it when its holder ends, however that happens."""

    def __init__(self, folder: Path) -> None:
        try:
            self.descriptor = _nameless(folder)
        except OSError as error:
            raise HostError(
                f"there is no room for a recording in {folder}: {error}",
                hint="free space there, or name another folder in TMPDIR",
                path=folder,
            ) from error

    @property
    def count(self) -> int:
        """How many samples there are."""
        return os.fstat(self.descriptor).st_size // WIDTH

    def read(self, start: int, stop: int) -> NDArray[np.int16]:
        """A copy: nothing stays in memory."""
        import numpy as np  # noqa: PLC0415

        data = bytearray((stop - start) * WIDTH)
        view, place = memoryview(data), start * WIDTH
        while view:
            got = os.preadv(self.descriptor, [view], place)
            if got == 0:
                raise HostError("a spooled recording became shorter", hint="load it again")
            view, place = view[got:], place + got
        return np.frombuffer(data, dtype="<i2")

    def file(self, start: int, count: int) -> tuple[BinaryIO, int]:
        """The spool itself."""
        return os.fdopen(os.dup(self.descriptor), "rb", buffering=0), start

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


def kept(spool: Spool) -> Pcm:
    """The spool, or its content in memory when that is small."""
    if spool.count * WIDTH > IN_MEMORY:
        return spool
    return InMemory(os.pread(spool.descriptor, spool.count * WIDTH, 0))


def folder_for(size: int) -> Path:
    """A folder in memory when ``size`` bytes are little for it, so that no disk sees the sound; else TMPDIR."""
    for name in (os.environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm"):  # noqa: S108 - a file without a name
        folder = Path(name)
        if folder.is_absolute() and _free(folder) > SPARE * size and _free_memory() > SPARE * size:
            return folder
    return Path(tempfile.gettempdir())


def _nameless(folder: Path) -> int:
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except (IsADirectoryError, OSError):
        # A file system that knows no O_TMPFILE: named for a moment.
        descriptor, path = tempfile.mkstemp(dir=folder)
        Path(path).unlink()
        return descriptor


def _free(folder: Path) -> int:
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize if os.access(folder, os.W_OK) else 0


def _free_memory() -> int:
    """Bytes that the kernel would give without swapping."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 0
