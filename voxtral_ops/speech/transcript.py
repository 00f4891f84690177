"""The words of one recording, when they were said, and who heard them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

BackendName = Literal["voxtral", "whisper"]
Timing = Literal["aligned", "estimated"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Word(_Frozen):
    """One word, with the punctuation that follows it. Times in seconds from the recording's start."""

    text: str
    start: float = Field(ge=0)
    end: float = Field(ge=0)
    confidence: float | None = None
    """0 … 1, as the aligner sees it; None where nobody measured it."""


class Segment(_Frozen):
    """A sentence or a part of one. Segments follow each other in time and do not overlap."""

    text: str
    start: float = Field(ge=0)
    end: float = Field(ge=0)
    timing: Timing
    """``aligned``: found in the sound; ``estimated``: spread over the places where somebody speaks."""
    words: tuple[Word, ...] = ()


class Signals(_Frozen):
    """What speaks for or against the words. None where it could not be measured."""

    words_per_second: float | None = None
    """Of speech; people say two to four, hardly ever more than six."""
    compression: float | None = None
    """Bytes of text over bytes when compressed: above 2.4 something is being repeated."""
    speech_seconds: float | None = None
    """Where the voice detector heard somebody."""
    confidence: float | None = None
    """0 … 1, from the probabilities of a backend that tells them: Whisper does, vLLM does not."""


class Transcript(_Frozen):
    """What a backend answered. ``fallback_reason`` says why it was not Voxtral; None when nothing stood in its way."""

    text: str
    """Empty when no speech was heard."""
    language: str | None
    """As asked for or as detected; None when neither is known."""
    backend: BackendName
    model: str
    release: str | None = None
    """The release id of the server, or the revision of the weights, where known."""
    seconds: float = Field(ge=0)
    """Of sound."""
    elapsed: float = Field(ge=0)
    """Seconds that the answer took."""
    fallback_reason: str | None = None
    demonstration: bool = False
    """Heard by a model that knows a closed set of commands only."""
    segments: tuple[Segment, ...] = ()
    """Empty unless times were asked for."""
    signals: Signals = Signals()
