"""`voxtral-ops config show|check`: which value is in force, where it came from, and whether it works."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from voxtral_ops.cli.output import emit

if TYPE_CHECKING:
    from voxtral_ops.config import Resolution

EXAMPLES = """examples:
  voxtral-ops config show            every option, its value and its origin
  voxtral-ops config check           is the server there, is Whisper there
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """What to do with the configuration."""
    parser.add_argument("action", choices=("show", "check"), help="show it with origins, or try it")


def run(args: argparse.Namespace) -> int:
    """Show the options, or look whether somebody would answer (1 when nobody would)."""
    from voxtral_ops.config import resolve  # noqa: PLC0415

    found = resolve()
    return _show(args, found) if args.action == "show" else _check(args, found)


def _show(args: argparse.Namespace, found: Resolution) -> int:
    values = {name: _plain(value) for name, value in found.config}
    rows = [(name, _shown(value), found.origins[name]) for name, value in values.items()]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}" for name, value, origin in rows]
    data = {name: {"value": value, "origin": found.origins[name]} for name, value in values.items()}
    emit(args, {"file": str(found.file) if found.file else None, "options": data}, "\n".join(lines))
    return 0


def _check(args: argparse.Namespace, found: Resolution) -> int:
    from voxtral_ops.manager import VoxtralManager  # noqa: PLC0415

    with VoxtralManager(found.config) as manager:
        result = manager.check()
    demonstration = " (a demonstration model)" if result.demonstration else ""
    lines = [
        f"server   {result.voxtral_problem or f'{result.server} serves {result.model}{demonstration}'}",
        f"whisper  {result.whisper_problem or f'{result.whisper} is installed'}",
    ]
    emit(args, {"ok": result.ok, **asdict(result)}, "\n".join(lines))
    return 0 if result.ok else 1


def _plain(value: Any) -> Any:
    """A secret as stars, a path as text."""
    return value if isinstance(value, int | float | None) else str(value)


def _shown(value: Any) -> str:
    return "-" if value is None else str(value)
