"""audio inspect as a person and as a program see it: what a recording is, what is wrong with it, the exit status."""

import io
import json
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.unit.audio.sounds import encoded, tone, wav
from voxtral_ops.cli.main import main


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is configured, and there is no Whisper."""
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("VOXTRAL_WHISPER_PYTHON", str(tmp_path / "none"))


def talk() -> bytes:
    """Syllables, in the level of someone who speaks."""
    noise = 0.1 * np.random.default_rng(1).standard_normal(16_000 * 4)
    syllables = (np.arange(len(noise)) // 4800 % 2).astype(np.float32)
    return wav((noise * syllables + 1e-4).astype(np.float32))


def test_a_good_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "talk.wav").write_bytes(talk())
    assert main(["audio", "inspect", str(tmp_path / "talk.wav")]) == 0
    said = capsys.readouterr()
    assert "pcm_s16le in wav, 16000 Hz mono, 4.00 s" in said.out
    assert "(energy)" in said.out
    assert "wrong" not in said.out
    assert said.err == ""


def test_json_tells_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "talk.mp3").write_bytes(encoded("mp3"))
    assert main(["audio", "inspect", str(tmp_path / "talk.mp3"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    (result,) = answer["results"]
    assert (result["codec"], result["rate"], result["channels"]) == ("mp3", 44_100, 1)
    assert result["seconds"] == pytest.approx(1.0, abs=0.1)
    assert result["sent"]["bytes"] == 2 * round(16_000 * result["sent"]["seconds"]) + 44 * len(
        result["sent"]["segments"]
    )
    assert result["quality"]["loudness"] + result["sent"]["gain"] == pytest.approx(-23, abs=0.1)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.zeros(16_000, np.float32), "it is silent"),
        (np.clip(tone(1, level=3), -1, 1), "are clipped"),
        (tone(1, level=0.001), "very quiet"),
    ],
)
def test_what_is_wrong_is_said(
    samples: "np.ndarray[tuple[int], np.dtype[np.float32]]",
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "talk.wav").write_bytes(wav(samples))
    assert main(["audio", "inspect", str(tmp_path / "talk.wav")]) == 1
    assert words in capsys.readouterr().out


def test_a_header_that_lies_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(talk())
    struct.pack_into("<I", data, 40, 16_000_000)
    (tmp_path / "talk.wav").write_bytes(data)
    assert main(["audio", "inspect", str(tmp_path / "talk.wav")]) == 1
    assert "it claims 500.00 s and holds 4.00 s" in capsys.readouterr().out


def test_one_bad_file_of_two_is_1_and_all_bad_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.wav", tmp_path / "bad.wav"
    good.write_bytes(talk())
    bad.write_bytes(b"nothing")
    assert main(["audio", "inspect", str(good), str(bad)]) == 1
    assert main(["audio", "inspect", str(bad), "--json"]) == 2
    said = capsys.readouterr()
    assert "bad.wav is not a readable recording" in said.err
    assert json.loads(said.out[said.out.index("{") :])["results"][0]["error"]["category"] == "audio"


def test_stdin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(talk())))
    assert main(["audio", "inspect", "-"]) == 0
    assert "4.00 s" in capsys.readouterr().out
