"""The models directory of one installation: ``<repository>/<revision>/``, each whole or absent."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from voxtral_ops.errors import ReleaseError
from voxtral_ops.release import ReleaseModel
from voxtral_ops.weights.access import service_access
from voxtral_ops.weights.fetch import Watch
from voxtral_ops.weights.place import Order, place_files
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

    def install(
        self,
        model: ReleaseModel,
        source: Source,
        *,
        older: bool = False,
        limit: int | None = None,
        watch: Watch | None = None,
    ) -> bool:
        """Make the model be here, whole and readable for the service. Returns whether anything was changed.

        A damaged model is mended: what is right of it is kept. A revision that the hub published before one that is
        installed here is fetched only with ``older``; one that is installed is always fine. ``limit`` is in bytes a
        second.

        Raises ReleaseError naming the file whose bytes are wrong, HostError without space or rights, and what
        the source raises. Nothing appears below ``path(model)`` unless every file is right.
        """
        if not older and not self.path(model).exists():
            self._refuse_going_back(model)
        manifest = model.model_dump_json(indent=1, exclude_none=True) + "\n"
        order = Order(self.path(model), model.files, manifest, service_access(self.root))
        return place_files(order, source, limit=limit, watch=watch)

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

    def _refuse_going_back(self, model: ReleaseModel) -> None:
        newer = [each for each in self.models() if each.repository == model.repository and is_older(model, each)]
        if newer:
            raise ReleaseError(
                f"{model.repository} at {model.revision[:12]} is older than {newer[0].revision[:12]}, which is "
                f"installed here ({model.published:%Y-%m-%d} and {newer[0].published:%Y-%m-%d})",
                hint="if the release means to go back, say so: --older",
                revision=model.revision,
                installed=newer[0].revision,
            )


def is_older(one: ReleaseModel, other: ReleaseModel) -> bool:
    """Whether the hub published ``one`` before ``other``, as far as their releases know."""
    return one.published is not None and other.published is not None and one.published < other.published
