"""Ansible module: what only the host itself can tell before an engine is installed on it."""

# Ansible wants the documentation above the imports, and the package may be absent where this runs.
# ruff: noqa: E402, PLC0415

from __future__ import annotations

DOCUMENTATION = r"""
module: voxtral_preflight
short_description: Check a host against its plan, on the host
description:
  - Space, memory, ports, rights and certificates, seen from the host and by what is installed there already.
    Changes nothing.
  - Runs with the toolkit's interpreter.
options:
  profile:
    description: What the host is.
    type: dict
    required: true
  plan:
    description: What it should run.
    type: dict
    required: true
  layout:
    description: The directories of the installation.
    type: dict
    required: true
  curable:
    description: Names of checks that do not count, because the role mends what they find.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: voxtral_ops
"""

EXAMPLES = r"""
- name: Check the host
  voxtral_preflight:
    profile: "{{ voxtral_hardware_profile }}"
    plan: "{{ voxtral_hardware_plan }}"
    layout: "{{ voxtral_hardware_layout }}"
"""

RETURN = r"""
voxtral_preflight:
  description: The findings.
  type: list
  elements: dict
  returned: always
  sample: [{check: disk, ok: true, detail: 40 GiB free, hint: ""}]
hint:
  description: What to do about a failure.
  type: str
  returned: failure
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

# What a running server of ours makes look bad. Where root may not look into other processes (many containers)
# nothing shows that the port's holder is our own server; systemd knows.
OURS = {"port", "memory", "gpu memory"}


def serves_already(plan: dict) -> bool:
    """Whether systemd runs an engine of ours with this plan's instances."""
    if not Path("/run/systemd/system").is_dir():
        return False
    from voxtral_ops.server.systemd import active_units

    return any(
        unit.endswith(f"-{instance['name']}.service") for unit in active_units() for instance in plan["instances"]
    )


def main() -> None:
    """Look and judge."""
    dicts = {name: {"type": "dict", "required": True} for name in ("profile", "plan", "layout")}
    module = AnsibleModule(
        argument_spec={**dicts, "curable": {"type": "list", "elements": "str", "default": []}}, supports_check_mode=True
    )
    try:
        from voxtral_ops.hardware.profile import Profile
        from voxtral_ops.paths import Layout
        from voxtral_ops.planning import Plan, preflight
    except ImportError:
        if not module.check_mode:
            raise
        module.exit_json(changed=False, msg="is checked once the toolkit is there", voxtral_preflight=[])
    raw = module.params["layout"]
    layout = Layout(scope=raw["scope"], **{key: Path(raw[key]) for key in raw if key != "scope"})
    findings = preflight(
        Profile.model_validate(module.params["profile"]), Plan.model_validate(module.params["plan"]), layout
    )
    passed_over = {*module.params["curable"], *(OURS if serves_already(module.params["plan"]) else ())}
    bad = [finding for finding in findings if not finding.ok and finding.check not in passed_over]
    result = {"changed": False, "voxtral_preflight": [finding.model_dump(mode="json") for finding in findings]}
    if bad:
        module.fail_json(
            msg="; ".join(f"{finding.check}: {finding.detail}" for finding in bad),
            hint="; ".join(finding.hint for finding in bad if finding.hint),
            **result,
        )
    module.exit_json(msg=f"{len(findings)} checks passed", **result)


if __name__ == "__main__":
    main()
