"""The launcher: what it says when Python is missing, cannot make environments, or was interrupted."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("sh", "dirname", "cmp", "rm", "mv", "cp", "id", "cat", "tail", "flock", "printf", "command")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As much of a checkout as the launcher looks at, and a PATH that holds nothing but the shell's tools."""
    root = tmp_path / "checkout"
    (root / "requirements").mkdir(parents=True)
    (root / "roles/voxtral_toolkit/files").mkdir(parents=True)
    shutil.copy2(ROOT / "voxtral", root / "voxtral")
    (root / "requirements/operator.txt").write_text("# empty\n")
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        if found := shutil.which(tool):
            (tmp_path / "bin" / tool).symlink_to(found)
    return root


def launch(checkout: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(checkout.parent / "bin"), "HOME": str(checkout.parent), **more}
    return subprocess.run(
        [str(checkout / "voxtral"), *words], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def program(checkout: Path, name: str, text: str) -> None:
    path = checkout.parent / "bin" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_no_python_names_the_line_that_installs_it(checkout: Path) -> None:
    program(checkout, "apt-get", "exit 0")
    result = launch(checkout, "version")
    assert result.returncode == 2
    assert "no Python 3.11 or newer answered" in result.stderr
    assert "sudo apt-get update && sudo apt-get install -y python3 python3-venv" in result.stderr


def test_a_program_that_only_pretends_to_be_python_is_not_believed(checkout: Path) -> None:
    program(checkout, "python3.13", "echo 'python3.13: command not found' >&2; exit 127")
    result = launch(checkout, "version")
    assert result.returncode == 2
    assert "no Python 3.11 or newer answered" in result.stderr


def test_a_named_interpreter_that_does_not_answer_is_named(checkout: Path) -> None:
    result = launch(checkout, "version", VOXTRAL_PYTHON="/nowhere/python3")
    assert result.returncode == 2
    assert "VOXTRAL_PYTHON=/nowhere/python3" in result.stderr


def test_python_without_venv_names_the_package(checkout: Path) -> None:
    program(checkout, "apt-get", "exit 0")
    answer = 'case "$*" in *venv*) echo "No module named ensurepip" >&2; exit 1;; *%d*) echo 3.12;; *) echo "$0";; esac'
    program(checkout, "python3.12", answer)
    result = launch(checkout, "version")
    assert result.returncode == 2
    assert "cannot make a virtual environment" in result.stderr
    assert "python3.12-venv" in result.stderr
    assert not (checkout / ".venv").exists()


def test_without_a_stamp_a_half_made_environment_is_made_again(checkout: Path) -> None:
    ruin = checkout / ".venv/bin"
    ruin.mkdir(parents=True)
    (ruin / "leftover").touch()
    program(checkout, "python3.12", 'echo "$0"')
    program(checkout, "uv", 'echo "uv $*" >>"$HOME/uv.log"; exit 3')
    result = launch(checkout, "version")
    assert result.returncode == 2
    assert "uv could not make" in result.stderr
    assert not (ruin / "leftover").exists()


def test_with_the_stamp_nothing_is_set_up(checkout: Path) -> None:
    binary = checkout / ".venv/bin"
    binary.mkdir(parents=True)
    shutil.copy2(checkout / "requirements/operator.txt", checkout / ".venv/operator.lock")
    (binary / "python").write_text('#!/bin/sh\necho "$@"\n')
    (binary / "python").chmod(0o755)
    result = launch(checkout, "status", "--json")
    assert (result.returncode, result.stdout.strip()) == (0, "-m voxtral_ops status --json")
    assert result.stderr == ""


def test_a_checkout_of_somebody_else_is_refused_before_anything_is_made(checkout: Path) -> None:
    # Root may write everywhere, so the launcher runs as nobody, in a place that nobody can read.
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(checkout.parent, Path(folder), dirs_exist_ok=True, symlinks=True)
        Path(folder).chmod(0o755)  # after the copy, which brings the mode along
        root = Path(folder) / "checkout"
        root.chmod(0o555)
        nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        result = subprocess.run(
            [str(root / "voxtral"), "version"],
            env={"PATH": f"{folder}/bin", "HOME": folder},
            capture_output=True,
            text=True,
            check=False,
            **nobody,
        )
        root.chmod(0o755)
    assert result.returncode == 2
    assert "cannot be written" in result.stderr
