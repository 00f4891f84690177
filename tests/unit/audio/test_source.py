"""What is no file with something in it is refused before decoding, by name and with the cure."""

import io
import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.audio.sounds import tone, wav
from voxtral_ops.audio import AudioLimits, VoxtralAudioProcessor
from voxtral_ops.errors import AudioError

load = VoxtralAudioProcessor().load


def refusal(source: Any) -> AudioError:
    with pytest.raises(AudioError) as caught:
        load(source)
    assert caught.value.hint
    return caught.value


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "interview.mp3").write_bytes(b"x")
    error = refusal(tmp_path / "interveiw.mp3")
    assert "does not exist" in error.message
    assert str(tmp_path / "interview.mp3") in error.hint


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    assert "folder" in refusal(tmp_path / "none" / "talk.wav").hint


def test_a_directory(tmp_path: Path) -> None:
    assert "is a directory" in refusal(tmp_path).message


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    assert "empty.wav is empty" in refusal(tmp_path / "empty.wav").message


def test_a_file_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbidden)
    error = refusal(tmp_path / "secret.wav")
    assert "may not be read" in error.message
    assert "chmod" in error.hint


def test_a_name_that_no_system_allows() -> None:
    assert "cannot be opened" in refusal("a\0b.wav").message


@pytest.mark.parametrize("thing", [None, 7, ["talk.wav"]])
def test_what_is_neither_path_nor_bytes_nor_stream(thing: Any) -> None:
    assert type(thing).__name__ in refusal(thing).message


def test_a_text_stream() -> None:
    assert "not bytes" in refusal(io.StringIO("RIFF")).message


def test_a_closed_stream() -> None:
    stream = io.BytesIO(b"RIFF")
    stream.close()
    assert "cannot be read" in refusal(stream).message


def test_a_pipe_is_read_to_its_end() -> None:
    reader, writer = os.pipe()
    os.write(writer, wav(tone(0.1)))
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        assert load(stream, name="stdin").source == "stdin"


def test_an_endless_stream_stops_at_the_limit() -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += size
            return bytes(size)

    endless = Endless()
    with pytest.raises(AudioError, match="too large"):
        VoxtralAudioProcessor(AudioLimits(bytes=1 << 22)).load(endless)  # type: ignore[arg-type]
    assert endless.given <= (1 << 22) + (1 << 20)
