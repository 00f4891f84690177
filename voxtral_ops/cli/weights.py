"""`voxtral-ops weights`: fetch, verify and list models."""

from __future__ import annotations

import argparse
from pathlib import Path

from voxtral_ops.catalog import catalog, catalog_model
from voxtral_ops.cli.output import emit, say
from voxtral_ops.cli.release import load_release
from voxtral_ops.paths import default_layout
from voxtral_ops.release import ReleaseModel
from voxtral_ops.weights import (
    WHISPER,
    Verification,
    WeightsStore,
    install_whisper,
    pin,
    source_for,
    verify_whisper,
    whisper_path,
)

EXAMPLES = """examples:
  voxtral-ops weights fetch nano                              the shipped checkpoint, into the models directory
  voxtral-ops weights fetch mini-3b                           the newest revision that the hub has, pinned and shown
  voxtral-ops weights fetch mini-3b --release release.yml     exactly what the release names
  voxtral-ops weights fetch mini-3b --release release.yml --from /media/disk/mini
  voxtral-ops weights fetch tiny.en                           the fallback's weights, from anywhere they can be had
  voxtral-ops weights verify                                  everything installed; --deep reads every byte
  voxtral-ops weights list
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the three actions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="fetch|verify|list")
    fetch = actions.add_parser("fetch", help="make models be here", allow_abbrev=False)
    fetch.add_argument("names", nargs="+", metavar="MODEL", help=f"of {', '.join([*catalog(), WHISPER])}")
    fetch.add_argument("--release", type=Path, metavar="FILE", help="take revision and hashes from this manifest")
    fetch.add_argument("--from", dest="source", type=Path, metavar="DIR", help="copy from here instead of the hub")
    verify = actions.add_parser("verify", help="compare files with their hashes", allow_abbrev=False)
    verify.add_argument("names", nargs="*", metavar="MODEL", help="all that are installed, if left out")
    verify.add_argument("--release", type=Path, metavar="FILE", help="compare with this manifest instead of their own")
    verify.add_argument("--deep", action="store_true", help="read every byte, whatever the files' stamps say")
    listed = actions.add_parser("list", help="what is installed", allow_abbrev=False)
    for action in (fetch, verify, listed):
        action.add_argument("--models", type=Path, metavar="DIR", help="the models directory, if not the usual one")
        # Also behind the action's own words, where people write them.
        action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        action.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Fetch, verify or list. Verify returns 1 where a file is wrong."""
    store = WeightsStore(args.models or default_layout().models)
    actions = {"fetch": _fetch, "verify": _verify, "list": _list}
    return actions[args.action](args, store)


def _fetch(args: argparse.Namespace, store: WeightsStore) -> int:
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


def _verify(args: argparse.Namespace, store: WeightsStore) -> int:
    results = dict(_verifications(args, store))
    lines = []
    for name, result in results.items():
        lines.append(f"{name}: {'every file is right' if result.ok else 'WRONG'} in {result.directory}")
        lines += [f"  {problem.path} {problem.problem}" for problem in result.problems]
    good = all(result.ok for result in results.values())
    data = {"ok": good, "models": {name: result.model_dump(mode="json") for name, result in results.items()}}
    emit(args, data, "\n".join(lines) or f"no models in {store.root}")
    return 0 if good else 1


def _verifications(args: argparse.Namespace, store: WeightsStore) -> list[tuple[str, Verification]]:
    models = load_release(args.release).models if args.release else store.models()
    wanted = [catalog_model(name).name if name != WHISPER else name for name in args.names]
    chosen = [model for model in models if not wanted or model.name in wanted]
    results = [(f"{model.name} {model.revision[:12]}", store.verify(model, deep=args.deep)) for model in chosen]
    asked = WHISPER in wanted
    if asked or (not wanted and whisper_path(store.root).is_dir()):
        results.append((WHISPER, verify_whisper(store.root, deep=args.deep)))
    return results


def _list(args: argparse.Namespace, store: WeightsStore) -> int:
    rows = [
        {"model": model.name, "revision": model.revision, "bytes": model.size, "path": str(store.path(model))}
        for model in store.models()
    ]
    if whisper_path(store.root).is_dir():
        rows.append({"model": WHISPER, "revision": "", "bytes": 0, "path": str(whisper_path(store.root))})
    lines = [f"{row['model']:<12} {str(row['revision'])[:12]:<12} {row['path']}" for row in rows]
    emit(args, rows, "\n".join(lines) or f"no models in {store.root}")
    return 0
