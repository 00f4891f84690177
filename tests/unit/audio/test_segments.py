"""Segments hold all of the speech, in order, without overlap, none too long, and are cut where nobody speaks."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.unit.audio.sounds import wav
from voxtral_ops.audio import RATE, Audio, Span, Voice, VoxtralAudioProcessor, segments
from voxtral_ops.audio.quality import Detector

random = np.random.default_rng(5)


@dataclass(frozen=True)
class Told(Voice):
    """A detector that was told where speech is."""

    found: tuple[Span, ...] = ()

    def find(self, audio: Audio) -> tuple[tuple[Span, ...], Detector]:
        return self.found, "silero"


def speaking(*stretches: tuple[float, float], seconds: float) -> Audio:
    """Noise where someone speaks."""
    samples = np.zeros(round(seconds * RATE), np.float32)
    for start, stop in stretches:
        first, last = round(start * RATE), round(stop * RATE)
        samples[first:last] = 0.2 * random.standard_normal(last - first)
    voice = Told(found=tuple(Span(start, stop) for start, stop in stretches))
    return Audio.of(samples.clip(-1, 1), voice=voice)


@st.composite
def talks(draw: st.DrawFn) -> Audio:
    now, stretches = 0.0, []
    for pause, length in draw(st.lists(st.tuples(st.integers(1, 9000), st.integers(100, 9000)), max_size=12)):
        start = round(now + pause / 1000, 3)
        now = round(start + length / 1000, 3)
        stretches.append((start, now))
    return speaking(*stretches, seconds=round(now + draw(st.integers(1, 3000)) / 1000, 3))


@given(audio=talks(), longest=st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_segments_cover_in_order_without_overlap_and_none_too_long(audio: Audio, longest: int) -> None:
    found = segments(audio, longest)
    for span in found:
        assert 0 <= span.start < span.stop <= audio.seconds + 1e-9
        assert span.seconds <= longest + 1e-6
    for before, after in pairwise(found):
        assert before.stop <= after.start + 1e-9
    for spoken in audio.speech:
        inside = sum(max(0.0, min(spoken.stop, span.stop) - max(spoken.start, span.start)) for span in found)
        assert inside == pytest.approx(spoken.seconds, abs=1e-6)


def test_a_cut_lies_in_the_longest_pause_within_reach() -> None:
    audio = speaking((0, 4), (4.3, 7), (8.5, 9.4), (9.7, 15), seconds=15)
    assert segments(audio, 10) == (Span(0, 7.2), Span(8.3, 15.0))


def test_no_word_is_cut_while_there_is_a_pause() -> None:
    audio = speaking((0, 1), (1.4, 9.9), (10.2, 18), seconds=18)
    assert [span.start for span in segments(audio, 10)] == [0, 1.2, 10.05]


def test_who_never_pauses_is_cut_at_the_quietest_moment() -> None:
    audio = speaking((0, 25), seconds=25)
    samples = audio.samples.copy()
    samples[round(7.5 * RATE) : round(7.6 * RATE)] = 0
    quieter = Audio.of(samples, voice=audio.voice)
    first, *_ = segments(quieter, 10)
    assert 7.5 <= first.stop <= 7.6


def test_silence_has_no_segments() -> None:
    assert segments(speaking(seconds=5)) == ()


def test_a_segment_too_short_for_words_is_refused() -> None:
    with pytest.raises(ValueError, match="less than a second"):
        segments(speaking(seconds=5), 0.5)


def test_parts_are_views_with_times_of_their_own() -> None:
    audio = speaking((1, 2), seconds=4)
    part = audio.part(1, 3)
    assert part.seconds == 2
    assert part.pcm is audio.pcm
    assert np.array_equal(part.samples, audio.read(1, 3))
    assert np.array_equal(part.part(0.5, 1).samples, audio.read(1.5, 2))
    assert np.array_equal(audio.read(3.5, 99), audio.samples[round(3.5 * RATE) :])
    assert len(audio.read(5, 6)) == 0
    assert part.sha256 == Audio.of(part.samples).sha256 != audio.sha256


def long(seconds: int) -> Audio:
    """Long enough for the spool."""
    sound: NDArray[np.float32] = np.tile(random.standard_normal(RATE).astype(np.float32) * 0.1, seconds)
    return VoxtralAudioProcessor().load(wav(sound, rate=RATE))


def test_a_long_recording_is_read_from_its_spool_as_a_short_one_from_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from voxtral_ops.audio import spool
    from voxtral_ops.audio import wav as plain

    short = long(3)
    monkeypatch.setattr(plain, "IN_MEMORY", 0)
    monkeypatch.setattr(spool, "IN_MEMORY", 0)
    spooled = long(3)
    assert isinstance(spooled.pcm, spool.Spool)
    monkeypatch.undo()
    assert spooled.count == 3 * RATE
    assert len(spooled.read(0.5, 1.0)) == RATE // 2
    assert spooled.part(1, 2).speech == spooled.part(1, 2).speech
    assert short.count == spooled.count


STUB = """#!/bin/sh
test "$3" = 0 || exit 1
cat > "$(dirname "$0")/heard"
printf '\\000\\000\\377\\377\\377\\377\\377\\377\\377\\377\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000'
"""


def test_silero_is_asked_where_there_is_one(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(STUB)
    python.chmod(0o755)
    audio = VoxtralAudioProcessor(voice=Voice(python)).load(wav(np.zeros(RATE, np.float32)))
    assert audio.speech == (Span(0.0, 0.42),)
    assert audio.quality.detector == "silero"
    assert (tmp_path / "heard").read_bytes() == bytes(2 * RATE)


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 1\n", "#!/nonexistent\n"])
def test_where_silero_fails_the_level_answers_and_says_so(script: str, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(script)
    python.chmod(0o755)
    samples = np.zeros(RATE * 3, np.float32)
    samples[RATE : 2 * RATE] = 0.2 * random.standard_normal(RATE)
    audio = VoxtralAudioProcessor(voice=Voice(python)).load(wav(samples.clip(-1, 1)))
    assert audio.quality.detector == "energy"
    (span,) = audio.speech
    assert (span.start, span.stop) == (pytest.approx(0.9, abs=0.05), pytest.approx(2.1, abs=0.05))
    assert audio.quality.speech == pytest.approx(0.4, abs=0.03)
