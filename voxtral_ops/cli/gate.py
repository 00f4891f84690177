"""`voxtral-ops gate`: transcribe the golden clips on a running server and judge the words."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from voxtral_ops.cli.main import program_name
from voxtral_ops.cli.output import colour, emit
from voxtral_ops.errors import ServerError
from voxtral_ops.paths import default_layout

if TYPE_CHECKING:
    from voxtral_ops.server.gate import GateReport

EXAMPLES = """examples:
  voxtral-ops gate                       every server of this machine
  voxtral-ops gate --url http://127.0.0.1:8000 --model voxtral
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Which server."""
    parser.add_argument("--url", help="judge this server (default: every one that serves here)")
    parser.add_argument("--model", default="voxtral", help="the name that --url serves it under (default voxtral)")


def run(args: argparse.Namespace) -> int:
    """Exit status 0 when every server passed, 1 when one did not."""
    from voxtral_ops.server import find_services, run_gate  # noqa: PLC0415

    targets = [(args.url, args.model)] if args.url else []
    if not targets:
        statuses = [service.status() for service in find_services(default_layout())]
        targets = [(status.url, status.served_name) for status in statuses if status.is_serving]
    if not targets:
        raise ServerError("no server serves here", hint=f"`{program_name()} status` says why; `up` starts one")
    reports = [run_gate(url, model) for url, model in targets]
    ok = all(report.ok for report in reports)
    data = {"ok": ok, "gates": [report.model_dump(mode="json") for report in reports]}
    emit(args, data, "\n\n".join(map(describe, reports)))
    return 0 if ok else 1


def describe(report: GateReport) -> str:
    """A table of the clips and the verdict."""
    lines = [f"{report.model} on {report.url}"]
    for clip in report.clips:
        mark = colour("ok  ", "32") if clip.ok else colour("FAIL", "31")
        lines.append(f"  {mark} {clip.container:<4} {clip.seconds:6.2f} s  {clip.text or '(nothing)'}")
        if not clip.ok:
            lines.append(f"       {clip.problem}; expected: {clip.expected}")
    lines.append(report.summary)
    return "\n".join(lines)
