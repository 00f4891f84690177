"""Ansible module: let a running server transcribe the golden clips, and judge the words."""

# Ansible wants the documentation above the imports, and the package may be absent where this runs.
# ruff: noqa: E402, PLC0415

from __future__ import annotations

DOCUMENTATION = r"""
module: voxtral_gate
short_description: Judge a running server by what it hears
description:
  - Lets every instance of O(release) transcribe shipped clips and compares the words. A server that is healthy
    and hears nonsense fails.
  - Changes nothing. Runs with the toolkit's interpreter.
options:
  release:
    description: The release's directory.
    type: path
    required: true
attributes:
  check_mode:
    support: full
    details: In check mode nothing is asked, and the answer says so.
  diff_mode:
    support: none
author: voxtral_ops
"""

EXAMPLES = r"""
- name: Judge the server by what it hears
  voxtral_gate:
    release: /opt/voxtral/current
"""

RETURN = r"""
voxtral_gate:
  description: The gate's report; C(clips) has what was said and what was heard. Of several instances the first.
  type: dict
  returned: always
  sample: {ok: true, clips: [{file: lights.flac, expected: turn on the lights, text: turn on the lights}]}
hint:
  description: What to do about a failure.
  type: str
  returned: failure
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.voxtral_progress import report


def main() -> None:
    """Ask every instance; fail with the first bad report."""
    module = AnsibleModule(argument_spec={"release": {"type": "path", "required": True}}, supports_check_mode=True)
    if module.check_mode:
        module.exit_json(changed=False, msg="the gate asks a running server, not in check mode")
    from voxtral_ops.errors import VoxtralError
    from voxtral_ops.server import read_instance, run_gate

    reports = {}
    try:
        for path in sorted((Path(module.params["release"]) / "instances").glob("*")):
            instance = read_instance(path).instance
            report(f"listening to what {instance.name} hears", None)
            reports[path.name] = run_gate(instance.url, instance.served_name)
    except VoxtralError as error:
        module.fail_json(msg=f"the gate could not be passed: {error.message}", hint=error.hint)
    bad = {name: found for name, found in reports.items() if not found.ok}
    shown = next(iter(bad.values()), None) or next(iter(reports.values()))
    result = {"voxtral_gate": shown.model_dump(mode="json")}
    if bad:
        module.fail_json(
            msg=f"the server runs, but the gate says no: {', '.join(bad)}: {shown.summary}",
            hint="the release is not fit to serve: look at what was heard, then at the engine's log",
            **result,
        )
    module.exit_json(changed=False, msg=shown.summary, **result)


if __name__ == "__main__":
    main()
