"""Speech moves up and down; hum, hiss and silence do not."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.unit.audio.sounds import tone, wav
from voxtral_ops.audio import VoxtralAudioProcessor
from voxtral_ops.audio.level import levels, sounds_spoken

random = np.random.default_rng(1)
hiss = (0.1 * random.standard_normal(48_000)).astype(np.float32).clip(-1, 1)
syllables = np.repeat(np.tile([1.0, 0.02], 10), 2400).astype(np.float32)


@pytest.mark.parametrize(
    ("samples", "spoken"),
    [
        (np.zeros(32_000, np.float32), False),
        (hiss, False),
        (tone(2.0), False),
        (hiss * syllables, True),
        (hiss * syllables * 0.001, False),
        (tone(0.005), False),
    ],
    ids=["silence", "hiss", "tone", "syllables", "whisper below hearing", "shorter than a frame"],
)
def test_sounds_spoken(samples: NDArray[np.float32], spoken: bool) -> None:
    assert sounds_spoken(VoxtralAudioProcessor(loudness=None).load(wav(samples))) is spoken


def test_levels_are_in_db_of_full_scale() -> None:
    audio = VoxtralAudioProcessor(loudness=None).load(wav(tone(0.3, level=1.0)))
    assert levels(audio) == pytest.approx(-3.01, abs=0.1)
