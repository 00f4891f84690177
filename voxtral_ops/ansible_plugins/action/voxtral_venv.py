"""Action: run the module voxtral_venv, and bring the lock and the wheels from the controller when it needs them."""

# Ansible wants the documentation above the imports, and the package may be absent where this runs.

from __future__ import annotations

import hashlib
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """First a look; most runs end there."""

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        arguments = self._task.args.copy()
        try:
            lock = Path(self._find_needle("files", arguments.pop("requirements")))
        except (AnsibleError, KeyError) as error:
            return {**result, "failed": True, "msg": f"the lock is not here: {error}", "hint": "reinstall the package"}
        wheels = [Path(wheel) for wheel in arguments.pop("wheels", [])]
        arguments["lock_sha256"] = hashlib.sha256(lock.read_bytes()).hexdigest()
        looked = self._execute_module(module_name="voxtral_venv", module_args=arguments, task_vars=task_vars)
        if looked.get("failed") or looked["voxtral_venv"]["complete"] or self._task.check_mode:
            return {**result, **looked}
        folder = self._make_tmp_path()
        try:
            arguments["requirements"] = self._bring(lock, folder)
            arguments["wheels"] = [self._bring(wheel, folder) for wheel in wheels]
            return {
                **result,
                **self._execute_module(module_name="voxtral_venv", module_args=arguments, task_vars=task_vars),
            }
        finally:
            self._remove_tmp_path(folder, force=True)

    def _bring(self, source: Path, folder: str) -> str:
        target = self._connection._shell.join_path(folder, source.name)
        self._transfer_file(str(source), target)
        # Where the task becomes another user, that one must be able to read what the login user brought.
        self._fixup_perms2((folder, target), execute=False)
        return target
