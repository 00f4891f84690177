"""`voxtral-ops server`: start, stop or run one server by hand."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from voxtral_ops.cli.output import emit, say
from voxtral_ops.cli.status import describe
from voxtral_ops.errors import ConfigurationError
from voxtral_ops.paths import Layout, default_layout

if TYPE_CHECKING:
    from voxtral_ops.server import Service
    from voxtral_ops.server.manager import ServerEvent
    from voxtral_ops.server.status import ServerStatus

EXAMPLES = """examples:
  voxtral-ops server start               start what is installed, and wait until it answers
  voxtral-ops server restart main        drain, stop and start one instance
  voxtral-ops server stop
  voxtral-ops server run                 in the foreground, for a supervisor of your own; Ctrl-C drains
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """What to do, with which instance."""
    parser.add_argument("action", choices=("start", "stop", "restart", "run"))
    parser.add_argument("instance", nargs="?", help="only this one (default: all)")
    parser.add_argument(
        "--timeout", type=float, default=900.0, metavar="SECONDS", help="give a start up after this (default 900)"
    )


def run(args: argparse.Namespace) -> int:
    """Do it to every chosen server, one after the other."""
    services = chosen_services(default_layout(), args.instance)
    if args.action == "run":
        return _run_in_foreground(services)
    statuses: list[ServerStatus] = []
    for service in services:
        if args.action in {"stop", "restart"}:
            say(f"{service.name}: draining")
            status = service.stop()
        if args.action in {"start", "restart"}:
            narrator = Narrator()
            try:
                status = service.start(narrator, args.timeout)
            finally:
                narrator.close()
        statuses.append(status)
    data = {"ok": True, "services": [status.model_dump(mode="json") for status in statuses]}
    emit(args, data, "\n\n".join(map(describe, statuses)))
    return 0


def chosen_services(layout: Layout, name: str | None) -> tuple[Service, ...]:
    """All servers here, or the named one. Raises ConfigurationError where there is none."""
    from voxtral_ops.server import find_services  # noqa: PLC0415

    services = find_services(layout)
    if not services:
        raise ConfigurationError("nothing is installed here", hint="`voxtral-ops up` installs and starts a server")
    if name is None:
        return services
    named = tuple(service for service in services if service.name == name)
    if not named:
        known = ", ".join(service.name for service in services)
        raise ConfigurationError(f"there is no instance {name!r}", hint=f"here are: {known}")
    return named


class Narrator:
    """Shows a start: one line that rewrites itself on a terminal, a line for each phase elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._phase = ""
        self._open = False

    def __call__(self, event: ServerEvent) -> None:
        """Show one event."""
        if self._live and event.state == "starting":
            far = f"{event.fraction:4.0%}" if event.fraction is not None else ""
            sys.stderr.write(f"\r\033[K{event.message} {far}")
            sys.stderr.flush()
            self._open = True
        elif event.message != self._phase:
            self.close()
            say(event.message)
        self._phase = event.message

    def close(self) -> None:
        """End the line that rewrites itself."""
        if self._open:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
            self._open = False


def _run_in_foreground(services: tuple[Service, ...]) -> int:
    from voxtral_ops.server.service import ManagedService  # noqa: PLC0415

    if len(services) > 1:
        names = ", ".join(service.name for service in services)
        raise ConfigurationError("only one server can run in the foreground", hint=f"name it: one of {names}")
    service = services[0]
    if not isinstance(service, ManagedService):
        raise ConfigurationError(f"{service.name} is systemd's", hint="`systemctl start` it, or `server start`")
    manager = service.manager
    manager.prepare()
    command = [*manager.command(), "--echo"]
    os.execv(command[0], command)  # noqa: S606 - from here on this process is the supervisor
