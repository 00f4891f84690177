"""transcribe and config as a person and as a program see them: stdout, stderr, exit status, JSON."""

import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.audio.sounds import encoded
from voxtral_ops.cli.main import main
from voxtral_ops.speech.formats import SUFFIXES
from voxtral_ops.testing import FakeEngine, Reply


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeEngine]:
    """The server that is configured; there is no Whisper."""
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    (tmp_path / "voxtral.toml").touch()
    monkeypatch.setenv("VOXTRAL_CONFIG", str(tmp_path / "voxtral.toml"))
    monkeypatch.setenv("VOXTRAL_WHISPER_PYTHON", str(tmp_path / "none"))
    with FakeEngine() as running:
        monkeypatch.setenv("VOXTRAL_SERVER", running.url)
        yield running


@pytest.fixture
def talk(tmp_path: Path) -> str:
    path = tmp_path / "talk.mp3"
    path.write_bytes(encoded("mp3"))
    return str(path)


def test_one_file_prints_its_words_and_nothing_else(
    engine: FakeEngine, talk: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", talk, "--language", "en"]) == 0
    said = capsys.readouterr()
    assert said.out == engine.text + "\n"
    assert said.err == ""
    assert engine.requests[0].fields["language"] == "en"


def test_several_files_are_told_apart_and_a_bad_one_stops_nobody(
    engine: FakeEngine, talk: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.wav").touch()
    again = shutil.copy(talk, tmp_path / "again.mp3")
    assert main(["transcribe", talk, str(tmp_path / "empty.wav"), str(again), "--concurrency", "1"]) == 1
    said = capsys.readouterr()
    assert said.out == f"{talk}: {engine.text}\n{again}: {engine.text}\n"
    assert "empty.wav is empty" in said.err
    assert "hint:" in said.err
    assert "2 of 3 files" in said.err


def test_a_folder_and_a_pattern_are_what_is_in_them(
    engine: FakeEngine, talk: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "talks" / "more"
    folder.mkdir(parents=True)
    for name in ("b.mp3", "a.MP3", "notes.txt"):
        shutil.copy(talk, folder / name)
    assert main(["transcribe", str(folder.parent), str(folder / "*.mp3"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [Path(each["file"]).name for each in answer["results"]] == ["a.MP3", "b.mp3"]
    assert answer["summary"]["failed"] == 0
    assert main(["transcribe", str(folder / "*.ogg")]) == 2
    assert "nothing fits" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("form", "suffix"), [("text", "txt"), ("srt", "srt"), ("vtt", "vtt"), ("verbose_json", "json")]
)
def test_files_are_written_whole_and_for_their_owner(
    engine: FakeEngine, talk: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, suffix: str
) -> None:
    places = tmp_path / "out" / "deep"
    assert main(["transcribe", talk, "--format", form, "--output-dir", str(places)]) == 0
    (written,) = places.iterdir()
    assert written.name == f"talk.mp3{SUFFIXES[form]}"
    assert engine.text in written.read_text()
    assert written.stat().st_mode & 0o777 == 0o600
    assert capsys.readouterr().out == ""


def test_json_carries_each_result_and_each_error(
    engine: FakeEngine, talk: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", talk, "/nowhere.wav", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    good, bad = answer["results"]
    assert answer["ok"] is False
    assert (good["file"], good["ok"], good["transcript"]["text"]) == (talk, True, engine.text)
    assert good["transcript"]["backend"] == "voxtral"
    assert good["transcript"]["model"] == engine.model
    assert good["transcript"]["fallback_reason"] is None
    assert (bad["ok"], bad["error"]["category"]) == (False, "audio")
    assert bad["error"]["hint"]


def test_when_no_file_could_be_transcribed_the_status_is_2(engine: FakeEngine, talk: str) -> None:
    engine.script(Reply(status=500, body="broken"))
    assert main(["transcribe", talk]) == 2


def test_stdin_is_a_dash(
    engine: FakeEngine, talk: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(Path(talk).read_bytes())))
    assert main(["transcribe", "-"]) == 0
    assert capsys.readouterr().out == engine.text + "\n"


def test_a_demonstration_model_is_named(engine: FakeEngine, talk: str, capsys: pytest.CaptureFixture[str]) -> None:
    engine.model = "voxtral-ops/nano"
    assert main(["transcribe", talk, "--backend", "voxtral"]) == 0
    assert "nano is a demonstration model" in capsys.readouterr().err
    assert main(["transcribe", talk]) == 2
    assert "--backend voxtral" in capsys.readouterr().err


def test_silence_is_said(engine: FakeEngine, talk: str, capsys: pytest.CaptureFixture[str]) -> None:
    engine.text = ""
    assert main(["transcribe", talk]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "heard no speech" in said.err


def test_config_show_tells_origins_and_no_secret(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VOXTRAL_API_KEY", "s3cret")
    assert main(["config", "show"]) == 0
    shown = capsys.readouterr().out
    assert f"{engine.url}" in shown
    assert "environment VOXTRAL_SERVER" in shown
    assert "s3cret" not in shown
    assert main(["config", "show", "--json"]) == 0
    options = json.loads(capsys.readouterr().out)["options"]
    assert options["timeout"] == {"value": 300.0, "origin": "default"}


def test_config_check_is_1_when_nobody_would_answer(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "check"]) == 0
    assert f"serves {engine.model}" in capsys.readouterr().out
    monkeypatch.setenv("VOXTRAL_SERVER", "http://127.0.0.1:9")
    assert main(["config", "check"]) == 1
    assert "nobody listens" in capsys.readouterr().out


def test_ctrl_c_does_not_wait_for_the_server(engine: FakeEngine, talk: str) -> None:
    engine.script(Reply(delay=120))
    command = [sys.executable, "-m", "voxtral_ops", "transcribe", talk, "--backend", "voxtral"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        while not engine.requests:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 2
    assert "with --resume" in said
    assert "Traceback" not in said


def test_words_reach_stdout_while_a_bar_is_on_the_terminal(engine: FakeEngine, talk: str) -> None:
    terminal, its_end = pty.openpty()
    command = [sys.executable, "-m", "voxtral_ops", "transcribe", talk]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=its_end, text=True)
    os.close(its_end)
    reader = threading.Thread(target=read_all, args=(terminal,))
    reader.start()
    try:
        words, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    reader.join()
    os.close(terminal)
    assert words == engine.text + "\n"


def read_all(terminal: int) -> None:
    with suppress(OSError):
        while os.read(terminal, 4096):
            pass


def test_recordings_of_one_name_do_not_overwrite_each_other(engine: FakeEngine, talk: str, tmp_path: Path) -> None:
    for name in ("monday", "tuesday"):
        (tmp_path / "talks" / name).mkdir(parents=True)
        shutil.copy(talk, tmp_path / "talks" / name)
    shutil.copy(talk, tmp_path / "talks" / "other.mp3")
    assert main(["transcribe", str(tmp_path / "talks"), "--output-dir", str(tmp_path / "out")]) == 0
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.txt"))
    assert written == ["monday/talk.mp3.txt", "other.mp3.txt", "tuesday/talk.mp3.txt"]


def test_one_recording_under_two_spellings_is_heard_once(
    engine: FakeEngine, talk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["transcribe", "talk.mp3", "./talk.mp3", talk]) == 0
    assert len(engine.requests) == 1


def test_what_cannot_be_written_fails_alone_and_leaves_nothing(
    engine: FakeEngine, talk: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, out = shutil.copy(talk, tmp_path / "other.mp3"), tmp_path / "out"
    (out / "talk.mp3.txt").mkdir(parents=True)
    assert main(["transcribe", talk, str(other), "--output-dir", str(out), "--json"]) == 1
    said = capsys.readouterr()
    assert [each["ok"] for each in json.loads(said.out)["results"]] == [False, True]
    assert "talk.mp3.txt" in said.err
    assert sorted(path.name for path in out.iterdir()) == ["other.mp3.txt", "talk.mp3.txt"]


def test_a_wrong_language_is_told_before_anything_is_read(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", "/nowhere.wav", "--language", "en-US"]) == 2
    said = capsys.readouterr().err
    assert "did you mean en?" in said
    assert "nowhere" not in said


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; from voxtral_ops.cli.main import main\n"
        "try: main(['transcribe', '--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('openai', 'av', 'numpy', 'pydantic') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.endswith("[]\n")
