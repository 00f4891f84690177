"""Ansible documentation of the action voxtral_wheel, which does its work on the controller."""

# Ansible wants the documentation above the imports, and the package may be absent where this runs.

from __future__ import annotations

DOCUMENTATION = r"""
module: voxtral_wheel
short_description: Build this project's wheel on the controller
description:
  - Builds the wheel of the checkout, or packs the installed package into one again, when no wheel of the same
    contents is in the
    controller's cache. Touches no host.
options: {}
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: voxtral_ops
"""

EXAMPLES = r"""
- name: Pack this project
  voxtral_wheel:
  register: package
"""

RETURN = r"""
voxtral_wheel:
  description: The wheel's path on the controller, and its id, which names its contents.
  type: dict
  returned: success
  sample: {path: /var/cache/voxtral/wheels/0.1.0-1a2b3c4d/voxtral_ops-0.1.0-py3-none-any.whl, id: 0.1.0-1a2b3c4d}
"""
