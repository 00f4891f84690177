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

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Protocol

from voxtral_ops.ansible_plugins.module_utils.voxtral_progress import report
from voxtral_ops.catalog import catalog_model
from voxtral_ops.errors import ReleaseError
from voxtral_ops.release import ReleaseFile, ReleaseModel
from voxtral_ops.weights.hub import HubSource
from voxtral_ops.weights.verify import CHUNK


@dataclass(frozen=True)
class Reading:
    """A part of a file on its way."""

    stop: int
    """The byte behind the last one that will come."""
    blocks: Iterator[bytes]


class Source(Protocol):
    """A place that has a model's files. See the contract above."""

    name: str
    streams: int

    def open(self, file: ReleaseFile, start: int, stop: int) -> Reading:
        """Begin to read ``file`` from ``start`` to ``stop``."""
        ...

    def fetch(self, file: ReleaseFile, destination: Path) -> str:
        """Leave the file at ``destination`` and return its sha256. Gives way to ``open``."""
        ...


class DirectorySource:
    """A directory: a disk that was carried here, a shared mount, or the checkpoint shipped with the package."""

    streams = 1

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)

    def open(self, file: ReleaseFile, start: int, stop: int) -> Reading:
        """Read from the disk."""
        try:
            stream = (self.path / file.path).open("rb", buffering=0)
        except FileNotFoundError as error:
            raise ReleaseError(
                f"{self.path} has no {file.path}",
                hint="name the directory that holds the model's own files",
                path=self.path / file.path,
            ) from error
        return Reading(stop, _blocks(stream, start, stop))

    def fetch(self, file: ReleaseFile, destination: Path) -> str:
        """Copy one file, hashing on the way."""
        digest, done = hashlib.sha256(), 0
        try:
            with (self.path / file.path).open("rb") as source, destination.open("wb") as target:
                while chunk := source.read(CHUNK):
                    digest.update(chunk)
                    target.write(chunk)
                    done += len(chunk)
                    report(f"copying {file.path}", min(1.0, done / max(1, file.size)))
                target.flush()
                os.fsync(target.fileno())
        except FileNotFoundError as error:
            raise ReleaseError(
                f"{self.path} has no {file.path}",
                hint="name the directory that holds the model's own files",
                path=self.path / file.path,
            ) from error
        return digest.hexdigest()


def _blocks(stream: FileIO, start: int, stop: int) -> Iterator[bytes]:
    with stream:
        stream.seek(start)
        while start < stop and (block := stream.read(min(CHUNK, stop - start))):
            start += len(block)
            yield block


def source_for(model: ReleaseModel, directory: Path | None = None) -> Source:
    """Choose where to get a model: the directory that was named, the shipped checkpoint, or the hub."""
    if directory is not None:
        return DirectorySource(directory)
    known = catalog_model(model.name)
    if known.bundled:
        return DirectorySource(known.bundled_path)
    return HubSource(model.repository, model.revision)
