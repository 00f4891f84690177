"""VoxtralAudioProcessor: any recording in, ``Audio`` out."""

from __future__ import annotations

from dataclasses import dataclass, field

from voxtral_ops.audio.audio import Audio
from voxtral_ops.audio.decode import decode
from voxtral_ops.audio.limits import AudioLimits
from voxtral_ops.audio.loudness import TARGET
from voxtral_ops.audio.source import Source, opened
from voxtral_ops.audio.voice import Voice


@dataclass(frozen=True)
class VoxtralAudioProcessor:
    """Reads recordings: WAV, MP3, M4A, FLAC, OGG, Opus, WebM, AIFF and what else FFmpeg's decoders know."""

    limits: AudioLimits = field(default_factory=AudioLimits)
    loudness: float | None = TARGET
    """LUFS that reading brings a recording to; None leaves it as loud as it is."""
    voice: Voice = field(default_factory=Voice)
    """Who finds the speech."""

    def load(self, source: Source, name: str = "") -> Audio:
        """Decode to 16 kHz mono. Raises AudioError, which names the recording and the cure, for everything else."""
        with opened(source, self.limits, name) as file:
            return decode(file, self.limits, self.loudness)
