"""`voxtral-ops weights seed`: let other hosts of the LAN take models from this one."""

from __future__ import annotations

import argparse
import signal
from contextlib import suppress

from voxtral_ops.cli.output import emit, say
from voxtral_ops.cli.weights_actions.users import rate, size_words
from voxtral_ops.weights import WeightsStore
from voxtral_ops.weights.seed import CONNECTIONS, PORT, SeedOptions, SeedServer

SUMMARY = "let other hosts of the LAN take models from this one"
EXAMPLES = """examples:
  voxtral-ops weights seed                                  every installed model, on port 18500
  voxtral-ops weights seed --limit 50M --idle 300           50 MB/s for all together; stop after five quiet minutes
  voxtral-ops weights fetch mini-3b --release release.yml --from http://first-host:18500    on the others

Whoever reaches the port can read the models. Whoever takes them compares every byte with the release.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Say where, and how much at once."""
    parser.add_argument("--address", default="", metavar="IP", help="listen only there (every address of this host)")
    parser.add_argument("--port", type=_port, default=PORT, help="(%(default)s; 0 takes a free one)")
    parser.add_argument("--connections", type=_count, default=CONNECTIONS, metavar="N", help="at most (%(default)s)")
    parser.add_argument("--limit", type=rate, metavar="RATE", help="bytes a second for all together, as 800K or 50M")
    parser.add_argument("--idle", type=_count, metavar="SECONDS", help="stop when nobody has asked for so long")


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: between 0 and 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def run(args: argparse.Namespace, store: WeightsStore) -> int:
    """Serve until a signal or the idle time ends it."""
    options = SeedOptions(args.address, args.port, args.connections, args.limit, args.idle)
    with SeedServer(store, options) as server:
        models = [f"{model.name} {model.revision[:12]}" for model in store.models()]
        say(f"seeding {', '.join(models) or 'nothing yet'} at {server.url}")
        server.drop_rights()
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            server.serve_forever(poll_interval=0.5)
    emit(args, {"sent": server.sent}, f"sent {size_words(server.sent)}; stopped")
    return 0
