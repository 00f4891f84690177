"""Places that files come from. None of them is trusted: the sha256 decides."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Protocol

from voxtral_ops.ansible_plugins.module_utils.voxtral_progress import report
from voxtral_ops.catalog import catalog_model
from voxtral_ops.errors import ReleaseError
from voxtral_ops.release import ReleaseFile, ReleaseModel
from voxtral_ops.weights.hub import HubSource
from voxtral_ops.weights.verify import CHUNK


class Source(Protocol):
    """A place that has a model's files."""

    name: str
    """How messages call it."""

    def fetch(self, file: ReleaseFile, destination: Path) -> str:
        """Write one file to ``destination`` and return the sha256 of what was written."""
        ...


class DirectorySource:
    """A directory: a disk that was carried here, a shared mount, or the checkpoint shipped with the package."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)

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


def source_for(model: ReleaseModel, directory: Path | None = None) -> Source:
    """Choose where to get a model: the directory that was named, the shipped checkpoint, or the hub."""
    if directory is not None:
        return DirectorySource(directory)
    known = catalog_model(model.name)
    if known.bundled:
        return DirectorySource(known.bundled_path)
    return HubSource(model.repository, model.revision)
