"""`voxtral-ops engine`: the installed engines, whether they can do their work, and what they think of a plan."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from voxtral_ops.cli.output import emit, say
from voxtral_ops.errors import ConfigurationError
from voxtral_ops.paths import default_layout

if TYPE_CHECKING:
    from voxtral_ops.hardware.profile import Profile
    from voxtral_ops.server.engine_verify import EngineReport
    from voxtral_ops.server.judgement import Bench, Case, Judgement, Verdict

EXAMPLES = """examples:
  voxtral-ops engine list              what is installed
  voxtral-ops engine verify            import the audio libraries, decode a clip of each format
  voxtral-ops engine verify ID --json
  voxtral-ops engine judge             would vLLM accept what is configured here?
  voxtral-ops engine judge --plan plan.json --hardware host.json    that plan, on the GPUs of that host?
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """The verb, the engine it is about, and what is to be judged."""
    parser.add_argument("verb", choices=["list", "verify", "judge"])
    parser.add_argument("engine", nargs="?", metavar="ID", help="an installed engine's id or path (all)")
    parser.add_argument(
        "--plan", action="append", default=[], type=Path, metavar="FILE", help="judge: a plan from `plan --json`"
    )
    parser.add_argument("--hardware", type=Path, metavar="FILE", help="judge: the host that the plans are for")


def run(args: argparse.Namespace) -> int:
    """List the engines, verify them, or let them judge: 1 when something is found wrong."""
    venvs = _chosen(args.engine)
    if args.verb == "judge":
        return _judge(args, venvs)
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


def _judge(args: argparse.Namespace, venvs: list[Path]) -> int:
    from voxtral_ops.provisioning import find_project  # noqa: PLC0415
    from voxtral_ops.server.judgement import Bench, judge  # noqa: PLC0415

    templates = find_project().root / "roles" / "voxtral_server" / "templates"
    with tempfile.TemporaryDirectory(prefix="voxtral-judge-") as folder:
        cases = _cases(args, Bench(templates, Path(folder)))
        judgements = {venv.name: judge(venv, cases) for venv in venvs}
    ok = not any(judgement.rejected for judgement in judgements.values())
    data = {"ok": ok, "engines": {name: judgement.model_dump() for name, judgement in judgements.items()}}
    emit(args, data, "\n".join(map(_judgement_text, judgements.values())))
    return 0 if ok else 1


def _cases(args: argparse.Namespace, bench: Bench) -> list[Case]:
    profile = _profile(args)
    if args.plan:
        from voxtral_ops.planning.plan import Plan  # noqa: PLC0415

        cases: list[Case] = []
        for path in args.plan:
            try:
                plan = Plan.model_validate_json(path.read_bytes())
            except (OSError, ValueError) as error:
                raise ConfigurationError(
                    f"{path} is not a plan: {str(error).splitlines()[0]}",
                    hint="make one with `voxtral-ops plan --json > plan.json`",
                ) from error
            cases += bench.plan(plan, profile, str(path))
        return cases
    instances = sorted((default_layout().current / "instances").glob("*/instance.json"))
    if not instances:
        raise ConfigurationError("nothing is configured on this machine", hint="name a plan: --plan FILE")
    from voxtral_ops.server.judgement import directory_case  # noqa: PLC0415

    return [directory_case(path.parent, profile) for path in instances]


def _profile(args: argparse.Namespace) -> Profile | None:
    if args.hardware:
        from voxtral_ops.cli.plan import read_profile  # noqa: PLC0415

        return read_profile(args.hardware)
    if args.plan:
        say("without --hardware a GPU counts as one that every rule admits (80 GiB, compute capability 9.0)")
        return None
    from voxtral_ops.hardware import look  # noqa: PLC0415

    return look([])


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


def _judgement_text(judgement: Judgement) -> str:
    count, refused = len(judgement.verdicts), len(judgement.rejected)
    lines = [f"vLLM {judgement.vllm} judged {count}: {count - refused} accepted, {refused} rejected"]
    lines += [_verdict_text(verdict) for verdict in judgement.verdicts]
    lines += [f"vLLM says: {words}" for words in judgement.deprecated]
    for platform in sorted({verdict.platform for verdict in judgement.verdicts}):
        lines += [f"not judged ({platform}): {words}" for words in judgement.unjudged[platform]]
    return "\n".join(lines)


def _verdict_text(verdict: Verdict) -> str:
    if not verdict.accepted:
        return f"  REJECTED {verdict.name} ({verdict.platform}, {verdict.stage}): {verdict.words}"
    made = ", ".join(f"{name} {value}" for name, value in verdict.resolved.items() if value is not None)
    return f"  accepted {verdict.name} ({verdict.platform}): {made}"
