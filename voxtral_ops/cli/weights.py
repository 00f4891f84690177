"""`voxtral-ops weights`: a table of actions; each is a file of `weights_actions/`."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from types import ModuleType

from voxtral_ops.paths import default_layout

ACTIONS = ("fetch", "verify", "list", "remove", "gc", "export", "import", "seed")

EXAMPLES = """examples:
  voxtral-ops weights fetch mini-3b --release release.yml     exactly what the release names
  voxtral-ops weights verify                                  everything that is installed
  voxtral-ops weights list
  voxtral-ops weights fetch --help                            each action explains itself
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add every action of the table."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    program = parser.prog.rsplit(" ", 1)[0]
    for name in ACTIONS:
        module = _module(name)
        action = actions.add_parser(
            name,
            help=module.SUMMARY,
            description=module.SUMMARY[0].upper() + module.SUMMARY[1:] + ".",
            epilog=module.EXAMPLES.replace("voxtral-ops", program),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.configure(action)
        action.add_argument("--models", type=Path, metavar="DIR", help="the models directory, if not the usual one")
        # Also behind the action's own words, where people write them.
        action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        action.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Run one action on the store of models."""
    from voxtral_ops.weights import WeightsStore  # noqa: PLC0415

    status: int = _module(args.action).run(args, WeightsStore(args.models or default_layout().models))
    return status


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"voxtral_ops.cli.weights_actions.{name}")
