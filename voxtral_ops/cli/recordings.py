"""Which recordings a command was given: files, folders, patterns, standard input."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from voxtral_ops.errors import AudioError

SUFFIXES = (
    *(".aac", ".ac3", ".aif", ".aiff", ".amr", ".ape", ".au", ".avi", ".caf", ".flac", ".m4a", ".m4b", ".mka", ".mkv"),
    *(
        ".mov",
        ".mp2",
        ".mp3",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".oga",
        ".ogg",
        ".opus",
        ".spx",
        ".tta",
        ".w64",
        ".wav",
        ".wave",
    ),
    *(".webm", ".wma", ".wv"),
)
"""In a folder only files that end so are taken; a file that is named is always tried."""
STDIN = "-"


def recordings(words: Iterable[str]) -> list[str]:
    """Every recording once, in the order they were named; what is in a folder by its name.

    Raises AudioError for a pattern that fits nothing and a folder without recordings.
    """
    found: dict[str, str] = {}
    for word in words:
        for name in _of(word):
            found.setdefault(name if name == STDIN else os.path.abspath(name), name)  # noqa: PTH100 - links stay links
    return list(found.values())


def _of(word: str) -> list[str]:
    path = Path(word)
    if word == STDIN or path.is_file():
        return [word]
    if path.is_dir():
        found = sorted(str(each) for each in path.rglob("*") if each.suffix.lower() in SUFFIXES and each.is_file())
        if not found:
            raise AudioError(f"no recordings in {word}", hint=f"looked for {' '.join(SUFFIXES)}", path=path)
        return found
    if glob.has_magic(word):
        # A shell leaves a pattern as it is where nothing fits, or where it was quoted.
        found = sorted(glob.glob(word, recursive=True))  # noqa: PTH207 - takes absolute patterns too
        if not found:
            raise AudioError(f"nothing fits {word}", hint="check the folder and the pattern")
        return [name for each in found for name in _of(each)]
    return [word]
