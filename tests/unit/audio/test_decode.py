"""Every format gives the same sound; every broken one gives an AudioError; no limit is passed."""

import io
import struct
import wave
from pathlib import Path
from unittest.mock import Mock

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.unit.audio.sounds import FORMATS, encoded, float_wav, tone, video, wav
from voxtral_ops.audio import Audio, AudioLimits, VoxtralAudioProcessor
from voxtral_ops.audio import decode as whole
from voxtral_ops.audio.decode import Job, decode
from voxtral_ops.errors import AudioError

load = VoxtralAudioProcessor(loudness=None).load
BASE = {kind: encoded(kind) for kind in ("wav", "mp3", "flac", "ogg", "m4a")}


def pitch(audio: Audio) -> float:
    spectrum = np.abs(np.fft.rfft(audio.samples * np.hanning(len(audio.samples))))
    return float(np.argmax(spectrum) * 16_000 / len(audio.samples))


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_gives_the_same_sound(kind: str) -> None:
    data = encoded(kind)
    audio = load(data)
    assert audio.seconds == pytest.approx(1.0, abs=0.1)
    assert pitch(audio) == pytest.approx(440, abs=2)
    assert np.sqrt(np.mean(audio.samples**2)) == pytest.approx(0.5 / np.sqrt(2), abs=0.04)
    assert audio.samples.dtype == np.float32
    assert audio.rate == FORMATS[kind][2]
    assert (audio.channels, audio.damaged) == (1, 0)


def test_pcm_keeps_every_sample() -> None:
    samples = tone(0.5)
    audio = load(wav(samples))
    assert len(audio.samples) == len(samples)
    assert np.abs(audio.samples - samples).max() < 1 / 16_000


@pytest.mark.parametrize("channels", [2, 6])
def test_channels_are_mixed_to_one(channels: int) -> None:
    audio = load(encoded("wav", channels=channels))
    assert audio.channels == channels
    assert audio.seconds == pytest.approx(1.0, abs=0.01)
    assert pitch(audio) == pytest.approx(440, abs=2)


def test_samples_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        load(BASE["wav"]).samples[0] = 1


def test_wav_bytes_are_16_khz_mono_16_bit_and_decode_to_the_same() -> None:
    audio = load(BASE["flac"])
    with wave.open(io.BytesIO(audio.wav_bytes())) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        assert file.getnframes() == len(audio.samples)
    assert np.abs(load(audio.wav_bytes()).samples - audio.samples).max() <= 1 / 16_000


def test_sound_above_full_scale_is_clipped_not_wrapped() -> None:
    audio = load(float_wav(np.full(1600, 1.5, np.float32)))
    assert audio.levels.clipping == 1
    assert load(audio.wav_bytes()).samples.min() > 0.99


def test_a_header_that_promises_gigabytes_is_not_believed() -> None:
    data = bytearray(wav(tone(0.25)))
    struct.pack_into("<I", data, 4, 0xFFFF_FFF0)
    struct.pack_into("<I", data, 40, 0xFFFF_FF00)
    assert load(bytes(data)).seconds == pytest.approx(0.25, abs=0.01)


