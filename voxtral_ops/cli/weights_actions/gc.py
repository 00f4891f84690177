"""`voxtral-ops weights gc`: remove the models that nobody needs, and what interrupted runs left behind."""

from __future__ import annotations

import argparse

from voxtral_ops.cli.output import emit, say
from voxtral_ops.cli.weights_actions.users import add_home, look, size_words
from voxtral_ops.weights import WeightsStore
from voxtral_ops.weights.retire import GRACE_SECONDS, Decision, collect, decide, survey

SUMMARY = "remove the models that no release and no server needs"
EXAMPLES = """examples:
  voxtral-ops weights gc --dry-run            what would go and what would stay, with the reasons
  voxtral-ops weights gc                      keep what every release on this host needs
  voxtral-ops weights gc --keep-releases 2    only the current release and the one before it
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what counts as needed."""
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and change nothing")
    parser.add_argument(
        "--keep-releases", type=int, metavar="N", help="only the N newest releases count, at least 2 (all of them)"
    )
    parser.add_argument(
        "--grace",
        type=float,
        default=GRACE_SECONDS / 3600,
        metavar="HOURS",
        help="a model younger than this stays: its release may be on the way (%(default)g)",
    )
    add_home(parser)


def run(args: argparse.Namespace, store: WeightsStore) -> int:
    """Collect, or say what collecting would do."""
    options = {"keep_releases": args.keep_releases, "grace": args.grace * 3600}
    busy: tuple[str, ...] = ()
    if args.dry_run:
        needs = look(args, store.root)
        decisions = decide(survey(store.root, needs), needs, **options)
    else:
        decisions, busy = collect(store.root, lambda: look(args, store.root), **options)
    for line in busy:
        say(line)
    freed = sum(each.held.bytes for each in decisions if each.remove)
    rows = [
        {**each.held.model_dump(mode="json"), "remove": each.remove, "reason": each.reason}
        for each in decisions
        if each.remove or each.held.kind != "lock"
    ]
    head = f"{'would free' if args.dry_run else 'freed'} {size_words(freed)} in {store.root}"
    lines = [_line(each, dry_run=args.dry_run) for each in decisions if each.remove or each.held.kind != "lock"]
    emit(args, {"freed": freed, "dry_run": args.dry_run, "busy": busy, "entries": rows}, "\n".join([*lines, head]))
    return 0


def _line(decision: Decision, *, dry_run: bool) -> str:
    word = ("would go" if dry_run else "gone") if decision.remove else "stays"
    return f"{word:<8}  {decision.held.path}: {decision.reason}"
