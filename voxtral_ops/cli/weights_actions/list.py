"""`voxtral-ops weights list`: what is installed."""

from __future__ import annotations

import argparse

from voxtral_ops.cli.output import emit
from voxtral_ops.weights import WHISPER, WeightsStore, whisper_path

SUMMARY = "what is installed"
EXAMPLES = """examples:
  voxtral-ops weights list
  voxtral-ops weights list --json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """This action has no options of its own."""


def run(args: argparse.Namespace, store: WeightsStore) -> int:
    """List models with their revision and place."""
    rows = [
        {"model": model.name, "revision": model.revision, "bytes": model.size, "path": str(store.path(model))}
        for model in store.models()
    ]
    if whisper_path(store.root).is_dir():
        rows.append({"model": WHISPER, "revision": "", "bytes": 0, "path": str(whisper_path(store.root))})
    lines = [f"{row['model']:<12} {str(row['revision'])[:12]:<12} {row['path']}" for row in rows]
    emit(args, rows, "\n".join(lines) or f"no models in {store.root}")
    return 0
