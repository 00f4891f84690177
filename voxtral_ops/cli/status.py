"""`voxtral-ops status`: what runs here, and how it is. Exit status 0 when everything serves, else 1."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from voxtral_ops.cli.main import program_name
from voxtral_ops.cli.output import colour, emit
from voxtral_ops.paths import default_layout

if TYPE_CHECKING:
    from voxtral_ops.server.status import ServerStatus

EXAMPLES = """examples:
  voxtral-ops status
  voxtral-ops status --json
"""

_COLOURS = {"serving": "32", "failed": "31", "stopped": "2"}


def configure(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(args: argparse.Namespace) -> int:
    """Print each instance's state."""
    from voxtral_ops.server import find_services  # noqa: PLC0415

    services = find_services(default_layout())
    statuses = [service.status() for service in services]
    serving = bool(statuses) and all(status.is_serving for status in statuses)
    data = {
        "ok": serving,
        "services": [
            {**status.model_dump(mode="json"), "supervisor": service.supervisor}
            for service, status in zip(services, statuses, strict=True)
        ],
    }
    text = "\n\n".join(map(describe, statuses))
    emit(args, data, text or f"nothing is installed here; `{program_name()} up` installs and starts a server")
    return 0 if serving else 1


def describe(status: ServerStatus) -> str:
    """One server for a person: a headline and what there is to say below it."""
    head = [status.name, _state(status), status.model, status.url]
    lines = ["  ".join(word for word in head if word)]
    facts = []
    if status.since:
        facts.append(f"since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(status.since))}")
    facts.append(f"restarts {status.restarts}")
    if status.memory is not None:
        facts.append(f"memory {status.memory / 1e9:.1f} GB")
    if status.pid:
        facts.append(f"process {status.pid}")
    lines.append(f"  {', '.join(facts)}")
    if status.release:
        lines.append(f"  release {status.release}")
    if status.cause:
        lines.append(f"  last problem: {status.cause}")
    if status.hint:
        lines.append(f"  hint: {status.hint}")
    if status.state == "failed":
        lines += [f"    | {word}" for word in status.last_words[-6:]]
    return "\n".join(lines)


def _state(status: ServerStatus) -> str:
    word = colour(status.state, _COLOURS.get(status.state, "33"), sys.stdout)
    if status.state == "starting" and status.phase:
        far = f" {status.fraction:.0%}" if status.fraction is not None else ""
        word += f" ({status.phase}{far})"
    return word
