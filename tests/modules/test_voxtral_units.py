"""The module that runs systemd's units: what it decides, with a systemctl that only notes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.modules.conftest import PLUGINS, load

NAME = "voxtral-engine@one-main.service"
OTHER = "voxtral-engine@zero-main.service"
TEXT = "[Unit]\n"


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    module = load(PLUGINS / "modules" / "voxtral_units.py", "voxtral_test_units")
    folder = tmp_path / "system"
    folder.mkdir()
    (tmp_path / "main").mkdir()
    monkeypatch.setattr(module, "UNITS", folder)
    module.said = []
    module.shown = {"ActiveState": "inactive", "UnitFileState": ""}
    module.started = []

    def do(self, *words):
        module.said.append(words)

    monkeypatch.setattr(module.Systemd, "do", do)
    monkeypatch.setattr(module.Systemd, "show", lambda self, unit: module.shown)
    monkeypatch.setattr(module, "start", lambda systemd, name, directory, timeout: module.started.append(name))
    return module


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, object]:
    return {"units": {NAME: TEXT}, "instances": {NAME: str(tmp_path / "main")}, "marks": str(tmp_path / "marks")}


def test_a_first_run_writes_reloads_enables_and_starts_once(run_module, units, arguments):
    done = run_module("voxtral_units", _module=units, **arguments)
    assert done["changed"] is True
    assert (units.UNITS / NAME).read_text() == TEXT
    assert units.said == [("daemon-reload",), ("enable", NAME)]
    assert units.started == [NAME]


RUNNING = {"ActiveState": "active", "UnitFileState": "enabled"}


def test_a_second_run_does_nothing(run_module, units, arguments):
    run_module("voxtral_units", _module=units, **arguments)
    units.said, units.started, units.shown = [], [], RUNNING
    done = run_module("voxtral_units", _module=units, **arguments)
    assert done["changed"] is False
    assert (units.said, units.started) == ([], [])


def test_a_change_of_the_instance_restarts_it(run_module, units, arguments, tmp_path):
    run_module("voxtral_units", _module=units, **arguments)
    units.started, units.shown = [], RUNNING
    (tmp_path / "main" / "env").write_text("A=1\n")
    done = run_module("voxtral_units", _module=units, **arguments)
    assert done["voxtral_units"]["written"] == []
    assert done["voxtral_units"]["started"] == {NAME: "what it is started from has changed"}
    assert units.started == [NAME]


def test_a_run_that_was_interrupted_between_writing_and_restarting_is_made_good(run_module, units, arguments):
    run_module("voxtral_units", _module=units, **arguments)
    units.started, units.shown = [], RUNNING
    changed = {**arguments, "units": {NAME: "[Unit]\nDescription=new\n"}}
    (units.UNITS / NAME).write_text(changed["units"][NAME])  # written, and then the power failed
    run_module("voxtral_units", _module=units, **changed)
    assert units.started == [NAME]


def test_a_unit_that_stands_still_is_started(run_module, units, arguments):
    run_module("voxtral_units", _module=units, **arguments)
    units.started, units.shown = [], {**RUNNING, "ActiveState": "failed"}
    done = run_module("voxtral_units", _module=units, **arguments)
    assert done["voxtral_units"]["started"] == {NAME: "it is failed"}


def test_the_units_of_another_release_are_stopped_and_removed_first(run_module, units, arguments):
    (units.UNITS / OTHER).write_text(TEXT)
    done = run_module("voxtral_units", _module=units, **arguments)
    assert done["voxtral_units"]["stopped"] == [OTHER]
    assert units.said[0] == ("disable", "--now", OTHER)
    assert not (units.UNITS / OTHER).exists()


def test_check_mode_tells_and_touches_nothing(run_module, units, arguments):
    told = run_module("voxtral_units", _module=units, _check=True, **arguments)
    assert told["changed"] is True
    assert list(units.UNITS.iterdir()) == []
    assert (units.said, units.started) == ([], [])


def test_a_start_that_fails_says_why_and_what_to_do(run_module, units, arguments, monkeypatch):
    from voxtral_ops.errors import ServerError

    def die(*_):
        raise ServerError("main died while starting: no memory", hint="lower max-model-len", last_words=["boom"])

    monkeypatch.setattr(units, "start", die)
    failed = run_module("voxtral_units", _module=units, **arguments)
    assert failed["failed"] is True
    assert failed["hint"] == "lower max-model-len"
    assert failed["stderr"] == "boom"
