"""Ansible module: prove that an installed engine can load its libraries and read every kind of recording."""

# Ansible wants the documentation above the imports, and the package may be absent where this runs.
# ruff: noqa: E402, PLC0415

from __future__ import annotations

DOCUMENTATION = r"""
module: voxtral_engine_verify
short_description: Verify an engine's environment
description:
  - Imports what vLLM needs for audio inside the engine's environment, checks vLLM's version, and decodes one
    shipped clip of each
    container format. A server with a missing audio library starts well and then calls every recording bad.
  - What was found is kept in C(voxtral-verified.json) in the environment; an engine that was verified is not
    verified again.
  - Runs with the toolkit's interpreter.
options:
  path:
    description: The engine's environment.
    type: path
    required: true
  version:
    description: The version of vLLM that must be in it.
    type: str
    required: true
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: voxtral_ops
"""

EXAMPLES = r"""
- name: Verify the engine
  voxtral_engine_verify:
    path: /opt/voxtral/engines/0.32.0-cpu-1a2b3c4d
    version: 0.32.0
"""

RETURN = r"""
voxtral_engine:
  description: The versions of what was imported, and the clips that were decoded.
  type: dict
  returned: success
  sample: {engine: 0.32.0-cpu-1a2b3c4d, versions: {torch: 2.13.0+cpu, vllm: 0.32.0+cpu}, decoded: {lights.mp3: 1.9}}
"""

import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.voxtral_progress import report

RECORD = "voxtral-verified.json"


def verify(path: Path) -> tuple:
    """The report, and its problems in words."""
    from voxtral_ops.server.engine_verify import verify_engine
    from voxtral_ops.server.golden import golden_clips

    by_container = {clip.container: clip.path for clip in reversed(golden_clips())}
    found = verify_engine(path, sorted(by_container.values()))
    return found, list(found.problems)


def keep(path: Path, text: str) -> None:
    """Write the record whole."""
    with tempfile.NamedTemporaryFile("w", dir=path, delete=False, encoding="utf-8") as stream:
        stream.write(text + "\n")
    Path(stream.name).chmod(0o644)
    Path(stream.name).replace(path / RECORD)


def main() -> None:
    """Verify, unless the record says that it was done."""
    arguments = {"path": {"type": "path", "required": True}, "version": {"type": "str", "required": True}}
    module = AnsibleModule(argument_spec=arguments, supports_check_mode=True)
    path = Path(module.params["path"])
    if (path / RECORD).is_file():
        module.exit_json(
            changed=False,
            msg="verified before",
            voxtral_engine=module.from_json((path / RECORD).read_text(encoding="utf-8")),
        )
    if module.check_mode:
        module.exit_json(changed=False, msg="would be verified once it is installed", voxtral_engine={})
    report("verifying the engine", None)
    from voxtral_ops.errors import VoxtralError

    try:
        found, problems = verify(path)
    except VoxtralError as error:
        module.fail_json(msg=error.message, hint=error.hint)
    if problems:
        module.fail_json(
            msg=f"the engine in {path} does not work: {'; '.join(problems)}",
            hint=f"remove {path} and run this again; if it fails again, the host lacks a library",
        )
    here = found.versions["vllm"].split("+")[0]
    if here != module.params["version"]:
        module.fail_json(
            msg=f"{path} holds vLLM {here}, and the release wants {module.params['version']}",
            hint="set `engine` in release.yml to the version that this toolkit has a lock for",
        )
    keep(path, found.model_dump_json(indent=2))
    module.exit_json(
        changed=False,
        msg=", ".join(f"{name} {version}" for name, version in found.versions.items()),
        voxtral_engine=found.model_dump(mode="json"),
    )


if __name__ == "__main__":
    main()
