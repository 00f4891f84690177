"""`voxtral-ops weights fetch`: make models be here."""

from __future__ import annotations

import argparse
from pathlib import Path

from voxtral_ops.catalog import catalog, catalog_model
from voxtral_ops.cli.output import emit, say
from voxtral_ops.cli.release import load_release
from voxtral_ops.cli.weights_actions.bar import watching
from voxtral_ops.cli.weights_actions.users import rate
from voxtral_ops.release import ReleaseModel
from voxtral_ops.weights import (
    WHISPER,
    Source,
    Watch,
    WeightsStore,
    install_whisper,
    install_whisper_from,
    pin,
    source_for,
    whisper_model,
    whisper_path,
)
from voxtral_ops.weights.peers import take

SUMMARY = "make models be here, every file by its hash"
EXAMPLES = """examples:
  voxtral-ops weights fetch nano                              the shipped checkpoint, into the models directory
  voxtral-ops weights fetch mini-3b                           the newest revision that the hub has, pinned and shown
  voxtral-ops weights fetch mini-3b --release release.yml     exactly what the release names
  voxtral-ops weights fetch mini-3b --release release.yml --from /media/disk/mini
  voxtral-ops weights fetch mini-3b --release release.yml --from http://first-host:18500   from a seed of the LAN
  voxtral-ops weights fetch mini-3b --release release.yml --limit 20M                      20 MB a second at most
  voxtral-ops weights fetch mini-3b --release release.yml --from http://host1:18500 --from http://host2:18500
  voxtral-ops weights fetch tiny.en                           the fallback's weights, from anywhere they can be had

A fetch that was interrupted goes on from the byte it had reached: the same command again.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what only this action has."""
    parser.add_argument("names", nargs="+", metavar="MODEL", help=f"of {', '.join([*catalog(), WHISPER])}")
    parser.add_argument("--release", type=Path, metavar="FILE", help="take revision and hashes from this manifest")
    parser.add_argument(
        "--from",
        dest="places",
        action="append",
        default=[],
        metavar="PLACE",
        help="a directory or a seed's address instead of the hub; of several, the next where one fails",
    )
    parser.add_argument("--limit", type=rate, metavar="RATE", help="bytes a second, as 800K or 20M")
    parser.add_argument("--older", action="store_true", help="agree to go back to an older revision")


def run(args: argparse.Namespace, store: WeightsStore) -> int:
    """Fetch one model after the other."""
    results = []
    for name in args.names:
        with watching(name) as watch:
            results.append(_whisper(args, store) if name == WHISPER else _model(args, store, name, watch))
    lines = [
        f"{each['model']}: {'fetched into' if each['changed'] else 'already in'} {each['path']}" for each in results
    ]
    emit(args, {"changed": any(each["changed"] for each in results), "models": results}, "\n".join(lines))
    return 0


def _model(args: argparse.Namespace, store: WeightsStore, name: str, watch: Watch) -> dict[str, object]:
    model = _pinned(args, name)

    def install(source: Source) -> bool:
        return store.install(model, source, older=args.older, limit=args.limit, watch=watch)

    changed = take(args.places, install, model, say) if args.places else install(source_for(model))
    return {"model": name, "path": str(store.path(model)), "changed": changed}


def _whisper(args: argparse.Namespace, store: WeightsStore) -> dict[str, object]:
    if args.places:
        changed = take(args.places, lambda source: install_whisper_from(store.root, source), whisper_model(), say)
    else:
        changed = install_whisper(store.root)
    return {"model": WHISPER, "path": str(whisper_path(store.root)), "changed": changed}


def _pinned(args: argparse.Namespace, name: str) -> ReleaseModel:
    if args.release:
        return load_release(args.release).model(catalog_model(name).name)
    model = pin(catalog_model(name))
    say(f"{name}: {model.repository} at {model.revision}")
    return model
