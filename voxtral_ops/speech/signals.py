"""What can be measured of an answer without knowing the right one."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from voxtral_ops.audio import Audio
from voxtral_ops.speech.spacing import units
from voxtral_ops.speech.transcript import Signals, Transcript


def signals_of(audio: Audio, transcript: Transcript, parts: Sequence[Transcript] = ()) -> Signals:
    """Measure an answer. ``parts`` are those it was joined from, whose confidence is weighted by their length.

    What needs the speech is measured where that has been looked for: it is not worth looking for it here.
    """
    speech = sum(span.seconds for span in audio.speech) if audio.listened else None
    words = transcript.text.split()
    # Letters of a language without spaces are no words: nothing is known of their rate.
    known = len(units(transcript.text)) == len(words)
    return Signals(
        words_per_second=round(len(words) / speech, 2) if speech and known else None,
        compression=_compression(transcript.text),
        speech_seconds=round(speech, 3) if speech is not None else None,
        confidence=_confidence(parts or [transcript]),
    )


def _compression(text: str) -> float | None:
    """Whisper's own measure of repetition: bytes over compressed bytes (Radford et al. 2022, section 4.5)."""
    data = text.encode()
    return round(len(data) / len(zlib.compress(data)), 2) if data else None


def _confidence(parts: Sequence[Transcript]) -> float | None:
    known = [(each.signals.confidence, each.seconds) for each in parts if each.signals.confidence is not None]
    seconds = sum(length for _, length in known)
    return round(sum(share * length for share, length in known) / seconds, 3) if seconds else None
