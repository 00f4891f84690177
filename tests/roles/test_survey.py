"""What a survey that fails says: every finding, each with its own cure."""

from __future__ import annotations

from tests.modules.conftest import PLUGINS, load
from voxtral_ops.planning import Finding

SURVEY = load(PLUGINS / "action" / "voxtral_survey.py", "voxtral_test_survey")
PORT = Finding(check="port", ok=False, detail="port 8000 is held by nginx", hint="kill 42")
DISK = Finding(check="disk", ok=False, detail="1 GiB free, 5 GiB needed", hint="free 4 GiB")


def test_one_thing_is_said_plainly():
    assert SURVEY.failure([PORT]) == {"failed": True, "msg": "port: port 8000 is held by nginx", "hint": "kill 42"}


def test_several_are_numbered_so_that_each_cure_finds_its_finding():
    told = SURVEY.failure([PORT, DISK])
    assert told["msg"] == "(1) port: port 8000 is held by nginx; (2) disk: 1 GiB free, 5 GiB needed"
    assert told["hint"] == "(1) kill 42; (2) free 4 GiB"
