"""Ansible module: the weights of pinned models: whole and verified, or absent."""

# Ansible wants the documentation above the imports, and the package may be absent where this runs.
# ruff: noqa: E402, PLC0415

from __future__ import annotations

DOCUMENTATION = r"""
module: voxtral_weights
short_description: Make models be on the host, or be gone
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
  state:
    description:
      - V(present) fetches and mends. V(verified) only compares, and fails where something is wrong.
      - V(absent) removes; what a release or a server of this host needs stays, and is a failure.
    type: str
    choices: [present, verified, absent]
    default: present
  strategy:
    description:
      - Where the bytes come from. V(hub) is the hub that HF_ENDPOINT names, and for a shipped model the toolkit.
      - V(seed) takes from O(seeds), one after the other; V(bundle) from the bundle at O(source); V(path) from the
        directory at O(source).
    type: str
    choices: [hub, seed, bundle, path]
    default: hub
  source:
    description:
      - A bundle, or a directory that holds the files, on the host. For O(strategy=bundle) and O(strategy=path);
        with another strategy it is refused, because nothing would read it.
    type: path
  seeds:
    description: Addresses of hosts that seed, as V(http://host:18500). One with wrong bytes is dropped and named.
    type: list
    elements: str
    default: []
  limit:
    description: Bytes a second at most, for this host; 0 is no limit.
    type: int
    default: 0
  older:
    description: Whether a revision may be fetched that the hub published before one that is installed.
    type: bool
    default: false
  layout:
    description: Where things live on the host. O(state=absent) looks there for who needs what.
    type: dict
  serve_port:
    description: Afterwards let other hosts take the models at this port; 0 does not.
    type: int
    default: 0
  serve_idle:
    description: Stop serving when nobody has asked for so many seconds.
    type: int
    default: 120
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

- name: Take them from the host that has them
  voxtral_weights:
    root: /var/lib/voxtral/models
    models: "{{ voxtral_hardware_models }}"
    strategy: seed
    seeds: [http://speech1.example.com:18500]
"""

