"""Find the command that was typed, import only that one, and turn errors into messages and exit codes.

Exit status: 0 fine, 1 something was found wrong, 2 it could not run.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from types import ModuleType

COMMANDS = {
    "up": "make this machine a Voxtral server and prove it",
    "down": "drain and stop what runs here",
    "status": "what runs here, and how it is",
    "transcribe": "turn recordings into text",
    "audio": "look at recordings: what they are, what is wrong with them",
    "plan": "what this machine should run, and why",
    "hardware": "what this machine is",
    "logs": "what the servers said",
    "gate": "transcribe the golden clips and judge the words",
    "server": "start, stop or run one server by hand",
    "engine": "look at the installed engines",
    "weights": "fetch, verify, carry, seed and remove models",
    "release": "pin models to a revision and its hashes",
    "config": "show and check the configuration",
    "test": "run everything that this machine can run",
    "version": "the versions of what is installed",
}

EXAMPLES = """examples:
  voxtral-ops up                         install, start and prove a server on this machine
  voxtral-ops transcribe talk.mp3        the words of a recording
  voxtral-ops status --json              for programs
  voxtral-ops down                       stop it again
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] in {"-h", "--help", "help"}:
        print(overview())  # noqa: T201
        return 0
    if words[0] in {"-V", "--version"}:
        words = ["version", *words[1:]]
    name = words[0]
    if name not in COMMANDS:
        return _unknown(name)
    module = importlib.import_module(f"voxtral_ops.cli.{name}")
    args = command_parser(name, module).parse_args(words[1:])
    return _guarded(module, args)


def overview() -> str:
    """What ``voxtral-ops --help`` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items()]
    program = program_name()
    body = "\n".join(["usage: voxtral-ops COMMAND [options]", "", "commands:", *lines, "", EXAMPLES])
    return body.replace("voxtral-ops", program) + f"\n{program} COMMAND --help explains one command."


def command_parser(name: str, module: ModuleType) -> argparse.ArgumentParser:
    """The parser of one command, with the options that every command has."""
    program = program_name()
    parser = argparse.ArgumentParser(
        prog=f"{program} {name}",
        description=COMMANDS[name][0].upper() + COMMANDS[name][1:] + ".",
        epilog=module.EXAMPLES.replace("voxtral-ops", program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.configure(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def program_name() -> str:
    """What the person typed: ``./voxtral`` in a checkout (the launcher says so), else ``voxtral-ops``."""
    return os.environ.get("VOXTRAL_PROGRAM", "voxtral-ops")


def _unknown(name: str) -> int:
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    nearest = f"; did you mean {close[0]}?" if close else ""
    print(f"{program_name()}: no command {name!r}{nearest} See --help.", file=sys.stderr)  # noqa: T201
    return 2


def _guarded(module: ModuleType, args: argparse.Namespace) -> int:
    # Imported here: errors, like everything else, only when a command really runs.
    from voxtral_ops.errors import VoxtralError  # noqa: PLC0415

    try:
        status: int = module.run(args)
        sys.stdout.flush()
        return status
    except VoxtralError as error:
        return _report(error, args)
    except KeyboardInterrupt:
        print("\nstopped: nothing half done; the same command goes on from here", file=sys.stderr)  # noqa: T201
        return 2
    except BrokenPipeError:
        # Whoever read us (head, less) has seen enough; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _report(error: Exception, args: argparse.Namespace) -> int:
    from voxtral_ops.cli.output import complain, emit  # noqa: PLC0415
    from voxtral_ops.errors import VoxtralError  # noqa: PLC0415

    if isinstance(error, VoxtralError):
        emit(args, {"ok": False, "error": error.as_dict()}, "")
        complain(error, debug=args.debug, program=program_name())
    return 2
