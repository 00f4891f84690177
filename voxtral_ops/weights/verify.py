"""Are the files on disk the release's? Sizes and sha256 once; after that a look at each file's stamp is enough."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from voxtral_ops.ansible_plugins.module_utils.voxtral_progress import report
from voxtral_ops.release import ReleaseFile
from voxtral_ops.weights.files import write_synced
from voxtral_ops.weights.ranges import RANGES, Span, load_ranges, wrong_spans

MANIFEST = "manifest.json"
STAMPS = ".verified.json"
OWN = frozenset({MANIFEST, STAMPS, RANGES})
"""What the store itself keeps beside a model's files."""
SETTLE_SECONDS = 0.02
"""More than a tick of the clock that file systems stamp files with."""


class FileProblem(BaseModel):
    """One file that is not as the release says; ``spans`` are its wrong parts where they are known."""

    model_config = ConfigDict(frozen=True)

    path: str
    problem: str
    spans: tuple[Span, ...] = ()


class Verification(BaseModel):
    """The result of looking at a model's files. ``hashed`` counts the bytes that had to be read."""

    model_config = ConfigDict(frozen=True)

    directory: Path
    ok: bool
    problems: tuple[FileProblem, ...] = ()
    hashed: int = 0


@dataclass(frozen=True)
class _Look:
    """What one look at a file found: a problem, the bytes read, the stamp to keep."""

    problem: str = ""
    read: int = 0
    stamp: dict[str, Any] | None = None
    spans: tuple[Span, ...] = ()


def verify_files(directory: Path, files: Iterable[ReleaseFile], *, deep: bool = False) -> Verification:
    """Compare a directory with a release. ``deep`` reads every byte, whatever the stamps say."""
    if not directory.is_dir():
        missing = FileProblem(path=".", problem="the directory does not exist")
        return Verification(directory=directory, ok=False, problems=(missing,))
    wanted = list(files)
    looks = _looks(directory, wanted, {} if deep else _load_stamps(directory))
    problems = [
        FileProblem(path=file.path, problem=look.problem, spans=look.spans)
        for file, look in zip(wanted, looks, strict=True)
        if look.problem
    ]
    problems += [
        FileProblem(path=name, problem="the release does not name this file") for name in _extra(directory, wanted)
    ]
    hashed = sum(look.read for look in looks)
    if hashed:
        # Also where something is wrong: the old stamps would vouch for it.
        write_stamps(directory, {file.path: look.stamp for file, look in zip(wanted, looks, strict=True) if look.stamp})
    return Verification(directory=directory, ok=not problems, problems=tuple(problems), hashed=hashed)


def _looks(directory: Path, files: list[ReleaseFile], known: dict[str, Any]) -> list[_Look]:
    """Look at the stamps, then read what they do not vouch for: several files at once, a core each."""
    looks = [_glance(directory, file, known.get(file.path)) for file in files]
    unread = [number for number, look in enumerate(looks) if look is None]
    if unread:
        # The largest first: the others are done while it is read.
        unread.sort(key=lambda number: -files[number].size)
        sums = load_ranges(directory)
        with ThreadPoolExecutor(min(len(unread), len(os.sched_getaffinity(0)))) as pool:
            read = pool.map(lambda number: _read(directory, files[number], sums), unread)
            for number, look in zip(unread, read, strict=True):
                looks[number] = look
    return [look for look in looks if look is not None]


def _glance(directory: Path, file: ReleaseFile, known: dict[str, Any] | None) -> _Look | None:
    """Judge a file without reading it, where that is possible."""
    try:
        facts = os.lstat(f"{directory}/{file.path}")
    except FileNotFoundError:
        return _Look("is missing")
    except OSError as error:
        return _Look(f"cannot be read: {error.strerror}")
    if not stat.S_ISREG(facts.st_mode):
        return _Look("is not a regular file")
    if facts.st_size != file.size:
        return _Look(f"has {facts.st_size} bytes, not {file.size}")
    stamp = file_stamp(facts, file.sha256)
    return _Look(stamp=stamp) if known == stamp else None


def _read(directory: Path, file: ReleaseFile, sums: dict[str, tuple[int, ...]]) -> _Look:
    path = directory / file.path
    report(f"verifying {file.path}")
    try:
        before = file_stamp(path.lstat(), file.sha256)
        digest = sha256_of(path)
        if digest == file.sha256:
            # What changed while it was read is not what was read: no stamp then.
            return _Look(read=file.size, stamp=before if file_stamp(path.lstat(), digest) == before else None)
        spans = wrong_spans(path, file.size, sums.get(file.path, ()))
    except OSError as error:
        return _Look(f"cannot be read: {error.strerror}")
    where = ", ".join(f"{start:,} to {stop - 1:,}" for start, stop in spans)
    bytes_ = f" (bytes {where} are wrong)" if spans else ""
    return _Look(f"has sha256 {digest}, not {file.sha256}{bytes_}", read=file.size, spans=spans)


def sha256_of(path: Path) -> str:
    """Hash a file."""
    with path.open("rb", buffering=0) as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_stamp(facts: os.stat_result, sha256: str) -> dict[str, Any]:
    """Note what changes whenever a file's contents change, as git's index does."""
    return {
        "size": facts.st_size,
        "mtime": facts.st_mtime_ns,
        "ctime": facts.st_ctime_ns,
        "inode": facts.st_ino,
        "device": facts.st_dev,
        "sha256": sha256,
    }


def stamps_of(directory: Path, files: Iterable[ReleaseFile]) -> dict[str, Any]:
    """Stamp files that were just hashed while they were written."""
    return {file.path: file_stamp((directory / file.path).lstat(), file.sha256) for file in files}


def write_stamps(directory: Path, stamps: dict[str, Any]) -> None:
    """Keep the stamps beside the files; where this user may not write, the next look reads the bytes again."""
    # A file that is changed within the same tick of the clock would keep its stamp. So the stamps are written
    # a tick later, and one that is not older than the stamps' own file is never trusted (git: racy entries).
    time.sleep(SETTLE_SECONDS)
    manifest = directory / MANIFEST
    with suppress(OSError):
        write_synced(directory / STAMPS, json.dumps(stamps), like=manifest if manifest.exists() else None)


def _load_stamps(directory: Path) -> dict[str, Any]:
    path = directory / STAMPS
    try:
        written = path.lstat().st_mtime_ns
        stamps = json.loads(path.read_text(encoding="utf-8"))
        return {name: each for name, each in stamps.items() if max(each["mtime"], each["ctime"]) < written}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _extra(directory: Path, files: Iterable[ReleaseFile]) -> list[str]:
    # vLLM loads every consolidated*.safetensors that it finds: a file too many is as bad as a wrong one.
    wanted = {file.path for file in files} | OWN
    return sorted(name for name in _names(str(directory), "") if name not in wanted and not name.endswith(".json.new"))


def _names(folder: str, prefix: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _names(entry.path, f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name
