"""`voxtral-ops weights list`: what is installed, what is on its way, and who needs it."""

from __future__ import annotations

import argparse
from typing import Any

from voxtral_ops.cli.output import emit
from voxtral_ops.cli.weights_actions.users import add_home, look, size_words
from voxtral_ops.weights import WeightsStore
from voxtral_ops.weights.retire import Held, survey

SUMMARY = "what is installed, what is unfinished and how far, and which release uses it"
EXAMPLES = """examples:
  voxtral-ops weights list
  voxtral-ops weights list --json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Say where the releases lie."""
    add_home(parser)


def run(args: argparse.Namespace, store: WeightsStore) -> int:
    """List models with their revision, size, users and place."""
    held = [each for each in survey(store.root, look(args, store.root)) if each.kind != "lock"]
    lines = [_line(each) for each in held]
    emit(args, [_row(each) for each in held], "\n".join(lines) or f"no models in {store.root}")
    return 0


def _row(held: Held) -> dict[str, Any]:
    row = held.model_dump(mode="json", exclude={"age", "directory"})
    return {**row, "revision": held.directory.rpartition("/")[2], "repository": held.directory.rpartition("/")[0]}


def _line(held: Held) -> str:
    repository, _, revision = held.directory.rpartition("/")
    name = held.model or repository
    return f"{name:<12} {revision[:12]:<12} {size_words(held.bytes):>9}  {_state(held)}  {held.path}"


def _state(held: Held) -> str:
    if held.kind == "partial":
        return f"unfinished, {min(1.0, held.bytes / held.total):.0%} here" if held.total else "unfinished"
    if held.kind != "model":
        return "left over" if held.kind == "leftover" else "without a manifest"
    words = ["served now"] if held.served else []
    words += [f"{'current ' if held.current else ''}release {', '.join(held.releases)}"] if held.releases else []
    return "; ".join(words) or "no release uses it"
