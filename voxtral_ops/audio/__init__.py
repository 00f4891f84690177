"""Audio: bytes of any common format in, 16 kHz mono samples out, every limit bounded."""

from voxtral_ops.audio.audio import RATE, Audio
from voxtral_ops.audio.limits import AudioLimits
from voxtral_ops.audio.processor import VoxtralAudioProcessor
from voxtral_ops.audio.quality import AudioQuality, Levels, Span
from voxtral_ops.audio.segments import segments
from voxtral_ops.audio.source import Source
from voxtral_ops.audio.voice import Voice

__all__ = [
    "RATE",
    "Audio",
    "AudioLimits",
    "AudioQuality",
    "Levels",
    "Source",
    "Span",
    "Voice",
    "VoxtralAudioProcessor",
    "segments",
]
