"""The command line's frame: help, unknown commands, errors, what it imports."""

import argparse
import importlib
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from voxtral_ops.cli import main as cli
from voxtral_ops.errors import HostError

HEAVY = ("openai", "numpy", "av", "torch", "ansible", "rich", "huggingface_hub", "pynvml")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_a_parser_and_runnable_examples(name: str) -> None:
    module = importlib.import_module(f"voxtral_ops.cli.{name}")
    parser = cli.command_parser(name, module)
    assert "--json" in parser.format_help()
    for line in module.EXAMPLES.splitlines()[1:]:
        assert f"voxtral-ops {name}" in line, line


@pytest.mark.parametrize("words", [[], ["version"], ["transcribe", "--help"], ["plan", "--help"], ["up", "--help"]])
def test_help_and_version_import_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys\nfrom voxtral_ops.cli.main import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr.strip().splitlines()[-1] == "[]"


def test_importing_the_package_imports_nothing_heavy() -> None:
    everything = (*HEAVY, "pydantic", "yaml")
    code = f"import sys, voxtral_ops; print([name for name in {everything!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trancribe", "a.wav"]) == 2
    assert "did you mean transcribe?" in capsys.readouterr().err


def _command(raises: BaseException) -> SimpleNamespace:
    def run(args: argparse.Namespace) -> int:
        raise raises

    return SimpleNamespace(EXAMPLES="", configure=lambda parser: None, run=run)


def test_an_error_is_a_message_a_hint_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    args = argparse.Namespace(json=False, debug=False)
    assert cli._guarded(_command(HostError("port 8000 is taken by nginx (pid 7)", hint="choose another")), args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "port 8000 is taken by nginx (pid 7)" in err
    assert "choose another" in err
    assert "Traceback" not in err


def test_an_error_under_json_is_an_object_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    args = argparse.Namespace(json=True, debug=False)
    assert cli._guarded(_command(HostError("no space", hint="free some", path="/var")), args) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error == {
        "type": "HostError",
        "category": "host",
        "message": "no space",
        "hint": "free some",
        "retryable": False,
        "details": {"path": "/var"},
    }


def test_ctrl_c_is_a_message_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    args = argparse.Namespace(json=False, debug=False)
    assert cli._guarded(_command(KeyboardInterrupt()), args) == 2
    assert "stopped" in capsys.readouterr().err
