"""Put proven files into a directory that appears whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from voxtral_ops.errors import HostError, VoxtralError
from voxtral_ops.release import ReleaseFile
from voxtral_ops.weights.access import Access
from voxtral_ops.weights.fetch import Fetch, Meter, Watch, kept_bytes
from voxtral_ops.weights.files import sync_directory, write_synced
from voxtral_ops.weights.journal import JOURNAL, Journal
from voxtral_ops.weights.locks import alone, beside
from voxtral_ops.weights.ranges import RANGES, load_ranges, write_ranges
from voxtral_ops.weights.sources import Mended, Source
from voxtral_ops.weights.verify import MANIFEST, STAMPS, stamps_of, verify_files, write_stamps

MARGIN = 64 << 20
"""What must stay free on the disk."""
ORDERED = ".ordered.json"
"""In an unfinished directory, what its manifest will be: so that others can say how far it is."""
AT_FDCWD, RENAME_EXCHANGE = -100, 2


@dataclass(frozen=True)
class Order:
    """What to make: these files, with this manifest beside them, in this directory, for these readers."""

    directory: Path
    files: Sequence[ReleaseFile]
    manifest: str
    access: Access

    @property
    def partial(self) -> Path:
        """Where it is made; what an interruption leaves there, the next attempt goes on with."""
        return beside(self.directory, "partial")

    @property
    def left_over(self) -> list[Path]:
        """What lies beside it only while it is made or replaced."""
        return [path for path in (self.partial, beside(self.directory, "old")) if path.exists()]

    @property
    def complete(self) -> bool:
        """Whether it is there already and right."""
        return verify_files(self.directory, self.files).ok and (self.directory / MANIFEST).is_file()


def place_files(order: Order, source: Source, *, limit: int | None = None, watch: Watch | None = None) -> bool:
    """Fetch, verify and install. Returns False where nothing had to be fetched.

    Two at once cooperate: the second waits for the first and finds its work done.
    """
    with disk_errors(order.directory):
        if not order.left_over and order.complete:
            return _readable(order)
        meter = Meter(order.files, watch)
        with alone(order.directory, meter.say):
            if order.complete:
                for path in order.left_over:
                    shutil.rmtree(path, ignore_errors=True)
                return _readable(order)
            _make(order, source, meter, limit)
            return True


def _make(order: Order, source: Source, meter: Meter, limit: int | None) -> None:
    partial = order.partial
    if partial.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(partial))
    partial.mkdir(mode=0o700, exist_ok=True)
    try:
        _take_what_is_right(order)
        _check_space(order)
        journal = Journal(partial)
        journal.open()
        write_synced(partial / ORDERED, order.manifest)
        fetch = Fetch(partial, journal, meter, limit)
        damaged = order.directory.is_dir() and bool(load_ranges(order.directory))
        fetch.run(order.files, Mended(order.directory, source) if damaged else source, source)
        _seal(order, fetch.sums, journal)
        _swap(partial, order.directory)
    finally:
        _forget_if_empty(partial)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Say what the system said about the disk, and what to do about it."""
    try:
        yield
    except VoxtralError:
        raise
    except OSError as error:
        where, kept = error.filename or path, "what was fetched is kept, and the same command goes on from there"
        says = {
            errno.ENOSPC: ("the disk is full", f"free some space there; {kept}"),
            errno.EDQUOT: ("the quota is used up", f"free some space there; {kept}"),
            errno.EROFS: ("it is read-only", "mount it for writing, or choose another directory"),
            errno.EACCES: ("it cannot be written", "run as root, or choose a directory of your own"),
            errno.EPERM: ("it cannot be written", "run as root, or choose a directory of your own"),
            errno.ELOOP: ("it is a link, and nothing is written through one", "remove the link"),
            errno.EIO: ("the disk does not answer as it should", f"look at the kernel's log (dmesg); {kept}"),
        }
        what, hint = says.get(error.errno or 0, (str(error.strerror or error), f"check the disk; {kept}"))
        raise HostError(f"{where}: {what}", hint=hint, path=path) from error


