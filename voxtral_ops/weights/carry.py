"""Carry models to a site without a hub: out of one store into a bundle, and out of the bundle into another store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict

from voxtral_ops.ansible_plugins.module_utils.voxtral_progress import report
from voxtral_ops.errors import HostError, ReleaseError
from voxtral_ops.release import Release, ReleaseFile, ReleaseModel
from voxtral_ops.weights.bundle import HEAD, Bundle, BundleReader, BundleSource, Contents, Wheels
from voxtral_ops.weights.carriers import FolderCarrier, TarCarrier, write_bundle, write_tar
from voxtral_ops.weights.files import host_errors
from voxtral_ops.weights.place import MARGIN
from voxtral_ops.weights.store import WeightsStore
from voxtral_ops.weights.whisper import WHISPER, install_whisper_from, verify_whisper, whisper_model, whisper_path


class Imported(BaseModel):
    """What an import brought: each model's directory, which of them are new, and where the wheels are."""

    model_config = ConfigDict(frozen=True)

    fingerprint: str
    models: dict[str, Path]
    changed: tuple[str, ...]
    wheels: Path | None = None


def gather(store: WeightsStore, release: Release, *, fallback: bool = False) -> Bundle:
    """Say what a bundle of this release holds, on request with the fallback's weights.

    Raises ReleaseError where the store has not all of it, and right.
    """
    for model in release.models:
        found = store.verify(model)
        if not found.ok:
            first = found.problems[0]
            raise ReleaseError(
                f"{model.name} at {model.revision[:12]} cannot be exported: {first.path} {first.problem}",
                hint=f"fetch it here first: voxtral-ops weights fetch {model.name} --release FILE",
                path=found.directory,
            )
    if fallback and not verify_whisper(store.root).ok:
        raise ReleaseError(
            f"the fallback's weights are not in {store.root}",
            hint=f"fetch them here first: voxtral-ops weights fetch {WHISPER}",
        )
    return Bundle(voxtral_release=release, voxtral_bundle=Contents(whisper=whisper_model() if fallback else None))


def add_wheels(bundle: Bundle, wheels: Wheels) -> Bundle:
    """The same bundle with packages in it."""
    contents = bundle.voxtral_bundle.model_copy(update={"wheels": wheels})
    return bundle.model_copy(update={"voxtral_bundle": contents})


def export_bundle(store: WeightsStore, bundle: Bundle, target: Path | IO[bytes], wheels: Path | None = None) -> None:
    """Write a bundle to a ``.tar``, a folder or a stream, hashing on the way. Whole or not at all."""
    parts = zip(bundle.members, _sources(store, bundle, wheels), strict=True)
    if isinstance(target, Path):
        write_bundle(target, bundle, parts)
    else:
        write_tar(target, bundle, parts)


def _sources(store: WeightsStore, bundle: Bundle, wheels: Path | None) -> Iterator[Path]:
    for model in bundle.models:
        place = whisper_path(store.root) if model == bundle.voxtral_bundle.whisper else store.path(model)
        yield from (place / file.path for file in model.files)
    if wheels is not None and bundle.voxtral_bundle.wheels is not None:
        yield from (wheels / file.path for file in bundle.voxtral_bundle.wheels.files)


def open_bundle(place: Path | IO[bytes], name: str) -> BundleReader:
    """Begin to read a bundle: a file, a folder, or a stream. The caller closes the stream."""
    if not isinstance(place, Path):
        return BundleReader(TarCarrier(name, place))
    if place.is_dir():
        if not (place / HEAD).is_file():
            raise ReleaseError(f"{place} is not a bundle: it has no {HEAD}", hint="name the bundle's own folder")
        return BundleReader(FolderCarrier(place))
    if not place.exists():
        raise ReleaseError(f"{place} does not exist", hint="name what `voxtral-ops weights export` made")
    with host_errors(place):
        return BundleReader(TarCarrier(name, place.open("rb")))


def import_bundle(
    store: WeightsStore,
    reader: BundleReader,
    wheels: Path | None = None,
    *,
    only: frozenset[str] | None = None,
    older: bool = False,
) -> Imported:
    """Install what the caller has agreed to: all models, or ``only`` these. Each appears when it is whole and right.

    Raises ReleaseError at the first thing that is not as ``bundle.json`` says. Models that were proven before stay.
    """
    chosen = [model for model in reader.bundle.voxtral_release.models if only is None or model.name in only]
    changed = [model.name for model in chosen if _install(store, reader, model, older)]
    places = {model.name: store.path(model) for model in chosen}
    whisper = reader.bundle.voxtral_bundle.whisper
    if whisper is not None and (only is None or whisper.name in only):
        places[whisper.name] = whisper_path(store.root)
        changed += [whisper.name] if _install_whisper(store, reader, whisper) else []
    packages = reader.bundle.voxtral_bundle.wheels
    if packages is not None and wheels is not None:
        changed += ["wheels"] if _unpack(reader, packages.files, wheels) else []
    reader.finish()
    return Imported(
        fingerprint=reader.fingerprint,
        models=places,
        changed=tuple(changed),
        wheels=wheels if packages is not None else None,
    )


def _install(store: WeightsStore, reader: BundleReader, model: ReleaseModel, older: bool) -> bool:
    done = store.install(model, BundleSource(reader, model), older=older)
    reader.skip(model)
    return done


def _install_whisper(store: WeightsStore, reader: BundleReader, model: ReleaseModel) -> bool:
    if model != whisper_model():
        raise ReleaseError(
            f"{reader.name} holds another {WHISPER} than this version of voxtral-ops trusts",
            hint="export with the version that the site runs",
            source=reader.name,
        )
    done = install_whisper_from(store.root, BundleSource(reader, model))
    reader.skip(model)
    return done


def _unpack(reader: BundleReader, files: Sequence[ReleaseFile], folder: Path) -> bool:
    """Write the wheels that are not there yet, each under its name when it is proven."""
    missing = [file for file in files if not _is_there(folder / file.path, file)]
    with host_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        need, free = sum(file.size for file in missing) + MARGIN, shutil.disk_usage(folder).free
        if missing and need > free:
            raise HostError(f"{folder} has {free:,} bytes free and {need:,} are needed", hint="free some space there")
        for file in missing:
            report(f"unpacking {file.path}")
            _write(reader, file, folder)
    return bool(missing)


def _is_there(path: Path, file: ReleaseFile) -> bool:
    # Every installation compares the hash with its lock: here the size is enough.
    return path.is_file() and not path.is_symlink() and path.stat().st_size == file.size


def _write(reader: BundleReader, file: ReleaseFile, folder: Path) -> None:
    member = ReleaseFile(path=f"wheels/{file.path}", size=file.size, sha256=file.sha256)
    incoming = folder / ".incoming"
    incoming.unlink(missing_ok=True)
    try:
        with incoming.open("xb") as stream:
            for block in reader.blocks(member):
                stream.write(block)
            stream.flush()
            os.fsync(stream.fileno())
        incoming.replace(folder / file.path)
    finally:
        incoming.unlink(missing_ok=True)
