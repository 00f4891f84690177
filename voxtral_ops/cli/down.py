"""`voxtral-ops down`: drain and stop every server of this layout. Leaves no process and no port."""

from __future__ import annotations

import argparse

from voxtral_ops.cli.output import emit, say
from voxtral_ops.paths import default_layout

EXAMPLES = """examples:
  voxtral-ops down                       let running requests finish, then stop
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(args: argparse.Namespace) -> int:
    """Stop what runs; nothing running is fine too."""
    from voxtral_ops.server import find_services  # noqa: PLC0415
    from voxtral_ops.server.status import LIVE  # noqa: PLC0415

    stopped = []
    for service in find_services(default_layout()):
        before = service.status()
        if before.state in LIVE:
            say(f"{service.name}: draining")
        # Also where the status says stopped or failed: a left-over process is swept away.
        service.stop()
        if before.state in LIVE:
            stopped.append({"name": service.name, "url": before.url, "model": before.model})
    text = "\n".join(f"{one['name']}: stopped ({one['model']} on {one['url']})" for one in stopped)
    emit(args, {"ok": True, "stopped": stopped}, text or "nothing was running")
    return 0