def _take_what_is_right(order: Order) -> None:
    """Link what is right in a model where something else is wrong: it is neither fetched nor copied."""
    if not order.directory.is_dir():
        return
    wrong = {problem.path for problem in verify_files(order.directory, order.files).problems}
    for file in order.files:
        here = order.partial / file.path
        if file.path not in wrong and (not here.exists() or kept_bytes(order.partial, file) < file.size):
            here.parent.mkdir(parents=True, exist_ok=True)
            here.unlink(missing_ok=True)
            with suppress(OSError):  # a file system without links: then it is copied
                here.hardlink_to(order.directory / file.path)


def _check_space(order: Order) -> None:
    missing = sum(file.size - kept_bytes(order.partial, file) for file in order.files)
    need, free = missing + MARGIN, shutil.disk_usage(order.partial).free
    if missing and need > free:
        raise HostError(
            f"{order.directory.parent} has {free:,} bytes free and {need:,} are needed: {need - free:,} short",
            hint="free some space there, or keep the models on another disk",
            path=order.directory.parent,
            needed=need,
            free=free,
        )


def _seal(order: Order, sums: dict[str, tuple[int, ...]], journal: Journal) -> None:
    """Leave exactly the release's files and the store's own, for their readers; the manifest last."""
    partial = order.partial
    wanted = {file.path for file in order.files}
    folders = {parent for name in wanted for parent in (partial / name).parents if parent.is_relative_to(partial)}
    for path in [each for each in partial.rglob("*") if each not in folders]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.relative_to(partial).as_posix() not in {*wanted, JOURNAL}:
            path.unlink(missing_ok=True)
    for name in wanted:
        order.access.apply(partial / name)
    write_ranges(partial, sums)
    order.access.apply(partial / RANGES)
    write_synced(partial / MANIFEST, order.manifest, like=partial / RANGES)
    write_stamps(partial, stamps_of(partial, order.files))
    journal.close()
    for folder in sorted(folders, reverse=True):
        order.access.apply(folder)
        sync_directory(folder)


def _readable(order: Order) -> bool:
    """Give an installed model the owner and modes that it should have. Returns whether it had others."""
    mine = [order.directory / name for name in (MANIFEST, RANGES, STAMPS, *(file.path for file in order.files))]
    folders = {parent for path in mine for parent in path.parents if parent.is_relative_to(order.directory)}
    others = [path for path in [*mine, *folders] if path.exists() and order.access.differs(path)]
    if not others:
        return False
    try:
        for path in others:
            order.access.apply(path)
    except OSError as error:
        if error.errno in {errno.EROFS, errno.EPERM, errno.EACCES}:
            return False  # A shared or read-only store is somebody else's to arrange.
        raise
    # Their stamps changed with them; their bytes were judged a moment ago.
    write_stamps(order.directory, stamps_of(order.directory, order.files))
    return True


def _swap(partial: Path, directory: Path) -> None:
    """Let the new directory take the name; one that had it before is there until that moment."""
    if directory.exists():
        _exchange(partial, directory)
        sync_directory(directory.parent)
        shutil.rmtree(partial, ignore_errors=True)
    else:
        partial.rename(directory)
        sync_directory(directory.parent)


def _exchange(one: Path, other: Path) -> None:
    # Two renames would leave a moment without the name, and a process killed in it would leave it so.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE):
        number = ctypes.get_errno()
        if number not in {errno.EINVAL, errno.ENOSYS}:
            raise OSError(number, os.strerror(number), str(other))
        # A file system that cannot exchange.
        aside = beside(other, "old")
        shutil.rmtree(aside, ignore_errors=True)
        other.rename(aside)
        one.rename(other)
        aside.rename(one)


def _forget_if_empty(partial: Path) -> None:
    with suppress(OSError):
        files = [path for path in partial.rglob("*") if path.is_file() and path.name not in {JOURNAL, ORDERED}]
        if not any(path.stat().st_size for path in files):
            shutil.rmtree(partial, ignore_errors=True)
