"""Audio: bytes of any common format in, 16 kHz mono samples out, every limit bounded."""

from voxtral_ops.audio.audio import RATE, Audio
from voxtral_ops.audio.limits import AudioLimits
from voxtral_ops.audio.processor import VoxtralAudioProcessor
from voxtral_ops.audio.source import Source

__all__ = ["RATE", "Audio", "AudioLimits", "Source", "VoxtralAudioProcessor"]
