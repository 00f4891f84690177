"""What `up` makes of a run's events, and how a model is asked for, pinned and remembered."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import yaml

from voxtral_ops import weights
from voxtral_ops.catalog import CatalogModel
from voxtral_ops.cli import up
from voxtral_ops.cli.progress import Painter
from voxtral_ops.errors import ConfigurationError, NetworkError
from voxtral_ops.paths import user_layout
from voxtral_ops.planning.plan import PARTS
from voxtral_ops.provisioning import Event, Project
from voxtral_ops.release import ReleaseFile, ReleaseModel

PLAN = {
    "engine": "0.32.0",
    "build": "cpu",
    "reasons": {"build": "there is no GPU"},
    "warnings": ["slow"],
    "instances": [
        {
            "model": "nano",
            "host": "127.0.0.1",
            "port": 8000,
            "served_name": "nano",
            "reasons": {"model": "it is shipped"},
            "memory": {**dict.fromkeys(PARTS, 2**28), "limit": 2**34},
        }
    ],
}


def told(*events: Event) -> tuple[up.Run, Painter]:
    outcome = up.Run()
    with Painter() as painter:
        for event in events:
            up._take(outcome, painter, event)
        painter.finish()
    return outcome, painter


def result(kind: str, task: str = "t", **fields: Any) -> Event:
    return Event(kind, role="voxtral_server", task=task, host="localhost", data={"result": fields})


def test_phases_follow_the_roles_and_know_what_changed(capsys: pytest.CaptureFixture[str]) -> None:
    outcome, painter = told(
        Event("task", role="voxtral_hardware", task="preflight | Look"),
        result("ok", voxtral_hardware_plan=PLAN),
        Event("task", role="voxtral_engine", task="install | Make"),
        result("changed"),
        Event("end", data={"rc": 0, "stderr": ""}),
    )
    assert [(phase.name, phase.changed) for phase in painter.phases] == [
        ("looking at this machine", False),
        ("installing the engine: vLLM 0.32.0, cpu build", True),
    ]
    assert (outcome.code, outcome.changed) == (0, 1)
    shown = capsys.readouterr().err
    assert "build: cpu, there is no GPU" in shown
    assert "note: slow" in shown


def test_the_words_are_shown_as_soon_as_the_gate_has_them(capsys: pytest.CaptureFixture[str]) -> None:
    gate = {"ok": True, "clips": [{"text": "Turn on the kitchen lights."}]}
    outcome, _ = told(result("ok", voxtral_gate=gate), Event("task", role="voxtral_whisper", task="install | x"))
    assert outcome.words == "Turn on the kitchen lights."
    shown = capsys.readouterr().err
    assert shown.index("Turn on the kitchen lights.") < shown.index("Whisper")


def test_a_failure_is_the_modules_own_words_and_cure() -> None:
    outcome, _ = told(
        result("failed", task="preflight | Ports", msg="port 8000 is held by nginx", hint="up --port 8001"),
        Event("end", data={"rc": 2, "stderr": ""}),
    )
    error = up._failure(outcome)
    assert (error.message, error.hint) == ("port 8000 is held by nginx", "up --port 8001")


def test_an_ignored_failure_is_none() -> None:
    ignored = Event("failed", task="t", data={"result": {"msg": "no"}, "ignored": True})
    assert told(ignored)[0].failure is None


def test_a_run_that_ansible_refused_says_what_ansible_said() -> None:
    outcome, _ = told(Event("end", data={"rc": 4, "stderr": "ERROR! the playbook could not be found"}))
    assert "could not be found" in up._failure(outcome).message


def pinned_model(model: CatalogModel) -> ReleaseModel:
    files = (ReleaseFile(path="params.json", size=3, sha256="a" * 64),)
    return ReleaseModel(name=model.name, repository=model.repository, revision="b" * 40, files=files)


def test_a_real_model_is_pinned_once_shown_and_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def ask(model: CatalogModel) -> ReleaseModel:
        asked.append(model.name)
        return pinned_model(model)

    monkeypatch.setattr(weights, "pin", ask)
    project = Project(tmp_path)
    first, _ = up._release("mini-3b", project)
    assert "b" * 40 in capsys.readouterr().err
    written = project.inventory / "group_vars/all/release.yml"
    assert yaml.safe_load(written.read_text())["voxtral_release"]["models"][0]["revision"] == "b" * 40
    assert up._release("mini-3b", project)[0] == first
    assert up._release(None, project)[0] == first
    assert asked == ["mini-3b"]
    assert up._release("nano", project)[0].models[0].name == "nano"
    assert not written.exists()


def test_a_model_that_cannot_be_had_leaves_nothing_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(model: CatalogModel) -> ReleaseModel:
        raise NetworkError("the hub cannot be reached")

    monkeypatch.setattr(weights, "pin", ask)
    with pytest.raises(NetworkError):
        up._release("mini-3b", Project(tmp_path))
    assert list(tmp_path.rglob("*.yml")) == []


def test_an_unknown_model_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        up._release("mini", Project(tmp_path))
    assert "mini-3b" in caught.value.hint


def test_a_damaged_pin_is_named(tmp_path: Path) -> None:
    path = Project(tmp_path).inventory / "group_vars/all/release.yml"
    path.parent.mkdir(parents=True)
    path.write_text("voxtral_release: {engine: 0.32.0, models: [{name: mini-3b}]}\n")
    with pytest.raises(ConfigurationError, match="release.yml"):
        up._release(None, Project(tmp_path))


def test_the_roles_are_told_the_layout_and_the_wishes() -> None:
    args = argparse.Namespace(port=8123, goal="latency", whisper_weights=None)
    release, _ = up._release("nano", Project(Path("/nowhere")))
    variables = up._variables(args, user_layout(), release)
    assert variables["voxtral_hardware_overrides"] == {"port": 8123}
    assert variables["voxtral_hardware_goal"] == "latency"
    assert variables["voxtral_hardware_layout"]["scope"] == "user"


def test_what_is_printed_at_the_end_can_be_pasted() -> None:
    outcome = up.Run(plan=PLAN, gate={"ok": True}, words="Hello.", code=0)
    use = up._use(outcome)
    assert use["endpoint"] == "http://127.0.0.1:8000/v1"
    assert use["curl"].startswith("curl -sS http://127.0.0.1:8000/v1/audio/transcriptions -F model=nano -F file=@/")
    assert "./" not in use["openai"].split()[0]
    assert "Hello." in up._manual(outcome, 100.0)


def test_every_server_of_the_plan_is_shown() -> None:
    second = {**PLAN["instances"][0], "name": "nano-2", "port": 8001}  # type: ignore[index]
    outcome = up.Run(plan={**PLAN, "instances": [PLAN["instances"][0], second]}, code=0)  # type: ignore[index]
    assert "http://127.0.0.1:8001/v1 (nano-2)" in up._manual(outcome, 100.0)
