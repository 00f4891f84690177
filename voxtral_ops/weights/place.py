"""Put verified files into a directory that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from voxtral_ops.errors import HostError, ReleaseError
from voxtral_ops.release import ReleaseFile
from voxtral_ops.weights.locks import alone, beside
from voxtral_ops.weights.sources import Source
from voxtral_ops.weights.verify import MANIFEST, sha256_of, stamps_of, write_stamps

MARGIN = 64 << 20
"""What must stay free on the disk."""


def place_files(directory: Path, files: Sequence[ReleaseFile], source: Source, manifest: str) -> None:
    """Fetch, verify and install. What was verified before an interruption is kept for the next attempt."""
    parent = directory.parent
    try:
        with alone(directory):
            partial = beside(directory, "partial")
            partial.mkdir(mode=0o755, exist_ok=True)
            try:
                _gather(partial, directory, files, source)
                _seal(partial, files, manifest)
                _swap(partial, directory)
            finally:
                _forget_if_empty(partial)
    except PermissionError as error:
        raise HostError(
            f"{error.filename or parent} cannot be written",
            hint="run as root, or choose a directory of your own",
            path=directory,
        ) from error


def _gather(partial: Path, old: Path, files: Sequence[ReleaseFile], source: Source) -> None:
    missing = [file for file in files if not _have(partial, old, file)]
    need, free = sum(file.size for file in missing) + MARGIN, shutil.disk_usage(partial).free
    if missing and need > free:
        raise HostError(
            f"{partial.parent} has {free:,} bytes free and {need:,} are needed: {need - free:,} short",
            hint="free some space there, or keep the models on another disk",
            path=partial.parent,
            needed=need,
            free=free,
        )
    for file in missing:
        _fetch(partial, file, source)


def _have(partial: Path, old: Path, file: ReleaseFile) -> bool:
    """Look for a good copy: of an interrupted attempt, or in a directory where another file is damaged."""
    here = partial / file.path
    if _good(here, file):
        return True
    here.unlink(missing_ok=True)
    if not _good(old / file.path, file):
        return False
    here.parent.mkdir(parents=True, exist_ok=True)
    here.hardlink_to(old / file.path)
    return True


def _good(path: Path, file: ReleaseFile) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size != file.size:
        return False
    return sha256_of(path) == file.sha256


def _fetch(partial: Path, file: ReleaseFile, source: Source) -> None:
    final = partial / file.path
    final.parent.mkdir(parents=True, exist_ok=True)
    incoming = final.with_name(f".{final.name}.incoming")
    try:
        digest = source.fetch(file, incoming)
        size = incoming.stat().st_size
        if size != file.size or digest != file.sha256:
            found = f"{size} bytes, not {file.size}" if size != file.size else f"sha256 {digest}, not {file.sha256}"
            raise ReleaseError(
                f"{file.path} from {source.name} is not the release's: {found}",
                hint="the source is damaged, or the release names other bytes; nothing was installed",
                path=file.path,
                source=source.name,
            )
        incoming.chmod(0o644)
        incoming.replace(final)
    finally:
        incoming.unlink(missing_ok=True)


def _seal(partial: Path, files: Sequence[ReleaseFile], manifest: str) -> None:
    """Leave exactly the release's files, readable by the service's user, and the manifest, written last."""
    wanted = {file.path for file in files}
    folders = {parent for name in wanted for parent in (partial / name).parents if parent.is_relative_to(partial)}
    for path in [each for each in partial.rglob("*") if each not in folders]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.relative_to(partial).as_posix() not in wanted:
            path.unlink(missing_ok=True)
    for folder in folders:
        folder.chmod(0o755)
    for name in wanted:
        (partial / name).chmod(0o644)
    write_stamps(partial, stamps_of(partial, files))
    with (partial / MANIFEST).open("w", encoding="utf-8") as stream:
        stream.write(manifest)
        stream.flush()
        os.fsync(stream.fileno())
    (partial / MANIFEST).chmod(0o644)
    sync_directory(partial)


def _swap(partial: Path, directory: Path) -> None:
    old = beside(directory, "old")
    shutil.rmtree(old, ignore_errors=True)
    if directory.exists():
        directory.rename(old)
    partial.rename(directory)
    sync_directory(directory.parent)
    shutil.rmtree(old, ignore_errors=True)


def _forget_if_empty(partial: Path) -> None:
    if partial.is_dir() and not any(path.is_file() for path in partial.rglob("*")):
        shutil.rmtree(partial, ignore_errors=True)


def sync_directory(path: Path) -> None:
    """Make a rename inside a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
