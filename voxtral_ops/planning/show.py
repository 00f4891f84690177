"""A plan as text: every decision with its reason, and the memory as a table."""

from __future__ import annotations

import json
from collections.abc import Iterator

from voxtral_ops.planning.memory import gib
from voxtral_ops.planning.plan import Instance, Plan, Setting


def decisions(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """Go through the plan one decision at a time: what, the value, why."""
    yield "engine", f"vLLM {plan.engine}, build {plan.build}", plan.reasons["build"]
    for instance in plan.instances:
        yield "model", instance.model, f"{plan.reasons['model']}; {instance.reasons['model']}"
        yield "gpus", _gpus(instance), instance.reasons["gpus"]
        for name, value in instance.arguments.items():
            yield f"--{name}", _written(value), instance.reasons[name]
        for name, text in instance.environment.items():
            yield name, text, instance.reasons[name]


def render(plan: Plan) -> str:
    """Write the plan for a person."""
    rows = list(decisions(plan))
    name_width = max(len(name) for name, _, _ in rows)
    value_width = min(28, max(len(value) for _, value, _ in rows))
    lines = [f"release {plan.release}", ""]
    lines += [f"  {name:<{name_width}}  {value:<{value_width}}  {why}" for name, value, why in rows]
    for instance in plan.instances:
        lines += ["", *_memory(instance)]
    lines += [f"warning: {warning}" for warning in plan.warnings]
    return "\n".join(lines)


def _memory(instance: Instance) -> list[str]:
    memory, where = instance.memory, "each GPU" if instance.gpus else "host"
    parts = ("weights", "kv_cache", "encoder", "runtime", "total", "limit")
    head = f"memory of {instance.name} ({where})"
    return [head, *(f"  {part.replace('_', ' '):<9}{gib(getattr(memory, part)):>11}" for part in parts)]


def _gpus(instance: Instance) -> str:
    return ",".join(map(str, instance.gpus)) or "none"


def _written(value: Setting) -> str:
    if value is True:
        return "yes"
    return json.dumps(value) if isinstance(value, dict) else str(value)
