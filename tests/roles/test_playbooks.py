"""The playbooks run on this machine: what they say, and that looking and checking leave nothing behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "name": "small-24b",
    "repository": "mistralai/Voxtral-Small-24B-2507",
    "revision": "a" * 40,
    "files": [{"path": "consolidated.safetensors", "size": 48_000_000_000, "sha256": "0" * 64}],
}


@pytest.fixture
def play(tmp_path: Path):
    """``play("preflight", overrides={…})`` → return code, events. Everything would go below ``tmp_path/h``."""

    def run(playbook: str, *options: str, inventory: Path = ROOT / "inventory" / "local", **variables):
        home = tmp_path / "h"
        names = {"models": "models", "config": "config", "state": "state", "cache": "cache", "runtime": "run"}
        layout = {"scope": "user", "home": str(home), **{key: str(home / name) for key, name in names.items()}}
        extra = {"voxtral_hardware_layout": layout, "voxtral_toolkit_uv": str(Path(sys.executable).parent / "uv")}
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "voxtral_events",
        }
        environment |= {"XDG_CACHE_HOME": str(tmp_path / "xdg"), "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp")}
        environment.pop("VOXTRAL_PROGRESS", None)
        command = [sys.executable, "-m", "ansible", "playbook", str(ROOT / "playbooks" / f"{playbook}.yml")]
        command += ["-i", str(inventory), "-e", json.dumps({**extra, **variables}), *options]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert events, done.stderr
        return done.returncode, events

    return run


def failure(events):
    return next(event["result"] for event in events if event["event"] == "failed")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_preflight_publishes_a_plan_and_leaves_nothing(play, tmp_path):
    wishes = {"port": free_port(), "arguments": {"max-model-len": 8192}}
    code, events = play(
        "preflight",
        voxtral_hardware_goal="latency",
        voxtral_hardware_serve=["nano"],
        voxtral_hardware_overrides=wishes,
        voxtral_hardware_force=True,
    )
    assert code == 0, failure(events)
    plan = next(
        event["result"]["voxtral_hardware_plan"]
        for event in events
        if "voxtral_hardware_plan" in event.get("result", {})
    )
    assert plan["instances"][0]["model"] == "nano"
    assert plan["goal"] == "latency"
    assert plan["instances"][0]["arguments"]["max-num-seqs"] == 8
    assert "forced: nano has a context of 4096 tokens, not 8192" in plan["warnings"]
    assert not (tmp_path / "h").exists()


def test_a_port_in_use_is_refused_with_its_holder_and_the_cure(play):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        code, events = play("preflight", voxtral_hardware_overrides={"port": port})
    assert code != 0
    assert f"port {port} is held by process {os.getpid()}" in failure(events)["msg"]
    assert "take another port" in failure(events)["hint"]


def test_every_host_is_looked_at_and_told_everything_that_stands_in_its_way(play, tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        hosts = {
            "good": {"voxtral_hardware_overrides": {"port": free_port()}},
            "busy": {"voxtral_hardware_overrides": {"port": listener.getsockname()[1]}},
            # The host has no GPU, so there is no plan; what else is wrong is said all the same.
            "wants": {"voxtral_hardware_overrides": {"model": "small-24b"}},
            "greedy": {"voxtral_hardware_overrides": {"arguments": {"max-model-len": 8192}}},
        }
        for name, variables in hosts.items():
            variables["ansible_connection"] = "local"
            variables["ansible_python_interpreter"] = sys.executable
            if name == "wants":
                variables["voxtral_release"] = {"engine": "0.32.0", "models": [SMALL]}
        inventory = tmp_path / "hosts.yml"
        inventory.write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
        code, events = play("preflight", inventory=inventory)
    assert code != 0
    failed = {event["host"]: event["result"] for event in events if event["event"] == "failed"}
    assert set(failed) == {"busy", "wants", "greedy"}
    assert failed["greedy"]["msg"] == "plan: nano has a context of 4096 tokens, not 8192"
    assert failed["busy"]["msg"].startswith("port: port ")
    assert failed["wants"]["msg"].startswith("plan: ")
    assert "small-24b" in failed["wants"]["msg"]
    checks = {finding["check"] for finding in failed["wants"]["voxtral_hardware_findings"]}
    assert {"system", "python", "shm", "rights", "certificates", "plan"} <= checks
    assert not (tmp_path / "h").exists()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"voxtral_hardware_overrides": {"prot": 8000}}, "prot"),
        ({"voxtral_hardware_overrides": {"model": "mini3b"}}, "unknown model 'mini3b'"),
        ({"voxtral_release": {"engine": "0.32.0", "models": []}}, "models"),
        ({"voxtral_hardware_layout": {"scope": "planet"}}, "planet"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_happens(play, tmp_path, variables, message):
    code, events = play("preflight", **variables)
    assert code != 0
    assert message in json.dumps(failure(events))
    assert not (tmp_path / "h").exists()


@pytest.mark.parametrize("in_sight", [False, True])
def test_check_mode_on_an_untouched_host_tells_what_would_be_done_and_does_none_of_it(
    play, tmp_path, monkeypatch, in_sight
):
    # A checkout on the module search path shows the host's Python the package, without the libraries it needs.
    monkeypatch.setenv("PYTHONPATH", str(ROOT) if in_sight else "")
    code, events = play("site", "--check", voxtral_hardware_overrides={"port": free_port()})
    assert code == 0, failure(events)
    told = {event["role"] for event in events if event["event"] == "changed"}
    assert {"voxtral_toolkit", "voxtral_engine", "voxtral_weights", "voxtral_server", "voxtral_whisper"} == told
    assert not (tmp_path / "h").exists()
