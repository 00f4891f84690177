"""Are the files on disk the release's? Sizes and sha256 once; after that a look at each file's stamp is enough."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from voxtral_ops.ansible_plugins.module_utils.voxtral_progress import report
from voxtral_ops.release import ReleaseFile

MANIFEST = "manifest.json"
STAMPS = ".verified.json"
CHUNK = 1 << 20
SETTLE_SECONDS = 0.02
"""More than a tick of the clock that file systems stamp files with."""


class FileProblem(BaseModel):
    """One file that is not as the release says."""

    model_config = ConfigDict(frozen=True)

    path: str
    problem: str


class Verification(BaseModel):
    """The result of looking at a model's files. ``hashed`` counts the bytes that had to be read."""

    model_config = ConfigDict(frozen=True)

    directory: Path
    ok: bool
    problems: tuple[FileProblem, ...] = ()
    hashed: int = 0


def verify_files(directory: Path, files: Iterable[ReleaseFile], *, deep: bool = False) -> Verification:
    """Compare a directory with a release. ``deep`` reads every byte, whatever the stamps say."""
    if not directory.is_dir():
        missing = FileProblem(path=".", problem="the directory does not exist")
        return Verification(directory=directory, ok=False, problems=(missing,))
    wanted = list(files)
    known = {} if deep else _load_stamps(directory)
    fresh: dict[str, Any] = {}
    problems, hashed = [], 0
    for file in wanted:
        problem, read, stamp = _verify_file(directory, file, known.get(file.path))
        hashed += read
        if problem:
            problems.append(FileProblem(path=file.path, problem=problem))
        elif stamp:
            fresh[file.path] = stamp
    problems += [
        FileProblem(path=name, problem="the release does not name this file") for name in _extra(directory, wanted)
    ]
    if hashed and not problems:
        write_stamps(directory, fresh)
    return Verification(directory=directory, ok=not problems, problems=tuple(problems), hashed=hashed)


def _verify_file(
    directory: Path, file: ReleaseFile, known: dict[str, Any] | None
) -> tuple[str, int, dict[str, Any] | None]:
    try:
        return _compare(directory / file.path, file, known)
    except FileNotFoundError:
        return "is missing", 0, None
    except OSError as error:
        return f"cannot be read: {error.strerror}", 0, None


def _compare(path: Path, file: ReleaseFile, known: dict[str, Any] | None) -> tuple[str, int, dict[str, Any] | None]:
    facts = path.lstat()
    if not stat.S_ISREG(facts.st_mode):
        return "is not a regular file", 0, None
    if facts.st_size != file.size:
        return f"has {facts.st_size} bytes, not {file.size}", 0, None
    stamp = file_stamp(facts, file.sha256)
    if known == stamp:
        return "", 0, stamp
    report(f"verifying {file.path}")
    digest = sha256_of(path)
    if digest != file.sha256:
        return f"has sha256 {digest}, not {file.sha256}", file.size, None
    # What changed while it was read is not what was read: no stamp then.
    return "", file.size, stamp if file_stamp(path.lstat(), digest) == stamp else None


def sha256_of(path: Path) -> str:
    """Hash a file."""
    with path.open("rb") as stream:
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
    try:
        handle, name = tempfile.mkstemp(dir=directory, prefix=".verified.")
    except OSError:
        return
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(stamps, stream)
    Path(name).chmod(0o644)
    Path(name).replace(directory / STAMPS)


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
    wanted = {file.path for file in files} | {MANIFEST, STAMPS}
    found = (path for path in directory.rglob("*") if not path.is_dir() or path.is_symlink())
    names = (path.relative_to(directory).as_posix() for path in found)
    return sorted(name for name in names if name not in wanted and not name.startswith(".verified."))
