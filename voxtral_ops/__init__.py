"""voxtral_ops: provision, serve and use Mistral's Voxtral speech models on your own machines.

The public names load on first use, so that ``import voxtral_ops`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from voxtral_ops.audio import VoxtralAudioProcessor
    from voxtral_ops.config import VoxtralConfig
    from voxtral_ops.errors import VoxtralError
    from voxtral_ops.manager import VoxtralManager
    from voxtral_ops.server import VLLMServerManager
    from voxtral_ops.speech import SpeechRecognitionRouter, Transcript

_HOMES = {
    "SpeechRecognitionRouter": "voxtral_ops.speech",
    "Transcript": "voxtral_ops.speech",
    "VLLMServerManager": "voxtral_ops.server",
    "VoxtralAudioProcessor": "voxtral_ops.audio",
    "VoxtralConfig": "voxtral_ops.config",
    "VoxtralError": "voxtral_ops.errors",
    "VoxtralManager": "voxtral_ops.manager",
}

__all__ = [
    "SpeechRecognitionRouter",
    "Transcript",
    "VLLMServerManager",
    "VoxtralAudioProcessor",
    "VoxtralConfig",
    "VoxtralError",
    "VoxtralManager",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'voxtral_ops' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
