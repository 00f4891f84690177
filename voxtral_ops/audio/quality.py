"""What is told of a recording's quality: loudness, gain, peak, clipping, noise, and how much of it is speech."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Detector = Literal["silero", "energy"]


@dataclass(frozen=True, order=True)
class Span:
    """A stretch of a recording, in seconds from its start; a multiple of a millisecond."""

    start: float
    stop: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.stop - self.start


@dataclass(frozen=True)
class Levels:
    """What one pass over a recording measures."""

    loudness: float | None
    """Integrated loudness in LUFS (ITU-R BS.1770-5, EBU R 128) of the file as mixed to mono; None for silence."""
    gain: float
    """dB by which reading makes it louder."""
    peak: float
    """The largest sample, in dB of full scale, before the gain."""
    clipping: float
    """The share of samples at full scale, 0 … 1."""


@dataclass(frozen=True)
class AudioQuality:
    """What there is to know of how well a recording can be understood."""

    loudness: float | None
    """LUFS, before the gain; None for silence."""
    gain: float
    """dB by which reading makes it louder."""
    peak: float
    """dB of full scale, before the gain."""
    clipping: float
    """The share of samples at full scale, 0 … 1."""
    snr: float | None
    """dB between speech and what is heard between it, an estimate; None where there is not both."""
    speech: float
    """The share that is speech, 0 … 1."""
    silence: float
    """The share below -55 dB of full scale, 0 … 1."""
    detector: Detector
    """Who found the speech: silero, a neural one, or energy, which only sees that the level moves."""

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with it, one sentence each; empty for a good recording."""
        found = []
        if self.loudness is None:
            found.append("it is silent")
        elif self.loudness < QUIETEST:
            found.append(f"it is very quiet ({self.loudness:.0f} LUFS): speak closer to the microphone")
        if self.clipping > MOST_CLIPPED:
            found.append(f"{self.clipping:.1%} of the samples are clipped: lower the recording level")
        if self.snr is not None and self.snr < NOISIEST:
            found.append(f"the noise is near the speech ({self.snr:.0f} dB below it)")
        if self.loudness is not None and self.speech == 0:
            found.append("no speech was found in it")
        return tuple(found)


QUIETEST = -50.0
MOST_CLIPPED = 0.001
NOISIEST = 10.0
