"""`voxtral-ops weights export`: put a release into a bundle for a site without a hub."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from voxtral_ops.catalog import catalog_model
from voxtral_ops.cli.output import emit, say
from voxtral_ops.cli.release import load_release
from voxtral_ops.cli.weights_actions.users import size_words
from voxtral_ops.errors import ConfigurationError, HostError
from voxtral_ops.release import ENGINE_VERSION, Release
from voxtral_ops.weights import WeightsStore
from voxtral_ops.weights.carry import add_wheels, export_bundle, gather
from voxtral_ops.weights.files import host_errors
from voxtral_ops.weights.locks import beside

if TYPE_CHECKING:
    from voxtral_ops.weights.bundle import Bundle, Wheels

COMPRESSED = {".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z"}
SUMMARY = "put models into a bundle, for a site without a hub"
EXAMPLES = """examples:
  voxtral-ops weights export mini.tar mini-3b                        one file, from what is installed here
  voxtral-ops weights export site.tar --release release.yml          every model of a release
  voxtral-ops weights export /media/disk/site --release release.yml --engine cpu
  voxtral-ops weights export - mini-3b | ssh host voxtral-ops weights import - --release release.yml

The fingerprint that is printed is what `weights import --accept` asks for. With --engine come the locked packages of
the toolkit, the engine and the fallback: then a site needs neither a hub nor a package index.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what goes in, and where to."""
    parser.add_argument("target", metavar="TARGET", help="a .tar file, a folder, or - for a pipe")
    parser.add_argument("names", nargs="*", metavar="MODEL", help="only these (all of the release, or all here)")
    parser.add_argument("--release", type=Path, metavar="FILE", help="the revisions that this release names")
    parser.add_argument(
        "--engine",
        metavar="BUILD",
        help="also all packages that hosts of this build install: cpu, cuda13 …",
    )
    parser.add_argument("--python", default="3.11", metavar="X.Y", help="the hosts' Python (%(default)s)")


def run(args: argparse.Namespace, store: WeightsStore) -> int:
    """Collect, write, and say what the other side has to be told."""
    if Path(args.target).suffix in COMPRESSED:
        raise ConfigurationError(f"{args.target}: a bundle is a plain .tar, or a folder", hint="weights do not shrink")
    bundle = gather(store, _release(args, store), fallback=args.engine is not None)
    if args.engine is None:
        return _export(args, store, bundle)
    with _room_for_wheels(args.target) as folder:
        return _export(args, store, add_wheels(bundle, _download(args, folder)), folder)


@contextmanager
def _room_for_wheels(target: str) -> Iterator[Path]:
    """Give a folder beside the target, under one name: what a killed export left there is used up by the next."""
    if target == "-":
        with tempfile.TemporaryDirectory(prefix="voxtral-wheels-") as folder:
            yield Path(folder)
        return
    folder_beside = beside(Path(target).absolute(), "wheels")
    with host_errors(folder_beside):
        try:
            shutil.rmtree(folder_beside, ignore_errors=True)
            folder_beside.mkdir()
            yield folder_beside
        finally:
            shutil.rmtree(folder_beside, ignore_errors=True)


def _release(args: argparse.Namespace, store: WeightsStore) -> Release:
    """Narrow the release, or what is installed, down to the models that were named."""
    wanted = [catalog_model(name).name for name in args.names]
    release = load_release(args.release) if args.release else None
    models = release.models if release else store.models()
    chosen = tuple(model for model in models if not wanted or model.name in wanted)
    missing = [name for name in wanted if name not in {model.name for model in chosen}]
    if missing or not chosen:
        where = args.release or store.root
        raise ConfigurationError(f"{where} has no {', '.join(missing) or 'models'}", hint="fetch it first")
    names = [model.name for model in chosen]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigurationError(f"{twice} is here in several revisions", hint="say which with --release FILE")
    return Release(engine=release.engine if release else ENGINE_VERSION, models=chosen)


def _download(args: argparse.Namespace, folder: Path) -> Wheels:
    from voxtral_ops.planning.builds import lock_name, requirements  # noqa: PLC0415
    from voxtral_ops.provisioning import find_links, find_project  # noqa: PLC0415
    from voxtral_ops.weights.wheels import download_wheels, find_uv  # noqa: PLC0415

    root = find_project().root
    if args.engine not in requirements():
        raise ConfigurationError(f"no engine build {args.engine!r}", hint=f"the builds are {', '.join(requirements())}")
    # Packages are chosen by the processor that fetches them.
    engine = root / "roles/voxtral_engine/files" / lock_name(args.engine, platform.machine())
    toolkit = root / "roles/voxtral_toolkit/files"
    locks = [toolkit / "uv.txt", toolkit / "toolkit.txt", engine, root / "roles/voxtral_whisper/files/whisper.txt"]
    # In a checkout also what ./voxtral itself installs where the playbooks are run from.
    locks += [path for path in [root / "requirements/operator.txt"] if path.is_file()]
    say(f"fetching the packages of {', '.join(lock.stem for lock in locks)} for Python {args.python}")
    return download_wheels(locks, folder, build=args.engine, python=args.python, uv=find_uv(), find_links=find_links())


def _export(args: argparse.Namespace, store: WeightsStore, bundle: Bundle, wheels: Path | None = None) -> int:
    size = sum(file.size for file in bundle.members)
    if args.target == "-":
        _to_pipe(store, bundle, wheels)
    else:
        export_bundle(store, bundle, Path(args.target), wheels)
    names = ", ".join(model.name for model in bundle.models)
    packages = bundle.voxtral_bundle.wheels
    head = f"{args.target}: {names}" + (f" and {len(packages.files)} packages" if packages else "")
    lines = [f"{head}, {size_words(size)}", f"fingerprint {bundle.fingerprint}"]
    data = {"target": args.target, "fingerprint": bundle.fingerprint, "bytes": size, "models": names.split(", ")}
    if args.target == "-":
        say("\n".join(lines))  # stdout is the bundle
    else:
        emit(args, data, "\n".join(lines))
    return 0


def _to_pipe(store: WeightsStore, bundle: Bundle, wheels: Path | None) -> None:
    if sys.stdout.isatty():
        raise ConfigurationError("a bundle on a terminal helps nobody", hint="pipe it on, or name a file")
    try:
        with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as stream:
            export_bundle(store, bundle, stream, wheels)
    except BrokenPipeError as error:
        raise HostError("whoever was reading the bundle has gone", hint="look at what it said") from error
