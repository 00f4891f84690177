"""`voxtral-ops release`: pin models to a revision and the hash of every file."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from voxtral_ops.catalog import catalog, catalog_model
from voxtral_ops.cli.output import emit, say
from voxtral_ops.errors import ConfigurationError, HostError, ReleaseError
from voxtral_ops.release import ENGINE_VERSION, Release, ReleaseModel, parse_release

EXAMPLES = """examples:
  voxtral-ops release lock mini-3b                        ask the hub, print the manifest
  voxtral-ops release lock mini-3b --output release.yml   and keep it
  voxtral-ops release lock nano --json                    the shipped checkpoint, as JSON
  voxtral-ops release show release.yml                    what a manifest names
"""
KEY = "voxtral_release"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the two actions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="lock|show")
    lock = actions.add_parser("lock", help="ask the hub for revisions and hashes", allow_abbrev=False)
    lock.add_argument("models", nargs="+", metavar="MODEL", help=f"of {', '.join(catalog())}; the first is served")
    lock.add_argument("--engine", default=ENGINE_VERSION, help="the version of vLLM (%(default)s)")
    lock.add_argument("--older", action="store_true", help="agree to an older revision than the one in FILE")
    lock.add_argument("--output", type=Path, metavar="FILE", help="write there instead of printing")
    show = actions.add_parser("show", help="check a manifest and say what it names", allow_abbrev=False)
    show.add_argument("file", type=Path)
    for action in (lock, show):
        # Also behind the action's own words, where people write them.
        action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        action.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Lock or show."""
    if args.action == "show":
        release = load_release(args.file)
        emit(args, release, describe(release))
        return 0
    from voxtral_ops.weights import pin  # noqa: PLC0415

    _check_engine(args.engine)
    models = tuple(pin(catalog_model(name)) for name in args.models)
    if args.output is not None and args.output.exists() and not args.older:
        _refuse_going_back(load_release(args.output), models, args.output)
    release = Release(engine=args.engine, models=models)
    as_json = args.json or (args.output is not None and args.output.suffix == ".json")
    text = written(release, as_json=as_json)
    if args.output is None:
        emit(args, release, text.rstrip())
        return 0
    write_text(args.output, text)
    say(f"{args.output}: {describe(release)}")
    emit(args, release, "")
    return 0


def _check_engine(version: str) -> None:
    from voxtral_ops.planning.builds import requirements  # noqa: PLC0415

    known = list(dict.fromkeys(name for row in requirements().values() for name in row.engines))
    if version not in known:
        raise ConfigurationError(f"no engine {version} is locked here", hint=f"known engines: {', '.join(known)}")


def _refuse_going_back(before: Release, models: tuple[ReleaseModel, ...], path: Path) -> None:
    """A mirror that is behind, or one that lies, offers an old revision as the newest."""
    from voxtral_ops.weights import is_older  # noqa: PLC0415

    for old in before.models:
        for new in models:
            if new.repository == old.repository and is_older(new, old):
                raise ReleaseError(
                    f"the hub's newest {new.repository} is {new.revision[:12]} of {new.published:%Y-%m-%d}, older than "
                    f"{old.revision[:12]} of {old.published:%Y-%m-%d} in {path}",
                    hint="is HF_ENDPOINT a mirror that is behind? If going back is meant: --older",
                    revision=new.revision,
                    locked=old.revision,
                )


def describe(release: Release) -> str:
    """Say in short what a release names."""
    lines = [f"vLLM {release.engine}"]
    for model in release.models:
        when = f" of {model.published:%Y-%m-%d}" if model.published else ""
        lines.append(f"{model.name}: {model.repository} at {model.revision}{when}, {model.size:,} bytes")
        lines += [f"  {file.sha256}  {file.size:>14,}  {file.path}" for file in model.files]
    return "\n".join(lines)


def written(release: Release, *, as_json: bool) -> str:
    """Write a manifest as it goes into an inventory: YAML, or JSON, which is YAML as well."""
    data = {KEY: release.model_dump(mode="json", exclude_none=True)}
    if as_json:
        return json.dumps(data, indent=2) + "\n"
    import yaml  # noqa: PLC0415 - comes with Ansible, where inventories are written

    head = "# Exactly what runs: made by `voxtral-ops release lock`. Upgrading is making it anew.\n---\n"
    return head + yaml.safe_dump(data, sort_keys=False)


def load_release(path: Path) -> Release:
    """Read a manifest, YAML or JSON, with or without the inventory's key around it."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}", hint="make one: voxtral-ops release lock") from error
    raw = _parsed(text, path)
    if isinstance(raw, dict) and KEY in raw:
        raw = raw[KEY]
    if not isinstance(raw, dict):
        raise ConfigurationError(f"{path} is not a release", hint="make one: voxtral-ops release lock")
    return parse_release(raw, str(path))


def _parsed(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        import yaml  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(f"{path} is not JSON, and YAML cannot be read here", hint="use JSON") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is neither JSON nor YAML: {' '.join(str(error).split())}") from error


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise HostError(f"{path.parent}: {error.strerror}", hint="choose a directory that can be written") from error
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    Path(name).chmod(0o644)
    Path(name).replace(path)
