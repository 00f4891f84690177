"""The module that runs systemd's units: what it decides, with a systemctl that only notes."""

from __future__ import annotations

import os
import time
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
    module.shown = {"ActiveState": "inactive", "UnitFileState": "", "ExecMainStartTimestampMonotonic": "0"}
    module.started = []

    def do(self, *words):
        module.said.append(words)

    monkeypatch.setattr(module.Systemd, "do", do)
    monkeypatch.setattr(module.Systemd, "show", lambda self, unit: module.shown)
    monkeypatch.setattr(module, "start", lambda systemd, name, directory, timeout: module.started.append(name))
    return module


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, object]:
    return {"units": {NAME: TEXT}, "instances": {NAME: str(tmp_path / "main")}}


def running(started: float) -> dict[str, str]:
    microseconds = int((time.monotonic() - (time.time() - started)) * 1e6)
    return {"ActiveState": "active", "UnitFileState": "enabled", "ExecMainStartTimestampMonotonic": str(microseconds)}


def test_a_first_run_writes_reloads_enables_and_starts_once(run_module, units, arguments):
    done = run_module("voxtral_units", _module=units, **arguments)
    assert done["changed"] is True
    assert (units.UNITS / NAME).read_text() == TEXT
    assert units.said == [("daemon-reload",), ("enable", NAME)]
    assert units.started == [NAME]


def test_a_second_run_does_nothing(run_module, units, arguments):
    (units.UNITS / NAME).write_text(TEXT)
    units.shown = running(time.time() + 5)
    done = run_module("voxtral_units", _module=units, **arguments)
    assert done["changed"] is False
    assert (units.said, units.started) == ([], [])


def test_a_unit_older_than_its_files_is_restarted_even_when_nothing_changed_now(run_module, units, arguments, tmp_path):
    (units.UNITS / NAME).write_text(TEXT)
    os.utime(units.UNITS / NAME, (1, 1))
    units.shown = running(time.time() - 60)
    (tmp_path / "main" / "env").write_text("A=1\n")
    done = run_module("voxtral_units", _module=units, **arguments)
    assert done["voxtral_units"]["written"] == []
    assert done["voxtral_units"]["started"] == {NAME: "it was started before env changed"}


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
