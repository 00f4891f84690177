"""Who needs which model on this host: what `weights list`, `remove` and `gc` ask before they act."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from voxtral_ops.paths import default_layout

if TYPE_CHECKING:
    from voxtral_ops.weights.retire import Needs

SLOWEST = 10_000
"""A line that is held back further looks like one that has died."""


def add_home(parser: argparse.ArgumentParser) -> None:
    """Let an operator say where the releases lie."""
    parser.add_argument("--home", type=Path, metavar="DIR", help="where the releases lie, if not the usual place")


def look(args: argparse.Namespace, root: Path) -> Needs:
    """Read this host's releases and what runs now."""
    from voxtral_ops.server.service import running_instances  # noqa: PLC0415
    from voxtral_ops.weights.retire import find_needs  # noqa: PLC0415

    layout = default_layout()
    if args.home:
        layout = replace(layout, home=args.home)
    return find_needs(layout, root, running_instances(layout))


def size_words(count: int) -> str:
    """Write a number of bytes for a person."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"


def rate(text: str) -> int:
    """Read a number of bytes a second, as it is typed."""
    scale = {"K": 10**3, "M": 10**6, "G": 10**9}.get(text[-1:].upper(), 1)
    digits = text if scale == 1 else text[:-1]
    if not digits.isdigit() or int(digits) * scale < SLOWEST:
        raise argparse.ArgumentTypeError(f"{text!r} is no rate: write bytes a second, as 800K or 50M; at least 10K")
    return int(digits) * scale
