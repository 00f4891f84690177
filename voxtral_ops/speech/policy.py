"""When Whisper answers instead of Voxtral: one table, read from top to bottom, the first row that fits decides.

A bad recording and a wrong setting are never papered over: Whisper would fail on the first as well, and would hide
the second for months.
"""

from __future__ import annotations

from dataclasses import dataclass

from voxtral_ops.audio import Audio
from voxtral_ops.errors import (
    AudioError,
    CapacityError,
    ConfigurationError,
    ModelError,
    NetworkError,
    PrivacyError,
    ServerError,
    VoxtralError,
)


@dataclass(frozen=True)
class Row:
    """One kind of failure and whether Whisper takes over."""

    error: type[VoxtralError]
    whisper: bool
    because: str
    code: str | None = None
    """Only errors whose details carry this code."""

    def fits(self, error: VoxtralError) -> bool:
        """Whether this row is about that error."""
        return isinstance(error, self.error) and self.code in {None, error.details.get("code")}


AFTER_ERROR: tuple[Row, ...] = (
    Row(AudioError, False, "nobody can read this recording"),
    Row(ConfigurationError, False, "a setting is wrong and must be seen"),
    Row(PrivacyError, False, "the recording may not go further"),
    Row(NetworkError, False, "it was stopped by whoever asked", code="closed"),
    Row(NetworkError, True, "the server cannot be reached"),
    Row(CapacityError, True, "the server is full"),
    Row(ServerError, True, "the server failed"),
    Row(ModelError, True, "the recording is too long for the model", code="too_long"),
    Row(ModelError, False, "the model cannot do what was asked"),
    Row(VoxtralError, False, "unforeseen"),
)

DEMONSTRATION = "{model} is a demonstration model that knows only its own commands"
SILENT = "{model} heard no words in a recording that sounds spoken"


@dataclass(frozen=True)
class FallbackPolicy:
    """The table as a question: go to Whisper, and with which reason?"""

    rows: tuple[Row, ...] = AFTER_ERROR

    def after_error(self, error: VoxtralError) -> str | None:
        """The reason to ask Whisper, or None when the error must reach the caller."""
        row = next((row for row in self.rows if row.fits(error)), None)
        return f"{row.because}: {error.message}" if row is not None and row.whisper else None

    def after_silence(self, audio: Audio, model: str) -> str | None:
        """The reason to ask Whisper after an empty answer, or None when silence is a fair answer."""
        from voxtral_ops.audio.level import sounds_spoken  # noqa: PLC0415

        return SILENT.format(model=model) if sounds_spoken(audio) else None

    def for_demonstration(self, model: str) -> str:
        """The reason why a person's own recording is not for this model."""
        return DEMONSTRATION.format(model=model)
