"""The module that makes environments: whole or absent, idempotent, and clear about what went wrong."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import zipfile
from pathlib import Path

import pytest

LOCK = "# a lock\nwheel-of-test==1.0 \\\n    --hash=sha256:{digest}\n"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with one wheel that holds one module."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    info = "wheel_of_test-1.0.dist-info"
    with zipfile.ZipFile(folder / "wheel_of_test-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("wheel_of_test.py", "ANSWER = 42\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: wheel-of-test\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", f"wheel_of_test.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return folder


@pytest.fixture
def arguments(tmp_path: Path, package: Path) -> dict[str, object]:
    digest = hashlib.sha256(next(package.glob("*.whl")).read_bytes()).hexdigest()
    lock = tmp_path / "lock.txt"
    lock.write_text(LOCK.format(digest=digest))
    return {
        "path": str(tmp_path / "engines" / "one"),
        "python": sys.executable,
        "uv": str(Path(sys.executable).parent / "uv"),
        "requirements": str(lock),
        "lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest(),
        "find_links": [str(package)],
        "cache": str(tmp_path / "cache"),
    }


@pytest.fixture(autouse=True)
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_OFFLINE", "1")


def test_it_is_made_stamped_compiled_and_left_alone_the_second_time(run_module, arguments):
    path = Path(arguments["path"])
    first = run_module("voxtral_venv", **arguments)
    assert first["changed"] is True
    assert first["voxtral_venv"]["before"] == "missing"
    stamp = json.loads((path / "voxtral-complete.json").read_text())
    assert stamp["id"] == "one"
    assert stamp["lock_sha256"] == arguments["lock_sha256"]
    assert list(path.glob("lib/*/site-packages/__pycache__/wheel_of_test.*.pyc")), "byte code must be there"
    second = run_module("voxtral_venv", **arguments)
    assert second["changed"] is False
    assert second["voxtral_venv"]["complete"] is True


def test_check_mode_tells_and_touches_nothing(run_module, arguments):
    told = run_module("voxtral_venv", _check=True, _diff=True, **arguments)
    assert told["changed"] is True
    assert "missing" in told["diff"]["before"]
    assert not Path(arguments["path"]).exists()


def test_without_the_lock_it_only_looks(run_module, arguments):
    told = run_module("voxtral_venv", **{**arguments, "requirements": None})
    assert told["changed"] is True
    assert not Path(arguments["path"]).exists()


def test_what_an_interrupted_run_left_is_removed_and_made_anew(run_module, arguments):
    path = Path(arguments["path"])
    path.mkdir(parents=True)
    (path / "half").write_text("torn")
    done = run_module("voxtral_venv", **arguments)
    assert done["voxtral_venv"]["before"] == "unfinished"
    assert not (path / "half").exists()
    assert (path / "voxtral-complete.json").exists()


def test_an_environment_whose_interpreter_is_gone_is_made_anew(run_module, arguments):
    run_module("voxtral_venv", **arguments)
    python = Path(arguments["path"]) / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python")
    assert run_module("voxtral_venv", **arguments)["voxtral_venv"]["before"] == "without its interpreter"
    assert python.exists()


def test_another_lock_is_not_taken_for_this_one(run_module, arguments, tmp_path):
    run_module("voxtral_venv", **arguments)
    other = tmp_path / "other.txt"
    other.write_text(Path(arguments["requirements"]).read_text() + "# more\n")
    changed = {**arguments, "requirements": str(other), "lock_sha256": hashlib.sha256(other.read_bytes()).hexdigest()}
    assert run_module("voxtral_venv", **changed)["voxtral_venv"]["before"] == "of another lock"


def test_a_wrong_hash_is_refused_with_the_cure_and_leaves_no_stamp(run_module, arguments):
    lock = Path(arguments["requirements"])
    lock.write_text(LOCK.format(digest="0" * 64))
    arguments["lock_sha256"] = hashlib.sha256(lock.read_bytes()).hexdigest()
    failed = run_module("voxtral_venv", **arguments)
    assert failed["failed"] is True
    assert "not the one that the lock names" in failed["msg"]
    assert failed["hint"]
    assert not (Path(arguments["path"]) / "voxtral-complete.json").exists()


def test_an_alias_answers_to_the_other_name_with_the_suffix(run_module, arguments):
    arguments["aliases"] = [{"name": "other", "source": "wheel_of_test", "suffix": "+cpu"}]
    run_module("voxtral_venv", **arguments)
    python = Path(arguments["path"]) / "bin" / "python"
    answer = os.popen(f"{python} -c 'from importlib.metadata import version; print(version(\"other\"))'").read()
    assert answer.strip() == "1.0+cpu"


def test_a_second_builder_is_kept_out(run_module, arguments):
    from ansible.module_utils.voxtral_venv_builder import held

    with held(Path(arguments["path"])):
        failed = run_module("voxtral_venv", **arguments)
    assert "another run is building" in failed["msg"]


@pytest.mark.parametrize(
    ("words", "message", "cure"),
    [
        ("error: I/O failed\n cause: No space left on device (os error 28)", "no space is left", "free some space"),
        ("cause: Failed to fetch: x\n cause: dns error", "does not answer", "UV_DEFAULT_INDEX"),
        ("cause: Failed to fetch: x\n cause: invalid peer certificate: UnknownIssuer", "not trusted", "SSL_CERT_FILE"),
        ("Because there is no version of torch==2.13.0+cpu", "build of torch", "VOXTRAL_FIND_LINKS"),
        ("Error: Command ... ensurepip is not available", "cannot make virtual environments", "python3-venv"),
        ("cause: Hash mismatch for `uv==0.13.9`", "not the one that the lock names", "cache clean"),
    ],
)
def test_an_installers_words_become_a_reason_and_a_cure(tmp_path, words, message, cure):
    from ansible.module_utils.voxtral_venv_builder import VenvBuilder

    builder = VenvBuilder(tmp_path / "venv", "/usr/bin/python3", tmp_path / "lock", lambda *_: None)
    error = builder._explain(words, ["uv"])
    assert message in str(error)
    assert cure in error.hint


def test_the_environment_of_the_installers_is_ours(tmp_path, monkeypatch):
    from ansible.module_utils.voxtral_venv_builder import VenvBuilder

    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    environment = VenvBuilder(tmp_path, "3.11", tmp_path / "lock", lambda *_: None).environment
    assert "PYTHONDONTWRITEBYTECODE" not in environment
    assert environment["UV_SYSTEM_CERTS"] == "1"
    assert environment["UV_PYTHON_DOWNLOADS"] == "never"


def test_a_wheelhouse_is_all_that_is_asked(run_module, arguments, package, tmp_path, monkeypatch):
    # Neither variable is set: it is the module itself that keeps away from the index.
    monkeypatch.delenv("UV_NO_INDEX")
    monkeypatch.delenv("UV_OFFLINE")
    house = {**arguments, "find_links": [str(tmp_path / "nowhere")], "wheelhouse": str(package)}
    assert run_module("voxtral_venv", **house)["voxtral_venv"]["complete"] is True
    (package / "wheel_of_test-1.0-py3-none-any.whl").unlink()
    told = run_module("voxtral_venv", **{**house, "path": str(tmp_path / "two"), "cache": str(tmp_path / "empty")})
    assert f"{package} lacks a package" in told["msg"]
    assert "weights export --engine" in told["hint"]
