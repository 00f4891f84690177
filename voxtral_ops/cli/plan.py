"""`voxtral-ops plan`: what a machine should run, and why."""

from __future__ import annotations

import argparse
from pathlib import Path

from voxtral_ops.catalog import catalog, catalog_model
from voxtral_ops.cli.output import emit, say
from voxtral_ops.cli.release import load_release
from voxtral_ops.errors import ConfigurationError, VoxtralError
from voxtral_ops.hardware import look
from voxtral_ops.hardware.profile import Profile
from voxtral_ops.paths import default_layout
from voxtral_ops.planning import PlanOverrides, choose_model, make_plan, preflight
from voxtral_ops.planning.plan import Setting
from voxtral_ops.planning.show import render
from voxtral_ops.release import ENGINE_VERSION, Release, default_release

EXAMPLES = """examples:
  voxtral-ops plan                                what this machine should run, and why
  voxtral-ops plan --model mini-3b                what that model would need here
  voxtral-ops plan --hardware host.json           for the machine whose `hardware --json` that is
  voxtral-ops plan --set max-model-len=16384      with one of vLLM's options fixed
  voxtral-ops plan --check                        and check that nothing is in the way
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what may be asked for."""
    parser.add_argument("action", nargs="?", choices=["show"], default="show", help="the default")
    parser.add_argument("--model", metavar="NAME", help=f"one of {', '.join(catalog())}")
    parser.add_argument("--port", type=int, help="where the server listens")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="fix one of vLLM's options")
    parser.add_argument("--hardware", type=Path, metavar="FILE", help="a profile from `hardware --json`")
    parser.add_argument("--release", type=Path, metavar="FILE", help="a release manifest, YAML or JSON")
    parser.add_argument("--check", action="store_true", help="check this machine against the plan")


def run(args: argparse.Namespace) -> int:
    """Plan and show it. Returns 1 where --check finds something in the way."""
    layout = default_layout()
    places = [layout.home, layout.models, layout.cache, layout.state]
    profile = read_profile(args.hardware) if args.hardware else look(places)
    overrides = _overrides(args)
    release = load_release(args.release) if args.release else _release(profile, args.model)
    plan = make_plan(profile, release, overrides=overrides)
    if not args.check:
        emit(args, plan, render(plan))
        return 0
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
    try:
        return Profile.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise ConfigurationError(
            f"{path} is not a profile: {first}", hint="make one with `voxtral-ops hardware --json > host.json`"
        ) from error


def _overrides(args: argparse.Namespace) -> PlanOverrides:
    arguments: dict[str, Setting] = {}
    for word in args.set:
        name, sign, value = word.partition("=")
        if not sign:
            raise ConfigurationError(f"--set {word}: no value", hint="like --set max-model-len=16384")
        arguments[name] = _typed(value)
    try:
        return PlanOverrides(model=args.model, port=args.port, arguments=arguments)
    except ValueError as error:
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


def _release(profile: Profile, name: str | None) -> Release:
    """Without a manifest: the model that was asked for, or the best that fits and can be had."""
    from voxtral_ops.weights import pin  # noqa: PLC0415

    wanted = name or choose_model(profile, tuple(catalog()))[0]
    model = catalog_model(wanted)
    if model.bundled:
        return default_release((model.name,))
    try:
        return Release(engine=ENGINE_VERSION, models=(pin(model),))
    except VoxtralError as error:
        if name is not None:
            raise
        say(f"{wanted} would fit but cannot be had: {error.message}")
        return default_release()
