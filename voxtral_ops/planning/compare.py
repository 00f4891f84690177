"""Every model of the catalog on one host, side by side: what it would get there, or the number that fails."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from voxtral_ops.catalog import catalog, catalog_model
from voxtral_ops.errors import VoxtralError
from voxtral_ops.hardware.profile import Profile
from voxtral_ops.planning.make import make_plan
from voxtral_ops.planning.memory import gib
from voxtral_ops.planning.overrides import PlanOverrides
from voxtral_ops.planning.plan import Instance, Plan

ROWS = (
    "fits",
    "engine",
    "weights",
    "GPUs",
    "servers",
    "context",
    "longest audio",
    "30 s clips",
    "30 min files",
    "live sessions",
    "weights take",
    "encoder",
    "graphs, runtime",
    "cache",
    "spare",
    "of",
)


class Row(BaseModel):
    """One model on the host: its plan, or why it has none and what would change that."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    fits: bool
    problem: str = ""
    hint: str = ""
    plan: Plan | None = None


def compare(profile: Profile, overrides: PlanOverrides | None = None, home: Path | None = None) -> tuple[Row, ...]:
    """Plan every model alone on this host, or each of those that were asked for."""
    overrides = overrides or PlanOverrides()
    rows = []
    for name in dict.fromkeys(catalog_model(name).name for name in overrides.models or catalog()):
        alone = overrides.model_copy(update={"models": (name,)})
        try:
            plan = make_plan(profile, None, overrides=alone, home=home)
        except VoxtralError as error:
            rows.append(Row(model=name, fits=False, problem=error.message, hint=error.hint))
        else:
            rows.append(Row(model=name, fits=True, plan=plan))
    return tuple(rows)


def render_comparison(rows: tuple[Row, ...]) -> str:
    """Write the comparison for a person: a column a model, then what fails."""
    columns = [_column(row) for row in rows]
    widths = [max(len(row.model), *(len(cell) for cell in column)) for row, column in zip(rows, columns, strict=True)]
    first = max(map(len, ROWS))
    lines = [" " * first + "".join(f"  {row.model:>{width}}" for row, width in zip(rows, widths, strict=True))]
    for number, name in enumerate(ROWS):
        cells = "".join(f"  {column[number]:>{width}}" for column, width in zip(columns, widths, strict=True))
        lines.append(f"{name:<{first}}{cells}")
    lines += ["", "Clips, files and sessions are those of all its servers together; sizes are those of each GPU."]
    for row in rows:
        if not row.fits:
            lines += ["", row.problem if row.model in row.problem else f"{row.model}: {row.problem}", f"  {row.hint}"]
    return "\n".join(lines)


def _column(row: Row) -> list[str]:
    if row.plan is None:
        return ["no", *["-"] * (len(ROWS) - 1)]
    first, memory = row.plan.instances[0], row.plan.instances[0].memory
    capacities = [instance.capacity for instance in row.plan.instances]
    sessions = sum(each.sessions for each in capacities)
    return [
        "forced" if any(warning.startswith("forced") for warning in row.plan.warnings) else "yes",
        f"{row.plan.engine} {row.plan.build}",
        _precision(first),
        str(len(first.gpus)) if first.gpus else "CPU",
        str(len(row.plan.instances)),
        str(first.arguments["max-model-len"]),
        f"{first.capacity.longest_audio // 60} min",
        str(sum(each.clips for each in capacities)),
        str(sum(each.files for each in capacities)),
        str(sessions) if "sessions" in first.reasons else "-",
        gib(memory.weights),
        gib(memory.encoder),
        gib(memory.graphs + memory.runtime),
        gib(memory.kv_cache),
        gib(memory.spare),
        gib(memory.limit),
    ]


def _precision(instance: Instance) -> str:
    return str(instance.arguments.get("quantization", instance.arguments["dtype"]))
