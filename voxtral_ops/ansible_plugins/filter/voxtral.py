"""Filters: one-line doors from the roles to the package, which does the thinking on the controller."""

# Ansible wants the documentation above the imports, and the package may be absent where this runs.
# ruff: noqa: PLC0415

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from ansible.errors import AnsibleFilterError

# The package that this plugin belongs to, whether it is installed beside Ansible or lies in a checkout.
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))


def _plain(value):
    # Ansible hands a filter containers whose items are templated when they are asked for.
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _profile(raw: dict):
    from voxtral_ops.hardware.profile import Profile

    return Profile.model_validate(_plain(raw))


def _plan(raw: dict):
    from voxtral_ops.planning.plan import Plan

    return Plan.model_validate(_plain(raw))


def _version(text: str) -> tuple:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())


def voxtral_interpreter(raw_profile: dict, wanted: str, scope: str) -> str:
    """The interpreter for an environment: ``wanted`` is ``3.11`` (exactly) or ``>=3.11`` (the newest one).

    For a whole system it must lie below /usr, where a service's user can read it. A host that has none yet gets its
    distribution's, if that fits; otherwise the answer is the version alone, for the installer to look for.
    """
    from voxtral_ops.hardware.systems import find_system

    profile = _profile(raw_profile)
    least = _version(wanted.removeprefix(">="))

    def fits(version: str) -> bool:
        return _version(version) >= least if wanted.startswith(">=") else _version(version) == least

    found = [
        item
        for item in profile.interpreters
        if fits(item.version) and (scope == "user" or item.path.startswith("/usr/"))
    ]
    if found:
        return max(found, key=lambda item: (_version(item.version), item.venv, item.path.startswith("/usr/bin/"))).path
    system = find_system(profile)
    if system and fits(system.python) and profile.privileged:
        return f"/usr/bin/python{system.python}"
    return wanted.removeprefix(">=")


def voxtral_packages(raw_profile: dict, build: str | None = None, interpreter: str | None = None) -> list:
    """The packages that this host lacks: for an engine of ``build``, or to make environments with ``interpreter``."""
    from voxtral_ops.hardware.systems import find_system, required_needs

    profile = _profile(raw_profile)
    system = find_system(profile)
    if system is None:
        return []
    here = {
        "numa": profile.libraries.get("libnuma.so.1", False),
        "compiler": profile.compiler is not None,
        "certificates": profile.certificates,
    }
    needs = [need for need in required_needs(build) if not here.get(need)] if build else []
    if (
        interpreter
        and interpreter.startswith("/usr/bin/")
        and not any(item.path == interpreter and item.venv for item in profile.interpreters)
    ):
        needs.append("venv")
    return [package for need in needs for package in system.packages[need].split()]


def voxtral_id(text_path: str) -> str:
    """The first eight digits of a lock's sha256."""
    return hashlib.sha256(Path(text_path).read_bytes()).hexdigest()[:8]


def voxtral_seeds(urls: list, mine: str) -> list:
    """Which hosts to take weights from, best first: a tree, so that the first host does not have to serve them all.

    Hosts are served in their order, so those with half one's place have theirs already; the last resort is the first.
    """
    place, seeds = urls.index(mine), []
    while place:
        place //= 2
        seeds.append(urls[place])
    return seeds


def voxtral_release_tree(  # noqa: PLR0913, PLR0917 - a filter has positions only
    raw_plan: dict, models: list, templates: str, layout: dict, engine: str, toolkit: str
) -> dict:
    """Everything below ``releases/<id>``: ``files`` (path to text) and ``links`` (path to target)."""
    from voxtral_ops.server.rendering import instance_files

    plan = _plan(raw_plan)
    pinned = {model["name"]: f"{layout['models']}/{model['repository']}/{model['revision']}" for model in models}
    files = {"plan.json": plan.model_dump_json(indent=2) + "\n"}
    links = {"toolkit": toolkit}
    for instance in plan.instances:
        folder = f"instances/{instance.name}"
        files |= {f"{folder}/{name}": text for name, text in instance_files(instance, templates).items()}
        links[f"{folder}/engine"] = engine
        links[f"{folder}/model"] = pinned[instance.model]
    return {"files": files, "links": links}


def voxtral_units(raw_plan: dict, templates: str, layout: dict, user: str, ready_seconds: int) -> dict:
    """The systemd units of a plan: name to text."""
    from voxtral_ops.server.rendering import render

    plan = _plan(raw_plan)
    return {
        f"voxtral-engine@{plan.release}-{instance.name}.service": render(
            templates,
            "engine.service.j2",
            instance=instance,
            plan=plan,
            layout=layout,
            user=user,
            ready_seconds=ready_seconds,
            release=f"{layout['home']}/releases/{plan.release}",
            drain_seconds=int(instance.arguments.get("shutdown-timeout", 0)),
        )
        for instance in plan.instances
    }


def voxtral_unit_instances(raw_plan: dict, layout: dict) -> dict:
    """The instances' directories by the units' names."""
    plan = _plan(raw_plan)
    folder = f"{layout['home']}/releases/{plan.release}/instances"
    return {
        f"voxtral-engine@{plan.release}-{instance.name}.service": f"{folder}/{instance.name}"
        for instance in plan.instances
    }


def _clear(function):
    """A filter whose deliberate errors reach the operator as message and hint."""

    def wrapped(*arguments, **options):
        from voxtral_ops.errors import VoxtralError

        try:
            return function(*arguments, **options)
        except VoxtralError as error:
            raise AnsibleFilterError(f"{error.message}. {error.hint}") from error

    wrapped.__doc__ = function.__doc__
    return wrapped


class FilterModule:
    """What Ansible asks a filter plugin for."""

    def filters(self) -> dict:
        functions = (
            voxtral_interpreter,
            voxtral_packages,
            voxtral_id,
            voxtral_seeds,
            voxtral_release_tree,
            voxtral_units,
            voxtral_unit_instances,
        )
        return {function.__name__: _clear(function) for function in functions}
