"""A plan as text: every decision with its reason, the memory as a table with bars, and what can be served."""

from __future__ import annotations

import json
from collections.abc import Iterator

from voxtral_ops.planning.memory import gib
from voxtral_ops.planning.plan import PARTS, Instance, Memory, Plan, Setting

BAR = 40
HIDDEN_WHEN_NONE = {"graphs", "others", "neighbours"}


def decisions(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """Go through the plan one decision at a time: what, the value, why."""
    yield "goal", plan.goal, plan.reasons["goal"]
    yield "engine", f"vLLM {plan.engine}, build {plan.build}", plan.reasons["build"]
    for instance in plan.instances:
        yield "model", instance.name, f"{plan.reasons['model']}; {instance.reasons['model']}"
        yield "gpus", _gpus(instance), instance.reasons["gpus"]
        for name, value in instance.arguments.items():
            yield f"--{name}", _written(value), instance.reasons[name]
        if "quantization" not in instance.arguments and "quantization" in instance.reasons:
            yield "quantization", "none", instance.reasons["quantization"]
        yield "encoder budget", gib(instance.memory.encoder), instance.reasons["encoder"]
        for name, text in instance.environment.items():
            yield name, text, instance.reasons[name]
        yield from _capacity(instance)


def render(plan: Plan) -> str:
    """Write the plan for a person."""
    rows = list(decisions(plan))
    name_width = max(len(name) for name, _, _ in rows)
    value_width = min(28, max(len(value) for _, value, _ in rows))
    lines = [f"release {plan.release}"]
    for name, value, why in rows:
        if name in {"goal", "model"}:
            lines.append("")
        lines.append(f"  {name:<{name_width}}  {value:<{value_width}}  {why}")
    for instance in plan.instances:
        lines += ["", *budget(instance)]
    if plan.warnings:
        lines += ["", *(f"warning: {warning}" for warning in plan.warnings)]
    return "\n".join(lines)


def budget(instance: Instance) -> list[str]:
    """Write the memory of an instance as a table with bars."""
    memory = instance.memory
    where = "each GPU" if len(instance.gpus) > 1 else "its GPU" if instance.gpus else "the host"
    lines = [f"memory of {instance.name} ({where}, {gib(memory.limit)})"]
    for part in PARTS:
        size: int = getattr(memory, part)
        if size or part not in HIDDEN_WHEN_NONE:
            lines.append(f"  {part.replace('_', ' '):<10}{gib(size):>11}  {_bar(memory, part)}".rstrip())
    return lines


def _bar(memory: Memory, part: str) -> str:
    sizes: list[int] = [max(0, getattr(memory, other)) for other in PARTS]
    before, size = sum(sizes[: PARTS.index(part)]), sizes[PARTS.index(part)]
    start, end = BAR * before // memory.limit, BAR * (before + size) // memory.limit
    sign: str = {"spare": "·", "others": "▒", "neighbours": "▒"}.get(part, "█")
    return " " * min(start, BAR) + sign * max(0, min(end, BAR) - start)


def _capacity(instance: Instance) -> Iterator[tuple[str, str, str]]:
    capacity, reasons = instance.capacity, instance.reasons
    yield "clips of 30 s at once", str(capacity.clips), reasons["clips"]
    yield "files of 30 min at once", str(capacity.files), reasons["files"]
    if "sessions" in reasons:
        yield "live sessions at once", str(capacity.sessions), reasons["sessions"]
    longest = f"{capacity.longest_audio // 60} min {capacity.longest_audio % 60:02} s"
    yield "longest audio", longest, reasons["longest-audio"]


def _gpus(instance: Instance) -> str:
    return ",".join(map(str, instance.gpus)) or "none"


def _written(value: Setting) -> str:
    if value is True:
        return "yes"
    return json.dumps(value) if isinstance(value, dict) else str(value)
