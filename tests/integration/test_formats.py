"""The format matrix: one clip in every codec and container gives the same samples, or one typed error."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.lena import lena
from tests.support.recordings import WORDS, jfk
from tests.unit.audio.sounds import FORMATS, written
from voxtral_ops.audio import VoxtralAudioProcessor
from voxtral_ops.errors import AudioError
from voxtral_ops.speech import word_error_rate
from voxtral_ops.speech.whisper import WhisperBackend, WhisperSetup

pytestmark = pytest.mark.integration
load = VoxtralAudioProcessor().load

# Clip → the least correlation with the WAV, and what dB its level may differ once normalised. Lossless ones differ by
# rounding; the others lose what their codec leaves out (8 kHz telephony: everything above 4 kHz).
CLIPS = {
    "lena.caf": (0.9999999, 0.001),
    "lena.flac": (0.9999999, 0.001),
    "lena-24.aiff": (0.9999999, 0.001),
    "lena-32.aiff": (0.9999999, 0.001),
    "lena-f32.caf": (0.9999999, 0.001),
    "logic/lena-24.aif": (0.9999999, 0.001),
    "logic/lena-24.wav": (0.9999999, 0.001),
    "logic/lena-32.aif": (0.9999999, 0.001),
    "audacity/lena-24.aiff": (0.9999999, 0.001),
    "audacity/lena-32.wav": (0.9999999, 0.001),
    "audacity/lena-64.aiff": (0.9999999, 0.001),
    "lena.mp3": (0.999999, 0.01),
    "audacity/lena-a.aiff": (0.9999, 0.01),
    "audacity/lena-u.aiff": (0.9999, 0.01),
    "audacity/lena-ima-adpcm.aiff": (0.9999, 0.01),
    "lena.aiff": (0.999, 0.1),
    "lena.m4a": (0.999, 0.1),
    "lena.ogg": (0.999, 0.1),
    "lena-vorbis.webm": (0.999, 0.1),
    "lena.webm": (0.999, 0.1),
    "lena.opus": (0.998, 0.6),
    "audacity/lena-gsm.aiff": (0.99, 0.6),
    "lena-alaw.aiff": (0.98, 0.4),
    "lena-alaw.caf": (0.98, 0.4),
    "lena-ulaw.aiff": (0.98, 0.4),
    "lena.aac": (0.97, 0.4),
}
PRIMING = {"lena.aac": 372}
"""Samples by which a clip begins late: ADTS does not say how much of its begin is the encoder's own."""
REFUSED = {"audacity/lena-24-dwvw.aiff": "no audio format that is understood", "lena.raw": "no audio format"}


@pytest.fixture(scope="module")
def reference() -> NDArray[np.float32]:
    return load(lena() / "lena.wav").samples


@pytest.mark.parametrize("clip", CLIPS)
def test_every_format_gives_the_same_samples(clip: str, reference: NDArray[np.float32]) -> None:
    late = PRIMING.get(clip, 0)
    samples = load(lena() / clip).samples[late:]
    assert abs(len(samples) - len(reference)) <= 0.06 * 16_000
    both = min(len(samples), len(reference))
    ours, theirs = samples[:both].astype(np.float64), reference[:both].astype(np.float64)
    correlation, decibels = CLIPS[clip]
    assert np.corrcoef(ours, theirs)[0, 1] >= correlation
    assert abs(20 * np.log10(ours @ theirs / (theirs @ theirs))) <= decibels


@pytest.mark.parametrize("clip", REFUSED)
def test_what_nobody_can_read_is_one_error_with_name_and_cure(clip: str) -> None:
    with pytest.raises(AudioError, match=REFUSED[clip]) as caught:
        load(lena() / clip)
    assert clip in caught.value.message
    assert caught.value.hint


def test_no_clip_is_left_out() -> None:
    clips = {str(path.relative_to(lena())) for path in lena().rglob("lena*")}
    assert clips == {*CLIPS, *REFUSED, "lena.wav"}


def test_a_length_that_is_a_lie_is_not_believed() -> None:
    audio = load(lena() / "audacity/lena-gsm.aiff")
    assert audio.claimed is not None
    assert audio.claimed > 1900
    assert audio.seconds == pytest.approx(12.27, abs=0.01)


@pytest.fixture(scope="module")
def whisper(python: Path, weights: Path) -> Iterator[WhisperBackend]:
    backend = WhisperBackend(WhisperSetup(python, weights))
    yield backend
    backend.close()


@pytest.mark.parametrize("kind", [*sorted(FORMATS.keys() - {"ogg"}), "mp3 in stereo", "m4a in stereo"])
def test_every_format_gives_the_same_words(kind: str, whisper: WhisperBackend) -> None:
    data = written(load(jfk()).samples, 16_000, kind.split(maxsplit=1)[0], 2 if "stereo" in kind else 1)
    assert word_error_rate(WORDS, whisper.transcribe(load(data, name=kind)).text) <= 0.05
