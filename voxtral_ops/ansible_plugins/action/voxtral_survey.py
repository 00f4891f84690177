"""Action: look at a host with the probe, and compute on the controller what that host should run."""

# Ansible wants the documentation above the imports, and the package may be absent where this runs.
# ruff: noqa: PLC0415

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

# The package that this plugin belongs to, whether it is installed beside Ansible or lies in a checkout.
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

# The system's own Python first: a name on PATH may be a version manager's shim. Anything from 3.9 on will do.
START = (
    "for python in /usr/bin/python3 /usr/libexec/platform-python python3; do "
    '"$python" -c "import sys; sys.exit(sys.version_info < (3, 9))" 2>/dev/null && exec "$python" {arguments}; done; '
    "echo no Python of 3.9 or newer >&2; exit 127"
)

# What the roles install themselves where they may.
CURABLE = {"python", "libnuma", "compiler", "certificates"}
# What a server of ours that runs makes look bad.
OURS = {"port", "memory", "gpu memory"}


def failure(bad: list) -> dict:
    """Every bad finding and its cure; numbered where there are several, so that it shows which cure is for which."""
    numbers = [f"({number}) " for number in range(1, len(bad) + 1)] if len(bad) > 1 else [""]
    marked = list(zip(numbers, bad, strict=True))
    return {
        "failed": True,
        "msg": "; ".join(f"{number}{finding.check}: {finding.detail}" for number, finding in marked),
        "hint": "; ".join(f"{number}{finding.hint}" for number, finding in marked if finding.hint),
    }


class ActionModule(ActionBase):
    """Reads only, so it does the same in check mode. What it brought to the host it takes away again."""

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        # The package is imported here and not above: an Ansible without it must be told so, not shown a traceback.
        try:
            from voxtral_ops.errors import VoxtralError
        except ImportError as error:
            raise AnsibleError(
                f"Ansible's own Python lacks {error.name}: run playbooks through `./voxtral`, "
                "or install this project beside ansible-core (pip install '.[provision]')"
            ) from error
        arguments = self._task.args
        try:
            result.update(
                self._survey(
                    arguments["layout"],
                    arguments.get("release") or {},
                    self._wishes(arguments),
                    Path(arguments["locks"]),
                )
            )
        except VoxtralError as error:
            result.update(failed=True, msg=error.message, hint=error.hint)
        return result

    def _wishes(self, arguments: dict) -> dict:
        """What the operator wants, in one piece."""
        named = {"goal": arguments.get("goal"), "models": arguments.get("models"), "force": arguments.get("force")}
        return {**(arguments.get("overrides") or {}), **{name: value for name, value in named.items() if value}}

    def _survey(self, raw_layout: dict, raw_release: dict, overrides: dict, locks: Path) -> dict:
        from voxtral_ops import __version__
        from voxtral_ops.errors import ConfigurationError, HostError, ModelError
        from voxtral_ops.hardware.profile import Profile
        from voxtral_ops.paths import Layout
        from voxtral_ops.planning import PlanOverrides, make_plan, preflight
        from voxtral_ops.planning.builds import lock_name, requirements
        from voxtral_ops.release import default_release, parse_release, release_id

        layout = Layout(
            scope=raw_layout["scope"], **{key: Path(raw_layout[key]) for key in sorted(set(raw_layout) - {"scope"})}
        )
        release = parse_release(raw_release, "voxtral_release") if raw_release else default_release()
        raw_profile = self._probe(sorted({raw_layout[key] for key in ("home", "models", "config", "state", "cache")}))
        profile = Profile.model_validate(raw_profile)
        try:
            wishes = PlanOverrides.model_validate(overrides)
        except ValueError as error:
            raise ConfigurationError(f"voxtral_hardware_overrides: {error}", hint="see the role's README") from error
        found = {"voxtral_hardware_profile": profile.model_dump(mode="json")}
        try:
            plan = make_plan(profile, release, overrides=wishes, home=layout.home)
        except (HostError, ModelError) as refusal:
            # What else stands in the way is told with it: one look, one list.
            return {**found, **self._verdict(profile, preflight(profile, None, layout, refusal))}
        lock = locks / lock_name(plan.build, profile.cpu.architecture)
        if not lock.is_file():
            raise ConfigurationError(f"there is no lock for the {plan.build} build", hint=f"it would be {lock}")
        # Another lock or another toolkit is another release: both can stand side by side on a host.
        plan = plan.model_copy(
            update={"release": release_id(release, hashlib.sha256(lock.read_bytes()).hexdigest(), __version__)}
        )
        wanted = {instance.model for instance in plan.instances}
        found |= {
            "voxtral_hardware_plan": plan.model_dump(mode="json"),
            "voxtral_hardware_release_id": plan.release,
            "voxtral_hardware_lock": lock.name,
            "voxtral_hardware_python": requirements()[plan.build].python,
            "voxtral_hardware_models": [
                model.model_dump(mode="json") for model in release.models if model.name in wanted
            ],
        }
        return {**found, **self._verdict(profile, preflight(profile, plan, layout))}

    def _verdict(self, profile, findings: tuple) -> dict:
        """The findings, and a failure that names every bad one with its cure."""
        found = {"voxtral_hardware_findings": [finding.model_dump(mode="json") for finding in findings]}
        passed_over = CURABLE if profile.privileged else set()
        bad = [finding for finding in findings if not finding.ok and finding.check not in passed_over]
        if any(finding.check in OURS for finding in bad) and profile.system.init == "systemd" and self._serves():
            bad = [finding for finding in bad if finding.check not in OURS]
        return {**found, **failure(bad)} if bad else found

    def _serves(self) -> bool:
        # Where even root may not look into other processes (containers) nobody shows that the port is held by ours.
        units = self._low_level_execute_command("systemctl list-units --plain --no-legend 'voxtral-engine@*'")["stdout"]
        return any(line.split()[2:3] in (["active"], ["activating"]) for line in units.splitlines())

    def _probe(self, paths: list) -> dict:
        from voxtral_ops.errors import HostError
        from voxtral_ops.hardware.bundle import build_probe

        folder = self._make_tmp_path()
        try:
            with tempfile.TemporaryDirectory(prefix="voxtral-") as local:
                target = self._connection._shell.join_path(folder, "probe.pyz")
                self._transfer_file(str(build_probe(Path(local) / "probe.pyz")), target)
            self._fixup_perms2((folder, target), execute=False)
            words = [target, *(word for path in paths for word in ("--path", path))]
            command = START.format(arguments=" ".join(self._connection._shell.quote(word) for word in words))
            answer = self._low_level_execute_command(command)
        finally:
            self._remove_tmp_path(folder, force=True)
        try:
            return json.loads(answer["stdout"])
        except ValueError:
            words = (answer["stderr"] or answer["stdout"]).strip()[-500:]
            raise HostError(
                f"the probe did not run on the host: {words}", hint="the host needs a python3 of 3.9 or newer"
            ) from None
