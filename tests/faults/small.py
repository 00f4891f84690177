"""A small Voxtral in two revisions for fault tests, and what must hold of a models directory whoever died in it."""

from __future__ import annotations

import hashlib
import json
import random
from functools import cache
from pathlib import Path
from typing import Any

from voxtral_ops.catalog import catalog_model
from voxtral_ops.release import Release, ReleaseFile, ReleaseModel

NAME = "mini-3b"
REPOSITORY = catalog_model(NAME).repository
BIG = "consolidated.safetensors"
FIRST, SECOND = "a" * 40, "b" * 40


@cache
def contents(revision: str, big: int = 2_500_000) -> dict[str, bytes]:
    """The files of one revision. They differ in everything but the tokenizer, as real revisions do."""
    noise = random.Random(revision)
    return {
        BIG: noise.randbytes(big),
        "params.json": json.dumps({"dim": 3072, "seed": revision}).encode(),
        "tekken.json": random.Random("tekken").randbytes(60_000),
        "config.json": b"{}" + revision.encode(),
    }


def model_of(files: dict[str, bytes], revision: str) -> ReleaseModel:
    """Pin them."""
    pinned = [
        ReleaseFile(path=name, size=len(data), sha256=hashlib.sha256(data).hexdigest()) for name, data in files.items()
    ]
    return ReleaseModel(name=NAME, repository=REPOSITORY, revision=revision, files=tuple(pinned))


def model_of_files(folder: Path, hashes: dict[str, str]) -> ReleaseModel:
    """Pin files that are too big to hold in memory."""
    pinned = [ReleaseFile(path=name, size=(folder / name).stat().st_size, sha256=hashes[name]) for name in hashes]
    return ReleaseModel(name=NAME, repository=REPOSITORY, revision=FIRST, files=tuple(pinned))


def write_release(path: Path, model: ReleaseModel) -> Path:
    """The manifest that fetch and verify are given."""
    release = Release(engine="0.32.0", models=(model,))
    path.write_text(json.dumps({"voxtral_release": release.model_dump(mode="json")}), encoding="utf-8")
    return path


def unproven(models: Path) -> list[str]:
    """What is wrong with the models that a reader of this directory would take for complete."""
    wrong = []
    for directory in sorted(models.glob("*/*/*")):
        if directory.name.startswith(".") or directory.parent.name.startswith("."):
            continue
        wrong += [f"{directory.name}: {words}" for words in _look(directory)]
    return wrong


def _look(directory: Path) -> list[str]:
    try:
        manifest: dict[str, Any] = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return [f"is there without a manifest: {error}"]
    wrong = []
    for file in manifest["files"]:
        path = directory / file["path"]
        if not path.is_file() or path.is_symlink():
            wrong.append(f"{file['path']} is not there")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != file["sha256"]:
            wrong.append(f"{file['path']} has wrong bytes")
    named = {file["path"] for file in manifest["files"]}
    there = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if not path.is_dir()}
    return wrong + [f"{name} is too many" for name in sorted(there - named) if not name.startswith((".", "manifest"))]


def listing(root: Path) -> frozenset[str]:
    """Everything below, by name, except locks: a line or nothing, and they stay."""
    names = (path for path in root.rglob("*") if not (path.name.endswith(".lock") and path.stat().st_size < 500))
    return frozenset(path.relative_to(root).as_posix() for path in names)
