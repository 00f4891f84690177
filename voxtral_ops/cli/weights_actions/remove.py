"""`voxtral-ops weights remove`: make one model be gone."""

from __future__ import annotations

import argparse

from voxtral_ops.cli.output import emit
from voxtral_ops.cli.weights_actions.users import add_home, look, size_words
from voxtral_ops.errors import ConfigurationError
from voxtral_ops.weights import WeightsStore
from voxtral_ops.weights.retire import Held, remove_model

SUMMARY = "remove a model, or one revision of it"
EXAMPLES = """examples:
  voxtral-ops weights remove mini-3b                  every revision that is here
  voxtral-ops weights remove mini-3b@3060fe34b35b     one revision, by its first digits
  voxtral-ops weights remove mini-3b --force          also what a release on this host still names
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which models, and how sure the operator is."""
    parser.add_argument("names", nargs="+", metavar="MODEL[@REVISION]", help="as `weights list` calls it")
    parser.add_argument("--force", action="store_true", help="also what a release names; never what is served")
    add_home(parser)


def run(args: argparse.Namespace, store: WeightsStore) -> int:
    """Remove each model; what is not here is an error, so that a misspelt name is not taken for done."""
    removed: list[Held] = []
    for name in args.names:
        model, _, revision = name.partition("@")
        gone = remove_model(store.root, lambda: look(args, store.root), model, revision, force=args.force)
        if not gone:
            raise ConfigurationError(
                f"no model {name!r} in {store.root}", hint="`voxtral-ops weights list` names what is here"
            )
        removed += gone
    lines = [f"removed {each.path}, {size_words(each.bytes)}" for each in removed]
    emit(args, {"removed": [each.model_dump(mode="json") for each in removed]}, "\n".join(lines))
    return 0
