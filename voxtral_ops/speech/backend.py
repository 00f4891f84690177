"""What every backend offers, and what a backend says of the model behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from voxtral_ops.audio import Audio
from voxtral_ops.speech.transcript import Transcript


@dataclass(frozen=True)
class ServedModel:
    """The model that would answer now."""

    name: str
    """What the catalog calls it, else the name it is served by."""
    served_name: str = ""
    """What requests must call it; empty where nobody asks."""
    demonstration: bool = False
    """Knows a closed set of commands only."""
    realtime: bool = False
    """A streaming model: it must be told when to stop."""
    context: int | None = None
    """Tokens of sound and text together."""
    longest: float = 300.0
    """Seconds of sound that one request should hold at most."""


class Backend(Protocol):
    """Turns audio into text. Raises VoxtralError and nothing else."""

    @property
    def name(self) -> str:
        """``voxtral`` or ``whisper``."""

    def served(self) -> ServedModel:
        """The model that would answer. Cheap after the first time."""

    async def aserved(self) -> ServedModel:
        """The same, for asyncio."""

    def transcribe(self, audio: Audio, language: str | None = None) -> Transcript:
        """The words. ``language`` is an ISO 639-1 code; None lets the model find out."""

    async def atranscribe(self, audio: Audio, language: str | None = None) -> Transcript:
        """The same, for asyncio."""

    def stream(self, audio: Audio, language: str | None = None) -> Iterator[Transcript]:
        """The words as they come; each transcript holds all of them so far."""

    def close(self) -> None:
        """Let go of connections and processes. The backend may be used again."""
