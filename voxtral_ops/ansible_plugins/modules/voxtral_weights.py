"""Ansible module: the weights of pinned models, whole and verified, or absent."""

# Ansible wants the documentation above the imports, and the package may be absent where this runs.
# ruff: noqa: E402, PLC0415

from __future__ import annotations

DOCUMENTATION = r"""
module: voxtral_weights
short_description: Make models be on the host
description:
  - Installs each of O(models) below O(root), every file by its sha256, wherever it comes from. A directory
    appears when it is whole.
  - What is there already is verified again; files that nobody touched cost nothing.
  - Runs with the toolkit's interpreter.
options:
  root:
    description: The models directory.
    type: path
    required: true
  models:
    description: Models as in a release, with repository, revision and files.
    type: list
    elements: dict
    required: true
  source:
    description: >-
      A directory on the host that holds the files. Without it a shipped model comes from the toolkit, any
      other from the hub.
    type: path
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: voxtral_ops
"""

EXAMPLES = r"""
- name: Fetch and verify the weights
  voxtral_weights:
    root: /var/lib/voxtral/models
    models: "{{ voxtral_hardware_models }}"
"""

RETURN = r"""
voxtral_weights:
  description: The directory of each model.
  type: dict
  returned: always
  sample: {nano: /var/lib/voxtral/models/voxtral-ops/nano/0123456789abcdef0123456789abcdef01234567}
hint:
  description: What to do about a failure.
  type: str
  returned: failure
"""

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule


def install(root: Path, raw_models: list, source: Path | None, check: bool) -> tuple:
    """Which models changed, and where each lies."""
    from voxtral_ops.release import ReleaseModel
    from voxtral_ops.weights import WeightsStore, source_for

    store, changed, paths = WeightsStore(root), [], {}
    for raw in raw_models:
        model = ReleaseModel.model_validate(raw)
        paths[model.name] = str(store.path(model))
        different = not store.verify(model).ok if check else store.install(model, source_for(model, source))
        if different:
            changed.append(
                f"{model.repository} at {model.revision[:12]}: {len(model.files)} files, {model.size:,} bytes"
            )
    return changed, paths


def main() -> None:
    """Install; in check mode verify."""
    arguments = {
        "root": {"type": "path", "required": True},
        "models": {"type": "list", "elements": "dict", "required": True},
        "source": {"type": "path"},
    }
    module = AnsibleModule(argument_spec=arguments, supports_check_mode=True)
    os.umask(0o022)
    root, source = Path(module.params["root"]), module.params["source"]
    names = ", ".join(model["name"] for model in module.params["models"])
    try:
        from voxtral_ops.errors import VoxtralError
        from voxtral_ops.weights import WeightsStore  # noqa: F401 - the package may be in sight without what it needs
    except ImportError:
        if not module.check_mode:
            raise
        module.exit_json(changed=True, msg=f"would fetch and verify {names}", voxtral_weights={})
    try:
        changed, paths = install(root, module.params["models"], Path(source) if source else None, module.check_mode)
    except VoxtralError as error:
        module.fail_json(msg=error.message, hint=error.hint)
    result = {"changed": bool(changed), "voxtral_weights": paths}
    if module._diff and changed:
        result["diff"] = {"before": "", "after": "".join(f"{line}\n" for line in changed)}
    module.exit_json(msg="; ".join(changed) or "verified", **result)


if __name__ == "__main__":
    main()
