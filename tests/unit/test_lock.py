"""The tool that writes and checks the locks: how it reads them, and that what is wrong with one is found."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools import lock

TEXT = """# For a test.
# Made by: python tools/lock.py write test  (input 0123456789abcdef)
av==18.1.0 ; python_full_version < '3.12' \\
    --hash=sha256:aa \\
    --hash=sha256:bb
torch==2.13.0+cpu \\
    --hash=sha256:cc
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock named ``test`` in a project of its own."""
    monkeypatch.setattr(lock, "ROOT", tmp_path)
    monkeypatch.setitem(lock.LOCKS, "test", lock.Lock("test.txt", "For a test.", ("av", "torch")))
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "test"\n', encoding="utf-8")
    path = tmp_path / "test.txt"
    path.write_text(TEXT.replace("0123456789abcdef", lock.input_digest(lock.LOCKS["test"])), encoding="utf-8")
    return path


def test_a_lock_is_read_with_markers_and_hashes() -> None:
    assert lock.pinned(TEXT) == {
        "av==18.1.0": ("av==18.1.0 ; python_full_version < '3.12'", {"aa", "bb"}),
        "torch==2.13.0+cpu": ("torch==2.13.0+cpu", {"cc"}),
    }


def test_an_engines_lock_is_looked_for_on_its_own_systems() -> None:
    assert lock.targets("cuda12") == ["x86_64-manylinux_2_31"]
    assert lock.targets("cuda13-aarch64") == ["aarch64-manylinux_2_34"]
    assert {target.split("-")[0] for target in lock.targets("toolkit")} == {"x86_64", "aarch64"}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("(input ", "(input 0", "its input changed"),
        (" \\\n    --hash=sha256:cc", "", "no hash for torch"),
        ("# For", "# https://index.example/ For", "names an address"),
    ],
)
def test_what_is_wrong_with_a_lock_is_found(written: Path, old: str, new: str, problem: str) -> None:
    assert lock.check("test") == []
    written.write_text(written.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    assert any(problem in each for each in lock.check("test"))


def test_a_lock_that_was_never_written(written: Path) -> None:
    written.unlink()
    assert "missing" in lock.check("test")[0]


@pytest.mark.parametrize(
    ("answer", "code", "problem"),
    [
        ("av==18.1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb \\\n    --hash=sha256:new\n", 0, None),
        ("torch==2.13.0+cpu\n", 0, None),
        ("av==18.1.0 \\\n    --hash=sha256:aa\n", 0, "other files of av==18.1.0"),
        ("", 1, "not everything can be had"),
    ],
)
def test_what_the_index_answers(
    written: Path, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, problem: str | None
) -> None:
    monkeypatch.setattr(lock, "targets", lambda _: ["x86_64-manylinux_2_31"])
    done = subprocess.CompletedProcess([], code, stdout=answer, stderr="no wheel of torch")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    found = lock.lacking("test")
    assert bool(found) is bool(problem)
    assert all(problem in each for each in found if problem)
