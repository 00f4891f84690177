"""`voxtral-ops engine`: the installed engines, and whether they can do their work."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from voxtral_ops.cli.output import emit
from voxtral_ops.errors import ConfigurationError
from voxtral_ops.paths import default_layout

if TYPE_CHECKING:
    from voxtral_ops.server.engine_verify import EngineReport

EXAMPLES = """examples:
  voxtral-ops engine list              what is installed
  voxtral-ops engine verify            import the audio libraries, decode a clip of each format
  voxtral-ops engine verify ID --json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """The verb and the engine it is about."""
    parser.add_argument("verb", choices=["list", "verify"])
    parser.add_argument("engine", nargs="?", metavar="ID", help="an installed engine's id or path (all)")


def run(args: argparse.Namespace) -> int:
    """List the engines, or verify them: 1 when one is found wrong."""
    venvs = _chosen(args.engine)
    if args.verb == "list":
        emit(args, {"engines": [venv.name for venv in venvs]}, "\n".join(venv.name for venv in venvs))
        return 0
    from voxtral_ops.server.engine_verify import verify_engine  # noqa: PLC0415
    from voxtral_ops.server.golden import golden_clips  # noqa: PLC0415

    one_each = {clip.container: clip.path for clip in golden_clips()}
    reports = [verify_engine(venv, tuple(one_each.values())) for venv in venvs]
    ok = all(report.ok for report in reports)
    data = {"ok": ok, "engines": [report.model_dump() | {"ok": report.ok} for report in reports]}
    emit(args, data, "\n".join(map(_text, reports)))
    return 0 if ok else 1


def _chosen(name: str | None) -> list[Path]:
    home = default_layout().engines
    if name and Path(name).is_absolute():
        return [Path(name)]
    installed = sorted(stamp.parent for stamp in home.glob("*/voxtral-complete.json"))
    chosen = [venv for venv in installed if name in (None, venv.name)]
    if not chosen:
        wanted = f"no engine {name!r}" if name else "no engine"
        raise ConfigurationError(f"{wanted} is installed in {home}", hint="install one: voxtral-ops up")
    return chosen


def _text(report: EngineReport) -> str:
    lines = [f"{report.engine}: {'ok' if report.ok else 'broken'} (Python {report.python})"]
    lines += [f"  {name} {version}" for name, version in report.versions.items()]
    lines += [f"  decodes {name}: {seconds:.2f} s" for name, seconds in report.decoded.items()]
    lines += [f"  {problem}" for problem in report.problems]
    return "\n".join(lines)
