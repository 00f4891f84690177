"""`voxtral-ops up`: this machine becomes a Voxtral server, by the roles that provision a fleet, and proves it."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxtral_ops.cli.main import program_name
from voxtral_ops.cli.output import colour, emit, say
from voxtral_ops.cli.progress import Painter
from voxtral_ops.errors import ConfigurationError, HostError, VoxtralError
from voxtral_ops.paths import Layout, default_layout
from voxtral_ops.provisioning import Event, Project, find_links, find_project, run_playbook, run_playbook_raw

if TYPE_CHECKING:
    from voxtral_ops.catalog import CatalogModel
    from voxtral_ops.release import Release

EXAMPLES = """examples:
  voxtral-ops up                     the best model that fits and can be had; nano where there is no GPU
  voxtral-ops up --model mini-3b     a real one: asks the hub once and pins what it answers
  voxtral-ops up --check             say what would be done, and do nothing
  voxtral-ops up --ansible           watch Ansible's own output
"""

TITLES = {
    "voxtral_hardware": "looking at this machine",
    "voxtral_toolkit": "installing the toolkit",
    "voxtral_engine": "installing the engine",
    "voxtral_weights": "fetching and verifying the weights",
    "voxtral_server": "starting the server",
    "voxtral_whisper": "installing Whisper, the fallback",
}


@dataclass
class Run:
    """What a run has told so far. Filled from events; nothing else changes it."""

    plan: Mapping[str, Any] | None = None
    gate: Mapping[str, Any] | None = None
    failure: Mapping[str, Any] | None = None
    failed_task: str = ""
    changed: int = 0
    code: int = 2
    words: str = ""


def configure(parser: argparse.ArgumentParser) -> None:
    """What to serve and how to show it."""
    parser.add_argument("--model", help="nano, mini-3b, small-24b or realtime-4b (the best that fits and can be had)")
    parser.add_argument("--goal", choices=["latency", "throughput", "balanced", "longest-audio"], help="(balanced)")
    parser.add_argument("--port", type=int, help="the port on 127.0.0.1 (8000)")
    parser.add_argument("--whisper-weights", metavar="DIR", help="a folder that already holds Whisper tiny.en")
    parser.add_argument("--check", action="store_true", help="change nothing, say what would change")
    parser.add_argument("--ansible", action="store_true", help="show Ansible's own output")


def run(args: argparse.Namespace) -> int:
    """Provision this machine, prove it, and say how to use it."""
    began = time.monotonic()
    project, layout = find_project(), default_layout()
    release, why = _release(args.model, project)
    say(f"model: {', '.join(model.name for model in release.models)} ({why})")
    variables = _variables(args, layout, release)
    playbook = project.playbooks / "site.yml"
    options = ["--check", "--diff"] if args.check else []
    if args.ansible:
        return 0 if run_playbook_raw(playbook, project.inventory, variables, options) == 0 else 2
    outcome, painter = _drawn(project, playbook, variables, options)
    if outcome.code:
        raise _failure(outcome)
    phases = [vars(phase) for phase in painter.phases]
    seconds = round(time.monotonic() - began, 1)
    if args.check:
        text = f"{outcome.changed} things would change; nothing was touched"
        emit(args, {"ok": True, "check": True, "would_change": outcome.changed, "phases": phases}, text)
        return 0
    data = {"ok": True, "changed": outcome.changed, "seconds": seconds, "phases": phases, "plan": outcome.plan}
    data |= {"gate": outcome.gate, "words": outcome.words, **_use(outcome)}
    emit(args, data, _manual(outcome, seconds))
    return 0


def _drawn(project: Project, playbook: Path, variables: Mapping[str, Any], options: list[str]) -> tuple[Run, Painter]:
    outcome = Run()
    with Painter() as painter:
        for event in run_playbook(playbook, project.inventory, variables, options):
            _take(outcome, painter, event)
        painter.finish(failed=outcome.code != 0)
    return outcome, painter


def _take(outcome: Run, painter: Painter, event: Event) -> None:
    """Let one event change what is known and what is drawn."""
    if event.kind == "task":
        if event.role in TITLES:
            painter.begin(_title(event.role, outcome))
        painter.message(event.task.partition("|")[2].strip() or event.task)
    elif event.kind == "progress":
        painter.message(str(event.data.get("message", "")), event.data.get("fraction"))
    elif event.kind in {"ok", "changed"}:
        if event.kind == "changed":
            outcome.changed += 1
            painter.changed()
        _learn(outcome, painter, event.data.get("result", {}))
    elif event.kind in {"failed", "unreachable"} and not event.data.get("ignored"):
        outcome.failure, outcome.failed_task = event.data.get("result", {}), event.task
    elif event.kind == "text":
        outcome.failure = outcome.failure or {"msg": event.data["text"]}
    elif event.kind == "end":
        outcome.code = int(event.data["rc"])
        if outcome.code and not outcome.failure:
            outcome.failure = {"msg": event.data["stderr"] or f"ansible-playbook ended with {outcome.code}"}


def _title(role: str, outcome: Run) -> str:
    title = TITLES[role]
    if role == "voxtral_engine" and outcome.plan:
        return f"{title}: vLLM {outcome.plan['engine']}, {outcome.plan['build']} build"
    return title


def _learn(outcome: Run, painter: Painter, result: Mapping[str, Any]) -> None:
    plan = result.get("voxtral_hardware_plan")
    if plan and outcome.plan is None:
        outcome.plan = plan
        for line in _decisions(plan):
            painter.decided(line)
    gate = result.get("voxtral_gate")
    if gate and outcome.gate is None:
        outcome.gate = gate
        outcome.words = _best_words(gate)
        if outcome.words:
            painter.decided(f"{colour('the server heard:', '2')} {colour(outcome.words, '1')}")


def _decisions(plan: Mapping[str, Any]) -> list[str]:
    lines = [f"{key}: {plan[key]}, {reason}" for key, reason in plan["reasons"].items() if key in plan]
    for instance in plan["instances"]:
        memory = instance["memory"]
        lines.append(f"model: {instance['model']}, {instance['reasons'].get('model', '')}")
        taken = sum(memory[part] for part in ("weights", "kv_cache", "encoder", "graphs", "runtime"))
        lines.append(f"memory: {taken / 2**30:.1f} GiB of {memory['limit'] / 2**30:.1f} GiB")
    return [*lines, *(f"note: {warning}" for warning in plan.get("warnings", ()))]


def _best_words(gate: Mapping[str, Any]) -> str:
    clips = gate.get("clips") or []
    return str(clips[0].get("text", "")) if clips else ""


def _release(name: str | None, project: Project) -> tuple[Release, str]:
    """What to serve: what was asked for, what was pinned before, or the best that fits and can be had."""
    from voxtral_ops.catalog import catalog, catalog_model  # noqa: PLC0415
    from voxtral_ops.release import default_release  # noqa: PLC0415

    pinned = project.inventory / "group_vars" / "all" / "release.yml"
    if name is not None:
        model = catalog_model(name)
        if model.bundled:
            pinned.unlink(missing_ok=True)
            return default_release((model.name,)), "asked for; shipped with voxtral_ops"
        return _pinned(model, pinned), f"asked for; pinned in {pinned}"
    if pinned.is_file():
        return _read_pinned(pinned), f"pinned in {pinned}"
    from voxtral_ops.hardware import look  # noqa: PLC0415
    from voxtral_ops.planning import choose_model  # noqa: PLC0415

    best, reasons = choose_model(look(), tuple(catalog()), home=default_layout().home)
    why = "; ".join(reasons)
    if not catalog_model(best).bundled:
        try:
            return _pinned(catalog_model(best), pinned), why
        except VoxtralError as error:
            why = f"{best} would fit but cannot be had: {error.message}"
    return default_release(), why


def _read_pinned(path: Path) -> Release:
    import yaml  # noqa: PLC0415

    from voxtral_ops.release import parse_release  # noqa: PLC0415

    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))["voxtral_release"]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{path} holds no voxtral_release", hint=f"remove it, or mend it by hand: {error}"
        ) from error
    return parse_release(raw, str(path))


def _pinned(model: CatalogModel, path: Path) -> Release:
    """Ask the hub once which revision and which hashes, show them, and keep them: from then on only they count."""
    import yaml  # noqa: PLC0415

    from voxtral_ops.release import ENGINE_VERSION, Release  # noqa: PLC0415
    from voxtral_ops.weights import pin  # noqa: PLC0415

    if path.is_file():
        release = _read_pinned(path)
        if release.models[0].name == model.name:
            return release
    pinned = pin(model)
    say(f"pinned {pinned.repository} at {pinned.revision}")
    for file in pinned.files:
        say(f"  {file.sha256}  {file.size:>14,}  {file.path}")
    release = Release(engine=ENGINE_VERSION, models=(pinned,))
    text = yaml.safe_dump({"voxtral_release": release.model_dump(mode="json")}, sort_keys=False)
    _write(path, f"# What this machine serves, as the hub answered when it was first asked. Made by `up`.\n---\n{text}")
    return release


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    Path(stream.name).chmod(0o644)
    Path(stream.name).replace(path)


def _variables(args: argparse.Namespace, layout: Layout, release: Release) -> dict[str, Any]:
    """What the roles are told about this machine; everything else is their defaults."""
    links = list(find_links())
    variables: dict[str, Any] = {
        "voxtral_release": release.model_dump(mode="json"),
        "voxtral_hardware_layout": {key: str(value) for key, value in vars(layout).items()},
        "voxtral_hardware_overrides": {"port": args.port} if args.port else {},
        "voxtral_toolkit_uv": shutil.which("uv", path=str(Path(sys.executable).parent)) or "",
        "voxtral_toolkit_find_links": links,
        "voxtral_engine_find_links": links,
        "voxtral_whisper_find_links": links,
    }
    if args.goal:
        variables["voxtral_hardware_goal"] = args.goal
    if args.whisper_weights:
        variables["voxtral_whisper_weights_source"] = str(Path(args.whisper_weights).absolute())
    return variables


def _failure(outcome: Run) -> VoxtralError:
    """The error of a run that failed: the module's own words first, Ansible's where there are none."""
    failure = outcome.failure or {}
    message = str(failure.get("msg") or failure.get("stderr") or "the run failed and did not say why")
    hint = str(failure.get("hint") or f"the same with Ansible's own output: {program_name()} up --ansible")
    where = {"task": outcome.failed_task} if outcome.failed_task else {}
    return HostError(message, hint=hint, **where)


def _use(outcome: Run) -> dict[str, str]:
    """The lines that use the server, each to be pasted as it is."""
    from voxtral_ops.server.golden import golden_clips  # noqa: PLC0415

    if not outcome.plan:
        return {}
    instance = outcome.plan["instances"][0]
    endpoint = f"http://{instance['host']}:{instance['port']}/v1"
    clip = str(golden_clips()[0].path)
    served = instance["served_name"]
    python = (
        f'from openai import OpenAI; client = OpenAI(base_url="{endpoint}", api_key="none"); '
        f'print(client.audio.transcriptions.create(model="{served}", file=open({json.dumps(clip)}, "rb")).text)'
    )
    return {
        "endpoint": endpoint,
        "curl": f"curl -sS {endpoint}/audio/transcriptions -F model={served} -F file=@{shlex.quote(clip)}",
        "openai": f"{shlex.quote(sys.executable)} -c {shlex.quote(python)}",
    }


def _manual(outcome: Run, seconds: float) -> str:
    """What a person reads at the end: the words, and how to go on."""
    use = _use(outcome)
    did = f"{outcome.changed} things changed" if outcome.changed else "nothing had to be changed"
    lines = ["", f"  {outcome.words}", ""]
    lines += [f"ready in {seconds:.0f} s; {did}", "", f"endpoint    {use.get('endpoint', '')}"]
    others = outcome.plan["instances"][1:] if outcome.plan else []
    lines += [f"            http://{each['host']}:{each['port']}/v1 ({each['name']})" for each in others]
    lines += [f"transcribe  {program_name()} transcribe FILE", f"curl        {use.get('curl', '')}"]
    lines += [f"openai      {use.get('openai', '')}", f"stop it     {program_name()} down"]
    return "\n".join(lines)
