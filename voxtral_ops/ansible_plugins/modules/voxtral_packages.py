"""Ansible module: the distribution's packages, or, without the rights, the line that installs them."""

# Ansible wants the documentation above the imports, and the package may be absent where this runs.
# ruff: noqa: E402

from __future__ import annotations

DOCUMENTATION = r"""
module: voxtral_packages
short_description: Install packages of the distribution
description:
  - Installs what is missing of O(names) with apt-get or dnf. Needs none of their Python bindings, so it also
    works in check mode on a
    host that nobody has touched.
  - Without root it installs nothing and fails with the line that does.
options:
  names:
    description: The packages.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: voxtral_ops
"""

EXAMPLES = r"""
- name: Install what the engine loads
  voxtral_packages:
    names: [libnuma1]
"""

RETURN = r"""
voxtral_packages:
  description: The packages that were missing.
  type: list
  elements: str
  returned: always
  sample: [libnuma1]
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.voxtral_progress import report

ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}


class Apt:
    """Debian and its children."""

    line = "apt-get install -y --no-install-recommends"

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module

    def missing(self, names: list) -> list:
        """Those that dpkg does not know as installed."""
        _, out, _ = self.module.run_command(
            ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *names]
        )
        here = {line.split()[0] for line in out.splitlines() if line.endswith(" installed")}
        return [name for name in names if name not in here]

    def install(self, names: list) -> tuple:
        """With the package lists as they are; when those are stale or absent, once more with fresh ones."""
        command = [*self.line.split(), "-o", "DPkg::Lock::Timeout=300", *names]
        code, out, error = self.module.run_command(command, environ_update=ENVIRONMENT)
        if code:
            self.module.run_command(["apt-get", "update", "-qq"], environ_update=ENVIRONMENT)
            code, out, error = self.module.run_command(command, environ_update=ENVIRONMENT)
        return code, out, error


class Dnf:
    """Red Hat and its children."""

    line = "dnf install -y"

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module

    def missing(self, names: list) -> list:
        """Those that rpm does not know."""
        return [name for name in names if self.module.run_command(["rpm", "-q", "--whatprovides", name])[0]]

    def install(self, names: list) -> tuple:
        """In one transaction."""
        return self.module.run_command([*self.line.split(), *names], environ_update=ENVIRONMENT)


def main() -> None:
    """Find out what is missing; install it, or say how."""
    module = AnsibleModule(
        argument_spec={"names": {"type": "list", "elements": "str", "required": True}}, supports_check_mode=True
    )
    manager = Apt(module) if module.get_bin_path("apt-get") else Dnf(module)
    missing = manager.missing(module.params["names"])
    result = {"changed": bool(missing), "voxtral_packages": missing}
    if module._diff and missing:
        result["diff"] = {"before": "", "after": "".join(f"{name}\n" for name in missing)}
    words = " ".join(missing)
    if missing and os.geteuid() != 0:
        module.fail_json(
            msg=f"packages of the distribution are missing: {words}",
            hint=f"sudo {manager.line} {words}",
            voxtral_packages=missing,
        )
    if not missing or module.check_mode:
        module.exit_json(msg=f"would install {words}" if missing else "nothing is missing", **result)
    report(f"installing {words}", None)
    code, out, error = manager.install(missing)
    if code:
        module.fail_json(
            msg=f"{manager.line.split()[0]} could not install {words}",
            hint="is the distribution's mirror reachable, and is no other installation running?",
            stderr="\n".join((out + error).strip().splitlines()[-15:]),
            rc=code,
            voxtral_packages=missing,
        )
    module.exit_json(msg=f"installed {words}", **result)


if __name__ == "__main__":
    main()
