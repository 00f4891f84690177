"""Ansible module: the systemd units of a release, written, enabled, running, and those of other releases stopped."""

# Ansible wants the documentation above the imports, and the package may be absent where this runs.
# ruff: noqa: E402, PLC0415

from __future__ import annotations

DOCUMENTATION = r"""
module: voxtral_units
short_description: Run the engines of a release as systemd units
description:
  - Writes O(units), stops and removes the engine units that are not among them, enables and starts the rest, and
    returns when every
    server answers.
  - A unit is restarted when it was started before its unit file or anything in its instance's directory was last
    written. So a run that
    was interrupted between writing and restarting is made good by the next one.
  - A start that fails ends with the engine's own last words and their likely cause.
  - Runs with the toolkit's interpreter.
options:
  units:
    description: The unit's name to its text.
    type: dict
    required: true
  instances:
    description: The unit's name to its instance's directory.
    type: dict
    required: true
  marks:
    description: A folder that keeps, for each unit, the digest of what it was last started from.
    type: path
    required: true
  timeout:
    description: How many seconds a start may take.
    type: int
    default: 600
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: voxtral_ops
"""

EXAMPLES = r"""
- name: Run the engines
  voxtral_units:
    units: {voxtral-engine@0.32.0-nano-1a2b3c4d-nano.service: "[Unit] ..."}
    instances: {voxtral-engine@0.32.0-nano-1a2b3c4d-nano.service: /opt/voxtral/current/instances/nano}
"""

RETURN = r"""
voxtral_units:
  description: What was written, stopped and (re)started.
  type: dict
  returned: always
  sample: {written: [], stopped: [], enabled: [], started: {}}
hint:
  description: What to do about a failure.
  type: str
  returned: failure
"""

import hashlib
import os
import tempfile
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.voxtral_progress import report

UNITS = Path("/etc/systemd/system")
PATTERN = "voxtral-engine@*.service"


class Systemd:
    """systemctl, with its failures as module failures."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module

    def do(self, *words: str) -> None:
        """Run a command that must succeed."""
        code, out, error = self.module.run_command(["systemctl", *words])
        if code:
            self.module.fail_json(
                msg=f"systemctl {' '.join(words)}: {(error or out).strip()}", hint="systemctl status says more", rc=code
            )

    def show(self, unit: str) -> dict:
        """The properties that decide; all empty for a unit that is not there."""
        _, out, _ = self.module.run_command(["systemctl", "show", unit, "--property=ActiveState,UnitFileState"])
        return dict(line.partition("=")[::2] for line in out.splitlines())


def digest(text: str, directory: Path) -> str:
    """What a unit is started from: its own text, and its instance's files and links."""
    found = hashlib.sha256(text.encode())
    for path in sorted(directory.glob("*")):
        body = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
        found.update(path.name.encode() + b"\0" + body + b"\0")
    return found.hexdigest()


def why_start(shown: dict, mark: Path, wanted: str) -> str:
    """Why a unit has to be (re)started, or nothing. The mark says what it was last started from."""
    if shown.get("ActiveState") != "active":
        return f"it is {shown.get('ActiveState') or 'not there'}"
    if not mark.is_file() or mark.read_text(encoding="utf-8") != wanted:
        return "what it is started from has changed"
    return ""


def survey(systemd: Systemd, units: dict, instances: dict, marks: Path) -> tuple:
    """What has to be written, stopped, enabled and (re)started; the last with the reason."""
    written = [name for name, text in units.items() if not is_now(UNITS / name, text)]
    others = sorted(path.name for path in UNITS.glob(PATTERN) if path.name not in units)
    enable, begin = [], {}
    for name, text in units.items():
        shown = systemd.show(name)
        why = why_start(shown, marks / name, digest(text, Path(instances[name])))
        if shown.get("UnitFileState") != "enabled":
            enable.append(name)
        if why:
            begin[name] = why
    return written, others, enable, begin


def is_now(path: Path, text: str) -> bool:
    """Whether the unit file is as it should be."""
    return path.is_file() and path.read_text(encoding="utf-8") == text


def write(path: Path, text: str) -> None:
    """One file, wholly or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".new-", delete=False, encoding="utf-8") as stream:
        stream.write(text)
    Path(stream.name).chmod(0o644)
    Path(stream.name).replace(path)


def start(systemd: Systemd, name: str, directory: str, timeout: int) -> None:
    """(Re)start one unit and wait until its server answers. Raises VoxtralError with the engine's last words."""
    from voxtral_ops.errors import ServerError
    from voxtral_ops.server.systemd import SystemdService

    service = SystemdService(name, Path(directory))

    def heard(event) -> None:
        report(event.message, event.fraction)
        if event.state == "restarting":
            status = service.status()
            raise ServerError(
                f"{service.name} died while starting: {status.cause or 'it did not say why'}",
                hint=status.hint or f"journalctl -u {name}",
                last_words=list(status.last_words),
            )

    systemd.module.run_command(["systemctl", "reset-failed", name])
    systemd.do("restart", "--no-block", name)
    # It answers from the old process until systemd has begun: wait for that first.
    time.sleep(0.5)
    service.start(heard, timeout)


def main() -> None:
    """Look, then make it so."""
    arguments = {
        "units": {"type": "dict", "required": True},
        "instances": {"type": "dict", "required": True},
        "marks": {"type": "path", "required": True},
        "timeout": {"type": "int", "default": 600},
    }
    module = AnsibleModule(argument_spec=arguments, supports_check_mode=True)
    units, instances, marks = module.params["units"], module.params["instances"], Path(module.params["marks"])
    systemd = Systemd(module)
    written, others, enable, begin = survey(systemd, units, instances, marks)
    result = {
        "changed": bool(written or others or enable or begin),
        "voxtral_units": {"written": written, "stopped": others, "enabled": enable, "started": begin},
    }
    if module._diff:
        result["diff"] = [
            {
                "before_header": name,
                "after_header": name,
                "after": units[name],
                "before": (UNITS / name).read_text(encoding="utf-8") if (UNITS / name).is_file() else "",
            }
            for name in written
        ]
    if module.check_mode:
        module.exit_json(msg=f"would write {len(written)}, stop {len(others)} and start {len(begin)} units", **result)
    from voxtral_ops.errors import VoxtralError

    for name in written:
        write(UNITS / name, units[name])
    for name in others:
        # They may hold the port; two releases side by side are a rollout's business.
        report(f"draining {name}", None)
        systemd.do("disable", "--now", name)
        (UNITS / name).unlink()
        (marks / name).unlink(missing_ok=True)
    if written or others:
        systemd.do("daemon-reload")
    if enable:
        systemd.do("enable", *enable)
    try:
        for name in begin:
            start(systemd, name, instances[name], module.params["timeout"])
            write(marks / name, digest(units[name], Path(instances[name])))
    except VoxtralError as error:
        words = "\n".join(str(line) for line in error.details.get("last_words", ()))
        module.fail_json(msg=error.message, hint=error.hint, stderr=words, **{**result, "changed": True})
    module.exit_json(msg="; ".join(f"started {name}: {why}" for name, why in begin.items()) or "all run", **result)


if __name__ == "__main__":
    main()
