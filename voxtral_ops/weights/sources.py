"""Places that files come from. None of them is trusted: the sha256 decides.

The contract between a place and the fetch that uses it:

- ``name`` is how messages call it ("mistralai/Voxtral-Mini-3B-2507 on https://…", "/media/disk/mini").
- ``open(file, start, stop)`` begins to read a file at byte ``start``. It returns a ``Reading``: the blocks from
  ``start`` on, and where they will end. They end at ``stop``; where the place can only give all of a file (a server
  that ignores ranges), they end at ``file.size``, and ``Reading.stop`` says so before the first block.
- A block is any non-empty ``bytes``; small ones cost time, 64 KiB to 1 MiB is good. Closing the blocks before
  their end must be cheap and leave nothing behind.
- ``streams`` is how many readings may usefully run at once, each from a thread of its own; one means one after
  the other.
- What goes wrong is raised as one of ``voxtral_ops.errors``. NetworkError and CapacityError are tried again from the
  byte that was reached, with growing pauses and a bounded number of times (where the place asked for a pause,
  ``details["after"]`` are its seconds); everything else ends the fetch at once. So a place never retries by itself.
- A place counts nothing, hashes nothing and writes nothing: the fetch counts the bytes (a reading that ends early is
  a NetworkError of the fetch's own, one that does not end is stopped), feeds them in order to the hash, and keeps
  only what has the release's sha256.

``voxtral_ops.weights.transport.Line.open(remote, file, start, stop)`` is such a reading over HTTP: a place that
knows a file's address needs only ``Remote(url, headers)``.
"""

from __future__ import annotations

from collections.abc import Generator
from io import FileIO
from pathlib import Path
from typing import Protocol

from voxtral_ops.catalog import catalog_model
from voxtral_ops.errors import HostError, ReleaseError
from voxtral_ops.release import ReleaseFile, ReleaseModel
from voxtral_ops.weights.hub import HubSource
from voxtral_ops.weights.ranges import BLOCK, RANGE, load_ranges, right_range
from voxtral_ops.weights.transport import Reading


class Source(Protocol):
    """A place that has a model's files. See the contract above."""

    @property
    def name(self) -> str:
        """How messages call it."""

    @property
    def streams(self) -> int:
        """How many readings may usefully run at once."""

    def open(self, file: ReleaseFile, start: int, stop: int) -> Reading:
        """Begin to read ``file`` from ``start`` to ``stop``."""


class DirectorySource:
    """A directory: a disk that was carried here, a shared mount, or the checkpoint shipped with the package."""

    streams = 1

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)

    def open(self, file: ReleaseFile, start: int, stop: int) -> Reading:
        """Read from the disk."""
        path = self.path / file.path
        try:
            size = path.stat().st_size if path.is_file() else -1
            if size == file.size:
                return Reading(stop, _blocks(path.open("rb", buffering=0), start, stop))
        except PermissionError as error:
            raise HostError(
                f"{path} cannot be read: {error.strerror}", hint="check the rights there", path=path
            ) from error
        found = f"is {size} bytes there, not {file.size}" if size >= 0 else "is not a file there"
        if not path.exists():
            raise ReleaseError(
                f"{self.path} has no {file.path}",
                hint="name the directory that holds the model's own files",
                path=path,
            )
        raise ReleaseError(
            f"{file.path} from {self.path} is not the release's: it {found}",
            hint="the directory is damaged, or the release names other bytes; nothing was installed",
            path=path,
        )


def _blocks(stream: FileIO, start: int, stop: int) -> Generator[bytes, None, None]:
    with stream:
        stream.seek(start)
        while start < stop and (block := stream.read(min(BLOCK, stop - start))):
            start += len(block)
            yield block


class Mended:
    """A damaged model on this disk first, where its sums say that a range is right; the rest from another place."""

    def __init__(self, directory: Path, rest: Source) -> None:
        self._directory, self._rest = directory, rest
        self._local = DirectorySource(directory)
        self._sums = load_ranges(directory)
        self._right: dict[tuple[str, int], bool] = {}

    @property
    def name(self) -> str:
        """The other place's: what is here is not to blame."""
        return self._rest.name

    @property
    def streams(self) -> int:
        """As many as the other place likes."""
        return self._rest.streams

    def open(self, file: ReleaseFile, start: int, stop: int) -> Reading:
        """Read a range from where it is right. A piece never crosses a range's border."""
        number = start // RANGE
        key = (file.path, number)
        if key not in self._right:
            path, sums = self._directory / file.path, self._sums.get(file.path, ())
            regular = path.is_file() and not path.is_symlink() and path.stat().st_size == file.size
            self._right[key] = regular and right_range(path, number, sums)
        return (self._local if self._right[key] else self._rest).open(file, start, stop)


def source_for(model: ReleaseModel, directory: Path | None = None) -> Source:
    """Choose where to get a model: the directory that was named, the shipped checkpoint, or the hub."""
    if directory is not None:
        return DirectorySource(directory)
    known = catalog_model(model.name)
    if known.bundled:
        return DirectorySource(known.bundled_path)
    return HubSource(model.repository, model.revision)
