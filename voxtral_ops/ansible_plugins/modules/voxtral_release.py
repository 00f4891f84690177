"""Ansible module: a release's directory on a host, and the one link that says which release is served."""

# Ansible wants the documentation above the imports, and the package may be absent where this runs.
# ruff: noqa: E402

from __future__ import annotations

DOCUMENTATION = r"""
module: voxtral_release
short_description: Write a release's directory, or make a release the current one
description:
  - Writes O(files) and O(links) below O(path), each by a temporary name and a rename, and removes what is there
    besides.
  - With O(current), points that link at O(path) in one step, after everything else is in place.
options:
  path:
    description: The release's directory.
    type: path
    required: true
  files:
    description: Relative path to text.
    type: dict
    required: true
  links:
    description: Relative path to target.
    type: dict
    default: {}
  current:
    description: The link that names the release that is served. Its target is written relative to it.
    type: path
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: voxtral_ops
"""

EXAMPLES = r"""
- name: Write the release
  voxtral_release:
    path: /opt/voxtral/releases/0.32.0-nano-1a2b3c4d
    files: {plan.json: "{}"}
    links: {toolkit: /opt/voxtral/toolkits/0.1.0-1a2b3c4d}
    current: /opt/voxtral/current
"""

RETURN = r"""
voxtral_release:
  description: The paths that were written, linked or removed.
  type: list
  elements: str
  returned: always
  sample: [plan.json, instances/main/server.yaml]
"""

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule


def is_now(path: Path, kind: str, wanted: str) -> bool:
    """Whether the file holds that text, or the link points there."""
    if kind == "link":
        return path.is_symlink() and str(path.readlink()) == wanted
    return path.is_file() and not path.is_symlink() and path.read_text(encoding="utf-8") == wanted


def write(path: Path, kind: str, wanted: str) -> None:
    """One file or link, wholly or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Always the same name: what a kill leaves here is used up by the next run.
    new = path.with_name(f".new-{path.name}")
    new.unlink(missing_ok=True)
    try:
        if kind == "link":
            new.symlink_to(wanted)
        else:
            with new.open("w", encoding="utf-8") as stream:
                stream.write(wanted)
                stream.flush()
                os.fsync(stream.fileno())
            new.chmod(0o644)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def surplus(root: Path, wanted: set) -> list:
    """Files and links below ``root`` that belong to nobody any more; ``verdict`` is the host's own."""
    found = []
    for folder, names, files in os.walk(root):
        links = [name for name in names if (Path(folder) / name).is_symlink()]
        found += [(Path(folder) / name).relative_to(root).as_posix() for name in [*files, *links]]
    return sorted(set(found) - wanted - {"verdict"})


def main() -> None:
    """Compare, and write what differs."""
    arguments = {
        "path": {"type": "path", "required": True},
        "files": {"type": "dict", "required": True},
        "links": {"type": "dict", "default": {}},
        "current": {"type": "path"},
    }
    module = AnsibleModule(argument_spec=arguments, supports_check_mode=True)
    os.umask(0o022)
    root = Path(module.params["path"])
    items = [(root / name, "file", text) for name, text in module.params["files"].items()]
    items += [(root / name, "link", target) for name, target in module.params["links"].items()]
    wanted = {path.relative_to(root).as_posix() for path, _, _ in items}
    if module.params["current"]:
        # The last: until here the old release is the current one.
        link = Path(module.params["current"])
        items.append((link, "link", os.path.relpath(root, link.parent)))
    different = [item for item in items if not is_now(*item)]
    gone = surplus(root, wanted)
    result = {"changed": bool(different or gone), "voxtral_release": [*(str(path) for path, _, _ in different), *gone]}
    if module._diff:
        result["diff"] = [
            {
                "before_header": str(path),
                "after_header": str(path),
                "after": text if kind == "file" else f"-> {text}\n",
                "before": path.read_text(encoding="utf-8") if kind == "file" and path.is_file() else "",
            }
            for path, kind, text in different
        ]
    if not module.check_mode:
        try:
            for path, kind, text in different:
                write(path, kind, text)
            for name in gone:
                (root / name).unlink(missing_ok=True)
        except OSError as error:
            module.fail_json(
                msg=f"{error.filename or root}: {error.strerror}", hint="check the space and the rights there"
            )
    module.exit_json(msg=f"{len(different)} written, {len(gone)} removed", **result)


if __name__ == "__main__":
    main()
