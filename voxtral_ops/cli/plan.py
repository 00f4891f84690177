"""`voxtral-ops plan`: what a machine should run, and why; also for machines that are not here."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from voxtral_ops.catalog import catalog
from voxtral_ops.cli.output import emit
from voxtral_ops.cli.release import load_release
from voxtral_ops.errors import ConfigurationError
from voxtral_ops.hardware import look
from voxtral_ops.hardware.known import profile_of
from voxtral_ops.hardware.profile import Profile
from voxtral_ops.paths import Layout, default_layout
from voxtral_ops.planning import Goal, Plan, PlanOverrides, make_plan, preflight
from voxtral_ops.planning.compare import compare, render_comparison
from voxtral_ops.planning.explain import explain
from voxtral_ops.planning.plan import Setting
from voxtral_ops.planning.show import render

EXAMPLES = """examples:
  voxtral-ops plan                                what this machine should run, and why
  voxtral-ops plan explain --model mini-3b        the same in prose, for that model
  voxtral-ops plan compare                        every model on this machine, side by side
  voxtral-ops plan --gpu h100-80g --count 2       for GPUs that are not here (`voxtral-ops hardware known`)
  voxtral-ops plan --hardware host.json           for the machine whose `hardware --json` that is
  voxtral-ops plan --goal throughput              for another goal
  voxtral-ops plan --model mini-3b --model realtime-4b
  voxtral-ops plan --set max-model-len=16384      with one of vLLM's options fixed
  voxtral-ops plan --set mini-3b:max-num-seqs=8   fixed for one of several models
  voxtral-ops plan --check                        and check that nothing is in the way
"""
GOALS: tuple[Goal, ...] = get_args(Goal)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what may be asked for."""
    words = "show: a line a decision (the default); explain: in prose; compare: all models side by side"
    parser.add_argument("action", nargs="?", choices=["show", "explain", "compare"], default="show", help=words)
    parser.add_argument("--goal", choices=GOALS, default="balanced", help="what matters most (balanced)")
    parser.add_argument(
        "--model", action="append", default=[], metavar="NAME", help=f"one of {', '.join(catalog())}; may be repeated"
    )
    parser.add_argument("--port", type=int, help="where the first server listens; others follow")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="fix one of vLLM's options")
    parser.add_argument("--force", action="store_true", help="take what the arithmetic refuses, with a warning")
    parser.add_argument("--hardware", type=Path, metavar="FILE", help="a profile from `hardware --json`")
    parser.add_argument("--gpu", metavar="NAME", help="plan for this GPU, as h100-80g")
    parser.add_argument("--count", type=int, default=1, metavar="N", help="so many of them in one host")
    parser.add_argument("--release", type=Path, metavar="FILE", help="a release manifest, YAML or JSON")
    parser.add_argument("--check", action="store_true", help="check this machine against the plan")


def run(args: argparse.Namespace) -> int:
    """Plan and show it. Returns 1 where --check finds something in the way."""
    layout = default_layout()
    _check_options(args)
    profile = _profile(args, layout)
    overrides = _overrides(args)
    # Only servers of this very machine are this installation's.
    home = None if args.hardware or args.gpu else layout.home
    if args.action == "compare":
        rows = compare(profile, overrides, home)
        emit(args, [row.model_dump(mode="json") for row in rows], render_comparison(rows))
        return 0
    release = load_release(args.release) if args.release else None
    plan = make_plan(profile, release, overrides=overrides, home=home)
    if args.check:
        return _check(args, profile, plan, layout)
    if args.action == "explain":
        text = explain(plan, profile)
        emit(args, {"plan": plan.model_dump(mode="json"), "text": text}, text)
    else:
        emit(args, plan, render(plan))
    return 0


def _check_options(args: argparse.Namespace) -> None:
    """Refuse what would be ignored."""
    if args.hardware and args.gpu:
        raise ConfigurationError("--hardware and --gpu are two different machines", hint="name one of them")
    if args.count != 1 and not args.gpu:
        raise ConfigurationError("--count counts the GPUs of --gpu", hint="like --gpu h100-80g --count 2")
    if args.check and args.gpu:
        raise ConfigurationError("--check looks at a machine, and --gpu makes one up", hint="leave one of them out")
    if args.check and args.action != "show":
        raise ConfigurationError(f"--check goes with show, not with {args.action}", hint="voxtral-ops plan --check")
    if args.release and args.action == "compare":
        raise ConfigurationError("compare looks at the catalog, not at a release", hint="leave --release out")


def _check(args: argparse.Namespace, profile: Profile, plan: Plan, layout: Layout) -> int:
    findings = preflight(profile, plan, layout)
    lines = [f"{'ok ' if each.ok else 'BAD'}  {each.check}: {each.detail}" for each in findings]
    lines += [f"     cure for {each.check}: {each.hint}" for each in findings if each.hint]
    data = {
        "plan": plan.model_dump(mode="json"),
        "findings": [each.model_dump(mode="json") for each in findings],
    }
    emit(args, data, "\n".join([render(plan), "", *lines]))
    return 0 if all(each.ok for each in findings) else 1


def read_profile(path: Path) -> Profile:
    """Read a profile from a file. Raises ConfigurationError naming the file."""
    hint = "make one with `voxtral-ops hardware --json > host.json`"
    try:
        return Profile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}", hint=hint) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(
            f"{path} is not a profile: {where}{': ' if where else ''}{first['msg']}", hint=hint
        ) from error


def _profile(args: argparse.Namespace, layout: Layout) -> Profile:
    if args.gpu:
        return profile_of(args.gpu, args.count)
    if args.hardware:
        return read_profile(args.hardware)
    return look([layout.home, layout.models, layout.cache, layout.state])


def _overrides(args: argparse.Namespace) -> PlanOverrides:
    arguments: dict[str, Setting] = {}
    for word in args.set:
        name, sign, value = word.partition("=")
        if not sign:
            raise ConfigurationError(f"--set {word}: no value", hint="like --set max-model-len=16384")
        arguments[name] = _typed(value)
    try:
        return PlanOverrides(
            goal=args.goal, models=tuple(args.model), port=args.port, arguments=arguments, force=args.force
        )
    except ValidationError as error:
        raise ConfigurationError(f"--port {args.port}: a port is between 1 and 65535") from error


def _typed(value: str) -> str | int | float | bool:
    if value in {"true", "false"}:
        return value == "true"
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