RETURN = r"""
voxtral_weights:
  description: The directory of each model.
  type: dict
  returned: always
  sample: {nano: /var/lib/voxtral/models/voxtral-ops/nano/0123456789abcdef0123456789abcdef01234567}
dropped:
  description: The seeds that did not have the right bytes, and why.
  type: list
  elements: str
  returned: success
hint:
  description: What to do about a failure.
  type: str
  returned: failure
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

SERVE_SECONDS = 30
ARGUMENTS = {
    "root": {"type": "path", "required": True},
    "models": {"type": "list", "elements": "dict", "required": True},
    "state": {"type": "str", "choices": ["present", "verified", "absent"], "default": "present"},
    "strategy": {"type": "str", "choices": ["hub", "seed", "bundle", "path"], "default": "hub"},
    "source": {"type": "path"},
    "seeds": {"type": "list", "elements": "str", "default": []},
    "limit": {"type": "int", "default": 0},
    "older": {"type": "bool", "default": False},
    "layout": {"type": "dict"},
    "serve_port": {"type": "int", "default": 0},
    "serve_idle": {"type": "int", "default": 120},
}
NEEDED = [
    ("strategy", "bundle", ["source"]),
    ("strategy", "path", ["source"]),
    ("state", "absent", ["layout"]),
]


class Weights:
    """One run of the module on one store."""

    def __init__(self, parameters: dict, check: bool) -> None:
        from voxtral_ops.release import ReleaseModel
        from voxtral_ops.weights import WeightsStore

        self.parameters, self.check = parameters, check
        self.store = WeightsStore(Path(parameters["root"]))
        self.models = [ReleaseModel.model_validate(raw) for raw in parameters["models"]]
        self.paths = {model.name: str(self.store.path(model)) for model in self.models}
        self.changed: list = []
        self.dropped: list = []

    def present(self) -> None:
        """Fetch what is not there or not right."""
        wrong = [model for model in self.models if not self.store.verify(model).ok]
        if self.check:
            self.changed += [describe(model) for model in wrong]
        elif self.parameters["strategy"] == "bundle":
            self._from_bundle(wrong)
        else:
            self.changed += [describe(model) for model in self.models if self._fetch(model)]

    def verified(self) -> None:
        """Compare, and say the first thing that is wrong."""
        from voxtral_ops.errors import ReleaseError

        for model in self.models:
            found = self.store.verify(model)
            if not found.ok:
                first = found.problems[0]
                raise ReleaseError(
                    f"{model.name} at {model.revision[:12]}: {first.path} {first.problem}",
                    hint="state present mends it",
                )

    def absent(self) -> None:
        """Remove what nobody needs."""
        from voxtral_ops.weights.retire import check_unneeded, remove_model, survey

        for model in self.models:
            mine = [held for held in survey(self.store.root, self._needs()) if held.directory == model.directory]
            check_unneeded(mine)
            if mine and not self.check:
                remove_model(self.store.root, self._needs, model.repository, model.revision)
            self.changed += [describe(model)] if mine else []

    def serve(self) -> None:
        """Start a seed that outlives this module, and wait until it answers."""
        port = self.parameters["serve_port"]
        command = [sys.executable, "-m", "voxtral_ops", "weights", "seed", "--models", str(self.store.root)]
        command += ["--port", str(port), "--idle", str(self.parameters["serve_idle"])]
        if not listens(port):
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        deadline = time.monotonic() + SERVE_SECONDS
        while not listens(port):
            if time.monotonic() > deadline:
                from voxtral_ops.errors import HostError

                raise HostError(f"the seed at port {port} does not answer", hint="is the port free and allowed?")
            time.sleep(0.2)

    def _needs(self):
        from voxtral_ops.paths import Layout
        from voxtral_ops.server.service import running_instances
        from voxtral_ops.weights.retire import find_needs

        raw = self.parameters["layout"]
        layout = Layout(**{key: value if key == "scope" else Path(value) for key, value in raw.items()})
        return find_needs(layout, self.store.root, running_instances(layout))

    def _fetch(self, model) -> bool:
        from voxtral_ops.weights import DirectorySource, source_for
        from voxtral_ops.weights.peers import take

        def install(source) -> bool:
            return self.store.install(
                model, source, limit=self.parameters["limit"] or None, older=self.parameters["older"]
            )

        if self.parameters["strategy"] == "seed":
            return take(self.parameters["seeds"], install, model, self.dropped.append)
        if self.parameters["strategy"] == "path":
            return install(DirectorySource(Path(self.parameters["source"])))
        return install(source_for(model))

    def _from_bundle(self, wrong: list) -> None:
        """Import what the bundle has, when something is wrong here; it must agree with the release."""
        if not wrong:
            return
        from voxtral_ops.release import ENGINE_VERSION, Release
        from voxtral_ops.weights.bundle import agree
        from voxtral_ops.weights.carry import import_bundle, open_bundle

        reader = open_bundle(Path(self.parameters["source"]), self.parameters["source"])
        only = frozenset(model.name for model in wrong)
        agree(reader.bundle, Release(engine=ENGINE_VERSION, models=tuple(wrong)), reader.name, only)
        import_bundle(self.store, reader, only=only, older=self.parameters["older"])
        self.changed += [describe(model) for model in wrong]


def describe(model) -> str:
    """One line of a diff."""
    return f"{model.repository} at {model.revision[:12]}: {len(model.files)} files, {model.size:,} bytes"


def listens(port: int) -> bool:
    """Whether something accepts connections there."""
    import socket

    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main() -> None:
    """Install, compare or remove; in check mode look."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, required_if=NEEDED)
    strategy, source = module.params["strategy"], module.params["source"]
    if source and strategy not in {"bundle", "path"}:
        module.fail_json(
            msg=f"strategy {strategy} does not read the source {source}", hint="strategy bundle or path; or no source"
        )
    os.umask(0o022)
    state, names = module.params["state"], ", ".join(model["name"] for model in module.params["models"])
    try:
        from voxtral_ops.errors import VoxtralError
        from voxtral_ops.weights import WeightsStore  # noqa: F401 - the package may be in sight without what it needs
    except ImportError:
        if not module.check_mode:
            raise
        absent = state == "absent"
        module.exit_json(changed=not absent, msg=f"would fetch and verify {names}", voxtral_weights={}, dropped=[])
    try:
        weights = Weights(module.params, module.check_mode)
        getattr(weights, state)()
        if module.params["serve_port"] and state == "present" and not module.check_mode:
            weights.serve()
    except VoxtralError as error:
        module.fail_json(msg=error.message, hint=error.hint)
    lines = "".join(f"{line}\n" for line in weights.changed)
    result = {"changed": bool(weights.changed), "voxtral_weights": weights.paths, "dropped": weights.dropped}
    if module._diff and weights.changed:
        result["diff"] = {"before": lines, "after": ""} if state == "absent" else {"before": "", "after": lines}
    module.exit_json(msg="; ".join(weights.changed) or ("absent" if state == "absent" else "verified"), **result)


if __name__ == "__main__":
    main()
