"""The models directory of one installation: ``<repository>/<revision>/``, each whole or absent."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from voxtral_ops.release import ReleaseModel
from voxtral_ops.weights.place import place_files
from voxtral_ops.weights.sources import Source
from voxtral_ops.weights.verify import MANIFEST, Verification, verify_files


class WeightsStore:
    """Installs, verifies and lists models below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, model: ReleaseModel) -> Path:
        """Say where a model lies, or would lie."""
        return self.root / model.directory

    def verify(self, model: ReleaseModel, *, deep: bool = False) -> Verification:
        """Compare what is on disk with the release. Unchanged files cost a stat each, unless ``deep``."""
        return verify_files(self.path(model), model.files, deep=deep)

    def install(self, model: ReleaseModel, source: Source) -> bool:
        """Make the model be here. Returns False where it was already, and True where something was fetched.

        Raises ReleaseError naming the file whose bytes are wrong, HostError without space or rights, and what
        the source raises. Nothing appears below ``path(model)`` unless every file is right.
        """
        if self.verify(model).ok and (self.path(model) / MANIFEST).is_file():
            return False
        place_files(self.path(model), model.files, source, model.model_dump_json(indent=1) + "\n")
        return True

    def models(self) -> tuple[ReleaseModel, ...]:
        """List what is installed, by the manifests. A directory without a readable one is not a model."""
        found = []
        for manifest in sorted(self.root.glob(f"*/*/*/{MANIFEST}")):
            try:
                model = ReleaseModel.model_validate_json(manifest.read_text(encoding="utf-8"))
            except (OSError, ValidationError, UnicodeDecodeError):
                continue
            if manifest.parent == self.path(model):
                found.append(model)
        return tuple(found)
