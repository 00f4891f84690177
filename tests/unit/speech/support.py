"""Sounds and stand-ins that the speech tests share."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voxtral_ops.audio import RATE, Audio
from voxtral_ops.errors import VoxtralError
from voxtral_ops.speech import ServedModel, Transcript


def audio(samples: NDArray[np.float32] | None = None, seconds: float = 1.0) -> Audio:
    """Syllables of noise, unless samples are given."""
    if samples is None:
        noise = np.random.default_rng(0).uniform(-0.3, 0.3, round(RATE * seconds)).astype(np.float32)
        samples = noise * (np.arange(len(noise)) // 2400 % 2).astype(np.float32)
    return Audio.of(samples, source="talk.wav", container="wav", codec="pcm_s16le")


SILENCE = audio(np.zeros(RATE, np.float32))


@dataclass
class Voice:
    """A backend that says what the test wants, or fails as the test wants, and remembers that it was asked."""

    name: str
    text: str = "words"
    error: VoxtralError | None = None
    model: ServedModel = field(default_factory=lambda: ServedModel("mini-3b"))
    asked: list[str | None] = field(default_factory=list)
    closed: bool = False

    def served(self) -> ServedModel:
        if self.error is not None:
            raise self.error
        return self.model

    async def aserved(self) -> ServedModel:
        return self.served()

    def transcribe(self, audio: Audio, language: str | None = None) -> Transcript:
        self.asked.append(language)
        if self.error is not None:
            raise self.error
        return Transcript(
            text=self.text,
            language=language,
            backend="voxtral" if self.name == "voxtral" else "whisper",
            model=self.model.name,
            seconds=audio.seconds,
            elapsed=0.1,
            demonstration=self.model.demonstration,
        )

    async def atranscribe(self, audio: Audio, language: str | None = None) -> Transcript:
        return self.transcribe(audio, language)

    def stream(self, audio: Audio, language: str | None = None) -> Iterator[Transcript]:
        yield self.transcribe(audio, language)

    def close(self) -> None:
        self.closed = True
