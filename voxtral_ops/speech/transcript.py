"""The words of one recording, and who heard them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

BackendName = Literal["voxtral", "whisper"]


class Transcript(BaseModel):
    """What a backend answered. ``fallback_reason`` says why it was not Voxtral; None when nothing stood in its way."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
