"""The release manifest: exactly what runs. It lives in the inventory; upgrading is editing it."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from voxtral_ops.catalog import CatalogModel, catalog_model
from voxtral_ops.errors import ConfigurationError

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Revision = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Repository = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")]


class ReleaseFile(BaseModel):
    """One file of a model: its path inside the repository, its size in bytes and its sha256."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    size: int = Field(ge=0)
    sha256: Sha256

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, value: str) -> str:
        parts = value.split("/")
        if "\\" in value or not value.isprintable() or any(part in {"", ".", ".."} for part in parts):
            raise ValueError("must be a relative path without '.' or '..'")
        if parts[0].startswith(".") or parts == ["manifest.json"]:
            raise ValueError("must not be a name that the store itself uses")
        return value


class ReleaseModel(BaseModel):
    """One model at one revision, every file by its hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    repository: Repository
    revision: Revision
    published: AwareDatetime | None = None
    """When the hub says this revision was made: an older one does not replace it unasked."""
    files: tuple[ReleaseFile, ...] = Field(min_length=1)

    @field_validator("files")
    @classmethod
    def _no_two_alike(cls, value: tuple[ReleaseFile, ...]) -> tuple[ReleaseFile, ...]:
        names = [file.path for file in value]
        if len(set(names)) < len(names):
            raise ValueError("must name each file once")
        folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
        if folders & set(names):
            raise ValueError("must not name a file and a directory alike")
        return value

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.size for file in self.files)

    @property
    def directory(self) -> str:
        """Where it lies below the models directory: ``<owner>/<name>/<revision>``."""
        return f"{self.repository}/{self.revision}"


class Release(BaseModel):
    """What should run: the engine's version and the models. Its id names it on the hosts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str
    """The version of vLLM; its lock is the role's."""
    models: tuple[ReleaseModel, ...] = Field(min_length=1)

    def model(self, name: str) -> ReleaseModel:
        """The pinned model of that name. Raises ConfigurationError when the release has none."""
        for model in self.models:
            if model.name == name:
                return model
        raise ConfigurationError(
            f"the release names no model {name!r}",
            hint=f"it names {', '.join(model.name for model in self.models)}; add the model to release.yml",
        )


def parse_release(raw: dict[str, Any], origin: str = "release.yml") -> Release:
    """Check a release as written in an inventory. Raises ConfigurationError naming the place and the cure."""
    try:
        return Release.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(
            f"{origin}: {where}: {first['msg']}",
            hint="a revision is 40 and a sha256 64 lower-case hex digits; `voxtral-ops release lock` writes both",
            origin=origin,
        ) from error


def bundled_release_model(model: CatalogModel) -> ReleaseModel:
    """Pin a shipped checkpoint to the bytes that are here. Its revision is the digest of its files' hashes."""
    entries = tuple(_entry(model.bundled_path / name, name) for name in sorted(model.files))
    digest = hashlib.sha256("".join(f"{entry.path}:{entry.sha256}\n" for entry in entries).encode())
    return ReleaseModel(name=model.name, repository=model.repository, revision=digest.hexdigest()[:40], files=entries)


def release_id(release: Release, *parts: str) -> str:
    """A short, stable name: ``<engine>-<model>-<digest>``, where the digest covers the release and ``parts``.

    ``parts`` are whatever else must change the name when it changes: the lock's hash, the toolkit's version.
    """
    digest = hashlib.sha256(release.model_dump_json(exclude_none=True).encode())
    for part in parts:
        digest.update(b"\0" + part.encode())
    return f"{release.engine}-{release.models[0].name}-{digest.hexdigest()[:8]}"


def default_release(names: tuple[str, ...] = ("nano",)) -> Release:
    """The release of the shipped checkpoints, for a machine without a hub."""
    return Release(engine=ENGINE_VERSION, models=tuple(bundled_release_model(catalog_model(name)) for name in names))


def _entry(path: Path, name: str) -> ReleaseFile:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return ReleaseFile(path=name, size=path.stat().st_size, sha256=digest)


ENGINE_VERSION = "0.32.0"
"""The version of vLLM that this version of the toolkit is proven with."""
