"""Loudness as the standard has it, and a gain that brings every recording to the target without clipping it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.unit.audio.sounds import tone, wav
from voxtral_ops.audio import RATE, VoxtralAudioProcessor
from voxtral_ops.audio.loudness import CEILING, MOST_GAIN, TARGET, Meter, pcm16
from voxtral_ops.audio.weighting import MEMORY, ORDER, STRIDE, k_weighting

random = np.random.default_rng(3)
hiss = (0.1 * random.standard_normal(RATE * 4)).astype(np.float32)


def measured(samples: NDArray[np.float32], piece: int = RATE) -> float | None:
    meter = Meter()
    for start in range(0, len(samples), piece):
        meter.add(pcm16(samples[start : start + piece]))
    return meter.levels(TARGET).loudness


def one_by_one(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """The same filters, as a textbook has them."""
    from voxtral_ops.audio.weighting import _high_pass, _shelf

    out = samples.astype(np.float64)
    for b, a in (_shelf(), _high_pass()):
        result = np.zeros(len(out))
        for at in range(len(out)):
            for back in range(3):
                if at >= back:
                    result[at] += b[back] * out[at - back] - (a[back] * result[at - back] if back else 0)
        out = result
    return out


def test_matrices_filter_as_a_textbook_does() -> None:
    samples = hiss[: 3 * MEMORY // STRIDE * STRIDE]
    half = len(samples) // 2 // STRIDE * STRIDE
    first, state = k_weighting().run(samples[:half].reshape(-1, STRIDE), np.zeros((1, ORDER), np.float32))
    second, _ = k_weighting().run(samples[half:].reshape(-1, STRIDE), state)
    found = np.concatenate([first.reshape(-1), second.reshape(-1)])
    assert np.abs(found - one_by_one(samples)).max() < 1e-5


@pytest.mark.parametrize(
    ("hertz", "level", "lufs"),
    [
        # EBU Tech 3341, case 1, as one channel: a sine of 1 kHz at -23 dBFS on both of two channels is -23 LUFS.
        (1000, 10 ** (-23 / 20), -26.01),
        (1000, 10 ** (-33 / 20), -36.01),
        (3000, 10 ** (-23 / 20), -22.88),
    ],
)
def test_a_sine_has_the_loudness_of_the_standard(hertz: float, level: float, lufs: float) -> None:
    assert measured(tone(10, hertz=hertz, level=level)) == pytest.approx(lufs, abs=0.1)


def test_pauses_do_not_count() -> None:
    loud = tone(5, level=0.1)
    with_pause = np.concatenate([loud, np.zeros(RATE * 20, np.float32), loud])
    assert measured(with_pause) == pytest.approx(measured(np.concatenate([loud, loud])) or 0, abs=0.2)


@given(piece=st.integers(1, 3 * RATE))
@settings(max_examples=20, deadline=None)
def test_it_does_not_matter_in_which_pieces_sound_comes(piece: int) -> None:
    short = hiss[:RATE]
    assert measured(short, max(piece, 50)) == pytest.approx(measured(short) or 0, abs=0.002)


@pytest.mark.parametrize("samples", [np.zeros(RATE, np.float32), tone(0.2), tone(1, level=1e-4)])
def test_silence_and_what_is_too_short_to_tell_get_no_gain(samples: NDArray[np.float32]) -> None:
    audio = VoxtralAudioProcessor().load(wav(samples))
    assert (audio.levels.loudness, audio.levels.gain) == (None, 0.0)


@given(level=st.floats(0.0005, 1.0), crest=st.floats(1.0, 30.0))
@settings(max_examples=25, deadline=None)
def test_every_recording_is_brought_to_the_target_or_to_the_ceiling(level: float, crest: float) -> None:
    samples = (hiss[: RATE * 2] * level).astype(np.float32)
    samples[RATE] = min(1.0, level * crest)
    audio = VoxtralAudioProcessor().load(wav(samples.clip(-1, 1)))
    if audio.levels.loudness is None:
        return
    reached = audio.levels.loudness + audio.levels.gain
    peak = audio.levels.peak + audio.levels.gain
    assert reached <= TARGET + 0.01
    assert peak <= CEILING + 0.01
    at_a_bound = math.isclose(audio.levels.gain, MOST_GAIN) or peak > CEILING - 0.02
    assert at_a_bound or reached == pytest.approx(TARGET, abs=0.01)
    assert np.abs(audio.samples).max() <= 1


def test_what_is_read_is_as_loud_as_what_is_sent() -> None:
    quiet = VoxtralAudioProcessor().load(wav(hiss * 0.1))
    sent = VoxtralAudioProcessor(loudness=None).load(quiet.wav_bytes())
    assert measured(quiet.samples) == pytest.approx(TARGET, abs=0.05)
    assert sent.levels.loudness == pytest.approx(TARGET, abs=0.05)
    assert np.abs(sent.samples - quiet.samples).max() <= 1 / RATE


def test_clipping_is_counted() -> None:
    audio = VoxtralAudioProcessor().load(wav(np.clip(tone(1, level=2.0), -1, 1)))
    assert audio.levels.clipping == pytest.approx(2 / 3, abs=0.01)
    assert any("clipped" in problem for problem in audio.quality.problems)
