"""The module that writes a release's directory and flips the link."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, object]:
    return {
        "path": str(tmp_path / "releases" / "one"),
        "files": {"plan.json": "{}\n", "instances/main/env": "A=1\n"},
        "links": {"toolkit": "/opt/toolkit"},
        "current": str(tmp_path / "current"),
    }


def test_everything_is_written_then_the_link(run_module, arguments, tmp_path):
    done = run_module("voxtral_release", **arguments)
    assert done["changed"] is True
    assert (tmp_path / "current").readlink() == Path("releases/one")
    assert (tmp_path / "current" / "instances/main/env").read_text() == "A=1\n"
    assert (tmp_path / "current" / "toolkit").readlink() == Path("/opt/toolkit")
    assert (tmp_path / "current" / "plan.json").stat().st_mode & 0o777 == 0o644
    assert run_module("voxtral_release", **arguments)["changed"] is False


def test_check_mode_tells_and_touches_nothing(run_module, arguments, tmp_path):
    told = run_module("voxtral_release", _check=True, _diff=True, **arguments)
    assert told["changed"] is True
    assert any(part["after"] == "A=1\n" for part in told["diff"])
    assert list(tmp_path.iterdir()) == []


def test_only_what_differs_is_written(run_module, arguments, tmp_path):
    run_module("voxtral_release", **arguments)
    untouched = (tmp_path / "current" / "plan.json").stat().st_mtime_ns
    arguments["files"]["instances/main/env"] = "A=2\n"
    done = run_module("voxtral_release", **arguments)
    assert done["voxtral_release"] == [str(Path(arguments["path"]) / "instances/main/env")]
    assert (tmp_path / "current" / "plan.json").stat().st_mtime_ns == untouched


def test_what_belongs_to_nobody_is_removed_but_not_the_hosts_own_verdict(run_module, arguments):
    run_module("voxtral_release", **arguments)
    root = Path(arguments["path"])
    (root / "instances" / "main" / "old").write_text("x")
    (root / "verdict").write_text("good")
    done = run_module("voxtral_release", **arguments)
    assert done["voxtral_release"] == ["instances/main/old"]
    assert (root / "verdict").exists()


def test_the_link_moves_from_one_release_to_the_next_in_one_step(run_module, arguments, tmp_path):
    run_module("voxtral_release", **arguments)
    run_module("voxtral_release", **{**arguments, "path": str(tmp_path / "releases" / "two")})
    assert (tmp_path / "current").readlink() == Path("releases/two")
    assert (tmp_path / "releases" / "one" / "plan.json").exists()
