"""Speech: backends that turn audio into text, and the router that always finds one that answers."""

from voxtral_ops.speech.backend import Backend, ServedModel
from voxtral_ops.speech.policy import FallbackPolicy
from voxtral_ops.speech.router import SpeechRecognitionRouter
from voxtral_ops.speech.transcript import Transcript
from voxtral_ops.speech.voxtral import VoxtralBackend
from voxtral_ops.speech.wer import word_error_rate
from voxtral_ops.speech.whisper import WhisperBackend

__all__ = [
    "Backend",
    "FallbackPolicy",
    "ServedModel",
    "SpeechRecognitionRouter",
    "Transcript",
    "VoxtralBackend",
    "WhisperBackend",
    "word_error_rate",
]
