"""Ansible module: the servers of a release under VLLMServerManager, where systemd does not supervise them."""

# Ansible wants the documentation above the imports, and the package may be absent where this runs.
# ruff: noqa: E402, PLC0415

from __future__ import annotations

DOCUMENTATION = r"""
module: voxtral_server
short_description: Start the servers of a release
description:
  - Starts each instance of O(release) with the toolkit's own supervisor and returns when it answers. One that
    already runs from the same
    files is left alone; one that runs from others is drained and stopped first. Instances that the release does
    not have are stopped.
  - Runs with the toolkit's interpreter.
options:
  release:
    description: The release's directory.
    type: path
    required: true
  layout:
    description: The directories of the installation.
    type: dict
    required: true
  timeout:
    description: How many seconds a start may take.
    type: int
    default: 900
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: voxtral_ops
"""

EXAMPLES = r"""
- name: Start the server
  voxtral_server:
    release: /opt/voxtral/releases/0.32.0-nano-1a2b3c4d
    layout: "{{ voxtral_hardware_layout }}"
"""

RETURN = r"""
voxtral_server:
  description: Each instance's state and address.
  type: dict
  returned: success
  sample: {main: {state: serving, url: "http://127.0.0.1:8000"}}
hint:
  description: What to do about a failure.
  type: str
  returned: failure
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule


def serve(release: Path, raw_layout: dict, timeout: float, check: bool) -> dict:
    """Start what should run and stop what should not."""
    from voxtral_ops.paths import Layout
    from voxtral_ops.server import VLLMServerManager

    layout = Layout(scope=raw_layout["scope"], **{key: Path(raw_layout[key]) for key in raw_layout if key != "scope"})
    wanted = {path.name: path for path in sorted((release / "instances").glob("*"))}
    changed, states = False, {}
    for folder in sorted((layout.state / "instances").glob("*")):
        other = VLLMServerManager(layout.current / "instances" / folder.name, layout)
        if folder.name not in wanted and other.status().state not in {"stopped", "failed"}:
            changed = True
            if not check:
                other.stop()
    for name, path in wanted.items():
        manager = VLLMServerManager(path, layout)
        before = manager.status()
        if check:
            changed = changed or before.state != "serving"
            states[name] = {"state": before.state}
            continue
        after = manager.start(timeout=timeout)
        changed = changed or after.supervisor_pid != before.supervisor_pid
        states[name] = after.model_dump(mode="json")
    return {"changed": changed, "voxtral_server": states}


def main() -> None:
    """Start; in check mode look."""
    arguments = {
        "release": {"type": "path", "required": True},
        "layout": {"type": "dict", "required": True},
        "timeout": {"type": "int", "default": 900},
    }
    module = AnsibleModule(argument_spec=arguments, supports_check_mode=True)
    release = Path(module.params["release"])
    if module.check_mode and not release.is_dir():
        module.exit_json(changed=True, msg=f"would start the servers of {release.name}", voxtral_server={})
    from voxtral_ops.errors import VoxtralError

    try:
        result = serve(release, module.params["layout"], module.params["timeout"], module.check_mode)
    except VoxtralError as error:
        words = "\n".join(str(line) for line in error.details.get("last_words", ()))
        module.fail_json(msg=error.message, hint=error.hint, stderr=words)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
