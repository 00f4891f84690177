"""What an interrupted fetch left behind, and how much of it can be believed.

After a killed process the kernel still has every byte that was written. After a power cut only what was synced is
sure, and the rest of a file may be zeros. So the journal notes in which boot of the machine it was written, and for
each file how far it was synced; found in another boot, files are cut back to there.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from voxtral_ops.weights.files import sync_directory, write_synced
from voxtral_ops.weights.verify import MANIFEST

JOURNAL = ".journal.json"
SYNC_EVERY = 64 << 20
"""Bytes of a file between two syncs: what a power cut can cost."""


class Journal:
    """The notes of one unfinished directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._synced: dict[str, int] = {}

    def open(self) -> None:
        """Cut back what a power cut may have spoiled, and note this boot before anything is written."""
        boot, before = boot_id(), self._load()
        if not boot or before.get("boot") != boot:
            self._cut_back()
        self._synced = {name: size for name, size in self._synced.items() if (self.folder / name).is_file()}
        self._save()

    def synced(self, name: str, size: int) -> None:
        """Note that so many bytes of a file are on the disk for good."""
        self._synced[name] = size
        self._save()

    def forget(self, name: str) -> None:
        """Note that a file starts anew."""
        if self._synced.pop(name, None):
            self._save()

    def close(self) -> None:
        """Remove the notes: the directory is finished, and says so itself by its manifest."""
        (self.folder / JOURNAL).unlink(missing_ok=True)

    def _load(self) -> dict[str, object]:
        try:
            data = json.loads((self.folder / JOURNAL).read_text(encoding="utf-8"))
            self._synced = {str(name): int(size) for name, size in data["synced"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}
        return dict(data)

    def _cut_back(self) -> None:
        if not (self.folder / JOURNAL).exists() and (self.folder / MANIFEST).exists():
            return  # Every file was synced before the manifest was written.
        for path in self.folder.rglob("*"):
            name = path.relative_to(self.folder).as_posix()
            if name == JOURNAL or not path.is_file() or path.is_symlink():
                continue
            # A file with two names is an installed model's as well: it was whole before, and is not ours to cut.
            if path.stat().st_nlink == 1 and path.stat().st_size > self._synced.get(name, 0):
                with suppress(OSError):
                    os.truncate(path, self._synced.get(name, 0))

    def _save(self) -> None:
        text = json.dumps({"boot": boot_id(), "synced": self._synced})
        write_synced(self.folder / JOURNAL, text)
        sync_directory(self.folder)


def boot_id() -> str:
    """Name this boot of the machine; empty where the kernel does not tell."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""