def test_what_is_left_of_a_cut_recording_is_kept() -> None:
    audio = load(BASE["mp3"][: len(BASE["mp3"]) // 2])
    assert 0.2 < audio.seconds < 0.8


@pytest.mark.parametrize("kind", ["mp3", "m4a"])
@pytest.mark.parametrize("filling", [0, 0x5A, 0xFF])
def test_damaged_packets_are_left_out_and_counted(kind: str, filling: int) -> None:
    data = bytearray(encoded(kind, seconds=4.0))
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes([filling]) * 2000
    audio = load(bytes(data))
    assert audio.damaged > 0
    assert audio.seconds > 3


def test_a_recording_that_is_mostly_damaged_is_refused() -> None:
    data = bytearray(encoded("m4a", seconds=4.0))
    start = data.index(b"mdat")
    data[start + 2000 : start + 30_000] = bytes([0x5A]) * 28_000
    with pytest.raises(AudioError, match="is damaged"):
        load(bytes(data))


BROKEN = {
    "noise": bytes(range(256)) * 40,
    "text": b"To whom it may concern: this is a letter. " * 50,
    "a header alone": BASE["wav"][:44],
    "half a header": BASE["wav"][:20],
    "a film without sound": video(),
    "no numbers": float_wav(np.full(1600, np.nan, np.float32)),
    "infinity": float_wav(np.full(1600, np.inf, np.float32)),
    "a playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n/etc/passwd\n#EXT-X-ENDLIST\n",
    "a concat list": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "a session description": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 96\n",
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_no_recording_is_an_audio_error_with_name_and_cure(what: str) -> None:
    with pytest.raises(AudioError) as caught:
        load(BROKEN[what], name="my talk.wav")
    assert "my talk.wav" in caught.value.message
    assert caught.value.hint


def test_a_film_is_said_to_hold_video() -> None:
    with pytest.raises(AudioError, match="no sound, only video"):
        load(BROKEN["a film without sound"])


@pytest.mark.parametrize(
    "leaked",
    [IndexError("list index"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), ValueError("x"), MemoryError()],
)
def test_whatever_the_decoder_raises_is_an_audio_error(
    leaked: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def explode(*_: object, **__: object) -> None:
        raise leaked

    monkeypatch.setattr(av, "open", explode)
    with (tmp_path / "in").open("w+b") as file, (tmp_path / "out").open("w+b") as spool:
        with pytest.raises(AudioError, match=r"talk\.wav"):
            decode(Job("talk.wav", AudioLimits(), None), file.fileno(), spool.fileno())


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (AudioLimits(bytes=1000), "too large"),
        (AudioLimits(seconds=0.5), "longer than 0.5 s"),
        (AudioLimits(channels=1), "2 channels"),
        (AudioLimits(rate=8000), "44100 samples a second"),
        (AudioLimits(wall_seconds=0), "too long to decode"),
    ],
)
def test_each_limit_refuses(limits: AudioLimits, words: str) -> None:
    with pytest.raises(AudioError, match=words) as caught:
        VoxtralAudioProcessor(limits).load(encoded("wav", channels=2))
    assert caught.value.hint


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(sorted(BASE)),
    cut=st.integers(0, 100_000),
    edits=st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, 255)), max_size=12),
)
def test_a_mutated_recording_is_read_or_refused(kind: str, cut: int, edits: list[tuple[int, int]]) -> None:
    data = bytearray(BASE[kind])
    for place, value in edits:
        data[place % len(data)] = value
    limits = AudioLimits(seconds=30, wall_seconds=20)
    try:
        audio = VoxtralAudioProcessor(limits).load(bytes(data[: len(data) - cut % len(data)]))
    except AudioError:
        return
    assert 0 < audio.seconds <= 30
    assert np.isfinite(audio.samples).all()


def test_a_path_a_stream_and_bytes_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "tone.ogg"
    path.write_bytes(BASE["ogg"])
    with path.open("rb") as stream:
        loaded = [load(path), load(str(path)), load(stream), load(BASE["ogg"])]
    assert len({audio.samples.tobytes() for audio in loaded}) == 1
    assert loaded[0].source == str(path)


@pytest.mark.parametrize("kind", ["wav", "wav24", "aiff", "mp3", "m4a", "flac", "opus", "webm"])
def test_what_is_ordinary_is_decoded_without_python_for_each_packet_to_the_same(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(whole, "LONG", 1000)
    (tmp_path / "talk").write_bytes(encoded(kind, seconds=2.0, channels=2))
    quick, count = _samples(tmp_path / "talk", tmp_path)
    assert count == 0
    monkeypatch.setattr(whole, "_is_ordinary", lambda *_: False)
    careful, count = _samples(tmp_path / "talk", tmp_path)
    assert count == 1
    assert len(quick) == len(careful)
    assert np.abs(quick.astype(int) - careful).max() <= 1


def test_what_turns_out_damaged_is_decoded_again_with_care(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(whole, "LONG", 1000)
    data = bytearray(encoded("m4a", seconds=4.0))
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    (tmp_path / "talk").write_bytes(data)
    _, count = _samples(tmp_path / "talk", tmp_path)
    assert count == 1


def _samples(path: Path, folder: Path) -> tuple[NDArray[np.int16], int]:
    """What is decoded, and how often it was done packet by packet."""
    with pytest.MonkeyPatch.context() as patch, path.open("rb") as file, (folder / "out").open("w+b") as spool:
        careful = Mock(wraps=whole._decode_packets)
        patch.setattr(whole, "_decode_packets", careful)
        decode(Job("talk", AudioLimits(), None), file.fileno(), spool.fileno())
        spool.seek(0)
        return np.frombuffer(spool.read(), "<i2"), careful.call_count
