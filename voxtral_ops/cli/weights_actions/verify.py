"""`voxtral-ops weights verify`: compare what is on disk with its hashes, without a hub."""

from __future__ import annotations

import argparse
from pathlib import Path

from voxtral_ops.catalog import catalog_model
from voxtral_ops.cli.output import emit
from voxtral_ops.cli.release import load_release
from voxtral_ops.weights import WHISPER, Verification, WeightsStore, verify_whisper, whisper_path

SUMMARY = "compare files with their hashes"
EXAMPLES = """examples:
  voxtral-ops weights verify                         everything installed; free where nothing changed
  voxtral-ops weights verify mini-3b --deep          read every byte, whatever the files' stamps say
  voxtral-ops weights verify --release release.yml   compare with this manifest instead of their own
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what only this action has."""
    parser.add_argument("names", nargs="*", metavar="MODEL", help="all that are installed, if left out")
    parser.add_argument("--release", type=Path, metavar="FILE", help="compare with this manifest instead of their own")
    parser.add_argument("--deep", action="store_true", help="read every byte, whatever the files' stamps say")


def run(args: argparse.Namespace, store: WeightsStore) -> int:
    """Return 1 where a file is wrong."""
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
