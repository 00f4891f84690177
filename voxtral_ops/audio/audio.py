"""One recording: 16 kHz mono samples that take the same memory whatever its length, and what is known of it."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from voxtral_ops.audio.quality import AudioQuality, Detector, Levels, Span
from voxtral_ops.audio.spool import InMemory, Pcm
from voxtral_ops.audio.voice import Voice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RATE = 16_000
"""Samples a second that every backend hears."""
FULL = 32768.0
PIECE = RATE * 60
"""Samples that are read at once where all are gone through."""


@dataclass(frozen=True, eq=False)
class Audio:
    """A decoded recording. Times are seconds from its start, rounded to the nearest of its samples.

    Up to ten minutes are held in memory; longer ones lie in a nameless file and are read piece by piece.
    """

    pcm: Pcm = field(repr=False)
    """16 bits a sample, before the gain. A part shares it with the whole."""
    source: str
    """The file's name, or what the bytes were called."""
    container: str
    codec: str
    rate: int
    """Samples a second in the file, before resampling."""
    channels: int
    """In the file, before mixing to one."""
    levels: Levels
    damaged: int = 0
    """Packets that could not be decoded and were left out."""
    claimed: float | None = None
    """Seconds that the file says it has, which nothing here believes."""
    voice: Voice = field(default_factory=Voice, repr=False)
    """Who finds the speech."""
    first: int = 0
    """Where in ``pcm`` it begins."""
    count: int = -1
    """Samples; all that ``pcm`` holds unless it is a part."""

    def __post_init__(self) -> None:
        if self.count < 0:
            object.__setattr__(self, "count", self.pcm.count - self.first)

    @classmethod
    def of(cls, samples: NDArray[np.float32], source: str = "<samples>", **known: Any) -> Self:
        """Samples that the caller already has: 16 kHz, mono, -1 … 1. They are taken as they are, without a gain."""
        from voxtral_ops.audio.loudness import pcm16, plain_levels  # noqa: PLC0415

        data = pcm16(samples)
        facts = {
            "container": "samples",
            "codec": "pcm_f32le",
            "rate": RATE,
            "channels": 1,
            "levels": plain_levels(data),
        }
        return cls(InMemory(data.tobytes()), source=source, **{**facts, **known})

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.count / RATE

    @property
    def factor(self) -> float:
        """What a 16-bit sample is multiplied by on reading."""
        return float(10.0 ** (self.levels.gain / 20.0) / FULL)

    def read(self, start: float = 0.0, stop: float | None = None) -> NDArray[np.float32]:
        """The samples between two times, gain applied, as float32 in -1 … 1. What lies outside is left out."""
        import numpy as np  # noqa: PLC0415

        first, last = self._places(start, stop)
        return np.multiply(self.pcm.read(first, last), np.float32(self.factor), dtype=np.float32)

    @property
    def samples(self) -> NDArray[np.float32]:
        """All of it: for short recordings; an hour takes 230 MB."""
        samples = self.read()
        samples.flags.writeable = False
        return samples

    def part(self, start: float, stop: float | None = None) -> Self:
        """A stretch of it as a recording of its own, which shares the samples, the gain and the speech, if found."""
        first, last = self._places(start, stop)
        part = replace(self, first=first, count=last - first, claimed=None)
        if self.listened:
            spans, detector = self._heard
            offset = (first - self.first) / RATE
            part.__dict__["_heard"] = (tuple(_within(spans, offset, part.seconds)), detector)
        return part

    def wav_bytes(self) -> bytes:
        """It as a WAV file: 16 kHz, mono, 16 bit, gain applied."""
        from voxtral_ops.audio.loudness import louder  # noqa: PLC0415

        pcm = louder(self.pcm.read(self.first, self.first + self.count), self.levels.gain)
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(pcm)
        return buffer.getvalue()

    @property
    def listened(self) -> bool:
        """Whether the speech has been looked for, which costs more than everything else."""
        return "_heard" in self.__dict__

    @cached_property
    def sha256(self) -> str:
        """Of the samples before the gain: the same sound has the same, whatever file it came in."""
        import hashlib  # noqa: PLC0415

        digest = hashlib.sha256()
        for start in range(0, self.count, PIECE):
            first = self.first + start
            digest.update(self.pcm.read(first, min(first + PIECE, self.first + self.count)))
        return digest.hexdigest()

    @cached_property
    def speech(self) -> tuple[Span, ...]:
        """Where someone speaks, in order, without overlap. Found when it is first asked for."""
        return self._heard[0]

    @cached_property
    def quality(self) -> AudioQuality:
        """How well it can be understood. Looks for speech when it is first asked for."""
        from voxtral_ops.audio.level import noise  # noqa: PLC0415

        spans, detector = self._heard
        snr, silence = noise(self, spans)
        return AudioQuality(
            loudness=self.levels.loudness,
            gain=self.levels.gain,
            peak=self.levels.peak,
            clipping=self.levels.clipping,
            snr=snr,
            speech=sum(span.seconds for span in spans) / self.seconds if self.count else 0.0,
            silence=silence,
            detector=detector,
        )

    @cached_property
    def _heard(self) -> tuple[tuple[Span, ...], Detector]:
        return self.voice.find(self)

    def _places(self, start: float, stop: float | None) -> tuple[int, int]:
        """Sample indexes in ``pcm``, within this recording."""
        first = min(max(0, round(start * RATE)), self.count)
        last = self.count if stop is None else min(max(first, round(stop * RATE)), self.count)
        return self.first + first, self.first + last


def _within(spans: tuple[Span, ...], offset: float, seconds: float) -> Iterator[Span]:
    """What of the speech lies in a part, in the part's own time."""
    for span in spans:
        start, stop = max(0.0, span.start - offset), min(seconds, span.stop - offset)
        if stop > start:
            yield Span(round(start, 3), round(stop, 3))
