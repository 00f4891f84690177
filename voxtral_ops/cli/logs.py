"""`voxtral-ops logs`: what the servers said."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from voxtral_ops.cli.output import emit
from voxtral_ops.errors import ConfigurationError
from voxtral_ops.paths import default_layout

if TYPE_CHECKING:
    from voxtral_ops.server import Service

EXAMPLES = """examples:
  voxtral-ops logs                       the last 50 lines
  voxtral-ops logs -n 200 main           more, of one instance
  voxtral-ops logs -f                    and go on as they are written
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """How many lines, of which instance, and whether to go on."""
    parser.add_argument("instance", nargs="?", help="only this one (default: all)")
    parser.add_argument("-n", "--lines", type=int, default=50, metavar="N", help="how many lines (default 50)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with new lines until Ctrl-C")


def run(args: argparse.Namespace) -> int:
    """Print the lines; follow one server where asked to."""
    from voxtral_ops.cli.server import chosen_services  # noqa: PLC0415

    if args.follow and args.json:
        raise ConfigurationError("--follow has no end and JSON has: choose one")
    services = chosen_services(default_layout(), args.instance)
    if args.follow and len(services) > 1:
        names = ", ".join(service.name for service in services)
        raise ConfigurationError("only one server can be followed", hint=f"name it: one of {names}")
    lines = {service.name: service.logs(max(args.lines, 0)) for service in services}
    several = len(lines) > 1
    text = "\n".join(f"{name}: {line}" if several else line for name, said in lines.items() for line in said)
    emit(args, {"ok": True, "logs": {name: list(said) for name, said in lines.items()}}, text)
    if args.follow:
        _follow(services[0])
    return 0


def _follow(service: Service) -> None:
    try:
        for line in service.follow():
            print(line, flush=True)  # noqa: T201 - this is the command's output
    except KeyboardInterrupt:
        return
