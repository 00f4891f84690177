"""The command line: python -m tools.nano build|evaluate|golden|commands."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path


def _build(options: argparse.Namespace) -> None:
    from tools.nano.train import build  # noqa: PLC0415 - torch is slow to import

    started = time.monotonic()

    def log(line: str) -> None:
        print(f"[{time.monotonic() - started:6.0f} s] {line}", flush=True)

    state = options.state or options.out.with_name(options.out.name + ".state")
    build(
        options.out,
        state=state,
        seed=options.seed,
        threads=options.threads,
        scale=options.scale,
        resume=options.resume,
        minutes=options.minutes,
        log=log,
    )


def _evaluate(options: argparse.Namespace) -> None:
    from tools.nano.evaluate import Evaluation, table  # noqa: PLC0415 - needs no torch

    rows = list(Evaluation(options.url, options.model, options.stride).run())
    for row in rows:
        for miss in row.misses[: options.misses]:
            print(f"{row.name}: {miss}")
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps([row.as_json() for row in rows], indent=1) + "\n")


def _golden(options: argparse.Namespace) -> None:
    from tools.nano.golden import write_golden  # noqa: PLC0415 - needs no torch

    write_golden(options.out)


def _commands(_: argparse.Namespace) -> None:
    from tools.nano.phrases import COMMANDS  # noqa: PLC0415 - needs nothing

    for command in COMMANDS:
        print(command.text)


def main() -> None:
    """Run the command that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tools.nano", description=__doc__)
    actions = parser.add_subparsers(required=True)
    build = actions.add_parser("build", help="synthesise speech, train, and write the checkpoint")
    build.add_argument("out", type=Path)
    build.add_argument("--state", type=Path, help="where the state after each stage is kept (OUT.state)")
    build.add_argument("--resume", action="store_true", help="go on after the last finished stage")
    build.add_argument("--minutes", type=float, default=60, help="the longest that a stage may take")
    build.add_argument("--seed", type=int, default=0)
    build.add_argument("--threads", type=int, default=1, help="more do not help at this size")
    build.add_argument("--scale", type=float, default=1.0, help="share of the steps and the speech, for a quick try")
    build.set_defaults(action=_build)
    evaluate = actions.add_parser("evaluate", help="measure a served checkpoint")
    evaluate.add_argument("url", help="where vLLM answers, for example http://127.0.0.1:8000")
    evaluate.add_argument("--model", default="voxtral", help="the name it is served under")
    evaluate.add_argument("--stride", type=int, default=1, help="take only every n-th command")
    evaluate.add_argument("--misses", type=int, default=5, help="wrong answers to show of each row")
    evaluate.add_argument("--json", type=Path, help="also write the result to this file")
    evaluate.set_defaults(action=_evaluate)
    golden = actions.add_parser("golden", help="write the golden clips and golden.toml")
    golden.add_argument("out", type=Path)
    golden.set_defaults(action=_golden)
    commands = actions.add_parser("commands", help="list the commands")
    commands.set_defaults(action=_commands)
    options = parser.parse_args()
    options.action(options)


if __name__ == "__main__":
    main()
