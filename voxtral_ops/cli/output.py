"""How commands speak: data on stdout, talk on stderr."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxtral_ops.errors import VoxtralError


def emit(args: Namespace, data: Any, text: str) -> None:
    """Print the command's result: ``text`` for a person, ``data`` (JSON-able or a pydantic model) under --json."""
    if args.json:
        dumped = data.model_dump(mode="json") if hasattr(data, "model_dump") else data
        print(json.dumps(dumped, indent=2, ensure_ascii=False, default=str))  # noqa: T201
    elif text:
        print(text)  # noqa: T201


def say(text: str) -> None:
    """Talk to the person at the terminal."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def complain(error: VoxtralError, *, debug: bool, program: str) -> None:
    """Say what went wrong and what to do next; the traceback only under --debug."""
    if debug:
        import traceback  # noqa: PLC0415

        traceback.print_exception(error)
    say(f"{colour('error:', '1;31')} {error.message}")
    if error.hint:
        # A hint that names our command names it as it was typed.
        say(f"{colour('hint:', '1;36')}  {error.hint.replace('voxtral-ops ', program + ' ')}")


def colour(text: str, code: str, stream: Any = None) -> str:
    """Wrap in an ANSI colour where there is a terminal that wants one (NO_COLOR is honoured)."""
    target = stream if stream is not None else sys.stderr
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not target.isatty():
        return text
    return f"\033[{code}m{text}\033[0m"
