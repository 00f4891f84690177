"""`voxtral-ops weights fetch`: make models be here."""

from __future__ import annotations

import argparse
from pathlib import Path

from voxtral_ops.catalog import catalog, catalog_model
from voxtral_ops.cli.output import emit, say
from voxtral_ops.cli.release import load_release
from voxtral_ops.release import ReleaseModel
from voxtral_ops.weights import WHISPER, WeightsStore, install_whisper, pin, source_for, whisper_path

SUMMARY = "make models be here, every file by its hash"
EXAMPLES = """examples:
  voxtral-ops weights fetch nano                              the shipped checkpoint, into the models directory
  voxtral-ops weights fetch mini-3b                           the newest revision that the hub has, pinned and shown
  voxtral-ops weights fetch mini-3b --release release.yml     exactly what the release names
  voxtral-ops weights fetch mini-3b --release release.yml --from /media/disk/mini
  voxtral-ops weights fetch tiny.en                           the fallback's weights, from anywhere they can be had
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what only this action has."""
    parser.add_argument("names", nargs="+", metavar="MODEL", help=f"of {', '.join([*catalog(), WHISPER])}")
    parser.add_argument("--release", type=Path, metavar="FILE", help="take revision and hashes from this manifest")
    parser.add_argument("--from", dest="source", type=Path, metavar="DIR", help="copy from here instead of the hub")


def run(args: argparse.Namespace, store: WeightsStore) -> int:
    """Fetch one model after the other."""
    results = []
    for name in args.names:
        if name == WHISPER:
            changed, place = install_whisper(store.root, args.source), whisper_path(store.root)
        else:
            model = _pinned(args, name)
            changed, place = store.install(model, source_for(model, args.source)), store.path(model)
        results.append({"model": name, "path": str(place), "changed": changed})
    lines = [
        f"{each['model']}: {'fetched into' if each['changed'] else 'already in'} {each['path']}" for each in results
    ]
    emit(args, {"changed": any(each["changed"] for each in results), "models": results}, "\n".join(lines))
    return 0


def _pinned(args: argparse.Namespace, name: str) -> ReleaseModel:
    if args.release:
        return load_release(args.release).model(catalog_model(name).name)
    model = pin(catalog_model(name))
    say(f"{name}: {model.repository} at {model.revision}")
    return model
