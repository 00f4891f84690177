"""The proof of an engine: what it says of a whole one, a broken one and none."""

import sys
from pathlib import Path

import pytest

from voxtral_ops.errors import HostError
from voxtral_ops.server.engine_verify import verify_engine


def environment(folder: Path, script: str) -> Path:
    """A virtual environment as far as the proof can see: a python that answers with ``script``."""
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text(f"#!{sys.executable}\n{script}\n")
    python.chmod(0o755)
    return folder


def test_a_missing_library_and_an_undecodable_format_are_each_named(tmp_path: Path) -> None:
    answer = (
        '{"python": "3.11.2", "versions": {"vllm": "0.32.0+cpu"}, "broken": {"soxr": "ImportError: no"},'
        ' "decoded": {"a.wav": 1.5}, "undecoded": {"a.m4a": "InvalidDataError: x"}}'
    )
    report = verify_engine(environment(tmp_path / "0.32.0-cpu-1", f"print({answer!r})"), ())
    assert not report.ok
    assert report.problems == (
        "soxr does not import: ImportError: no",
        "a.m4a does not decode: InvalidDataError: x",
    )


def test_a_whole_engine_is_ok(tmp_path: Path) -> None:
    answer = '{"python": "3", "versions": {"vllm": "1"}, "broken": {}, "decoded": {"a.wav": 1.5}, "undecoded": {}}'
    assert verify_engine(environment(tmp_path / "e", f"print({answer!r})"), ()).ok


def test_an_interpreter_that_dies_is_a_broken_engine(tmp_path: Path) -> None:
    venv = environment(tmp_path / "e", "import sys; sys.exit('libpython3.11.so.1.0: cannot open shared object file')")
    with pytest.raises(HostError, match=r"libpython3\.11\.so"):
        verify_engine(venv, ())


def test_no_engine_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(HostError) as caught:
        verify_engine(tmp_path, ())
    assert "voxtral-ops up" in caught.value.hint
