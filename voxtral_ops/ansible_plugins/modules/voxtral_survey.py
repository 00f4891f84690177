"""Ansible documentation of the action voxtral_survey, which does its work on the controller."""

# Ansible wants the documentation above the imports, and the package may be absent where this runs.

from __future__ import annotations

DOCUMENTATION = r"""
module: voxtral_survey
short_description: Look at a host and plan what it should run
description:
  - Runs the hardware probe on the host (one file, standard library only, removed again), and computes profile,
    plan and preflight
    findings on the controller. Changes nothing, so it does the same in check mode.
  - Fails when the host is not supported, the release does not fit it, or a preflight finding is bad. Everything that
    stands in the way is named at once, each with its cure.
options:
  layout:
    description: The directories of the installation. C(scope) is V(system) or V(user).
    type: dict
    required: true
  release:
    description: The release as in C(release.yml). Empty means the shipped demonstration model.
    type: dict
    default: {}
  locks:
    description: The folder on the controller that holds the engines' locks; the lock is part of what a release is.
    type: path
    required: true
  goal:
    description: What matters most.
    type: str
    choices: [latency, throughput, balanced, longest-audio]
    default: balanced
  models:
    description: What to serve of the release. Empty means as many of its models as fit, in its order.
    type: list
    elements: str
    default: []
  overrides:
    description:
      - What the operator wants otherwise than the plan would have it, C(port), C(arguments), C(environment).
      - Checked against the arithmetic; refused with what would break.
    type: dict
    default: {}
  force:
    description: Take what the arithmetic refuses, with a warning in the plan.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: voxtral_ops
"""

EXAMPLES = r"""
- name: Look at the host and plan what it should run
  voxtral_survey:
    layout: "{{ voxtral_hardware_layout }}"
    release: "{{ voxtral_release }}"
    locks: "{{ role_path }}/../voxtral_engine/files"
"""

RETURN = r"""
voxtral_hardware_profile:
  description: What the host is.
  type: dict
  returned: success
  sample: {hostname: speech1, memory_total: 25769803776}
voxtral_hardware_plan:
  description: What it should run, and why.
  type: dict
  returned: success
  sample: {release: 0.32.0-nano-1a2b3c4d, build: cpu}
voxtral_hardware_release_id:
  description: The name of what it should run.
  type: str
  returned: success
  sample: 0.32.0-nano-1a2b3c4d
voxtral_hardware_lock:
  description: The lock's file in C(locks) that the engine is installed from.
  type: str
  returned: success
  sample: cuda13.txt
voxtral_hardware_python:
  description: The Python that the lock is made for.
  type: str
  returned: success
  sample: "3.11"
voxtral_hardware_models:
  description: The pinned models of the plan.
  type: list
  elements: dict
  returned: success
  sample: [{name: nano, repository: voxtral-ops/nano}]
voxtral_hardware_findings:
  description: What was checked before anything is installed.
  type: list
  elements: dict
  returned: always
  sample: [{check: memory, ok: true, detail: 21 GiB free, hint: ""}]
"""
