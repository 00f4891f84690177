"""List what an engine understands: run it with that engine's own Python.

::

    <engine>/bin/python tools/engine_options.py > voxtral_ops/data/options/<version>.txt

One name a line, sorted: every long option of ``vllm serve`` with its dashes, then every environment variable
that vLLM reads.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys


def long_options() -> list[str]:
    """Ask vLLM's own parser."""
    from vllm.entrypoints.cli.serve import ServeSubcommand  # noqa: PLC0415
    from vllm.utils.argparse_utils import FlexibleArgumentParser  # noqa: PLC0415

    commands = FlexibleArgumentParser().add_subparsers()
    parser: argparse.ArgumentParser = ServeSubcommand().subparser_init(commands)
    return sorted({name for action in parser._actions for name in action.option_strings if name.startswith("--")})


def variables() -> list[str]:
    """Ask vLLM's own table."""
    from vllm import envs  # noqa: PLC0415

    return sorted(envs.environment_variables)


def main() -> None:
    """Print both; what vLLM says while it is imported goes to stderr."""
    logging.disable(logging.CRITICAL)
    with contextlib.redirect_stdout(sys.stderr):
        import vllm  # noqa: PLC0415

        names = [*long_options(), *variables()]
    print(f"# What vLLM {vllm.__version__.split('+')[0]} understands. Made by tools/engine_options.py.")
    print("\n".join(names))


if __name__ == "__main__":
    main()
