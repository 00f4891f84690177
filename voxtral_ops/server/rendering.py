"""What an instance's directory says, from the role's own templates: one rendering for hosts, tests and the judge."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxtral_ops.planning.plan import Instance

if TYPE_CHECKING:
    from jinja2 import Environment


def render(templates: Path | str, name: str, **values: Any) -> str:
    """Fill one of the role's templates."""
    return _environment(str(templates)).get_template(name).render(**values)


def instance_files(instance: Instance, templates: Path | str) -> dict[str, str]:
    """The files of ``instances/<name>/``: name to text."""
    return {
        "server.yaml": render(templates, "server.yaml.j2", instance=instance),
        "env": render(templates, "env.j2", instance=instance),
        "instance.json": instance.model_dump_json(indent=2) + "\n",
    }


@cache
def _environment(templates: str) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415

    # Not HTML: what is written are YAML, environment and unit files, and every value is quoted for its own format.
    environment = Environment(  # noqa: S701
        loader=FileSystemLoader(templates),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["to_json"] = json.dumps
    return environment
