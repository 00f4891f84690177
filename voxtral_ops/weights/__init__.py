"""Bits on disk: models fetched from anywhere, trusted by their sha256 alone, and verified again for nothing."""

from voxtral_ops.weights.fetch import Watch
from voxtral_ops.weights.hub import HubSource, hub_reachable, pin
from voxtral_ops.weights.sources import DirectorySource, Source, source_for
from voxtral_ops.weights.store import WeightsStore, is_older
from voxtral_ops.weights.verify import FileProblem, Verification
from voxtral_ops.weights.whisper import (
    WHISPER,
    install_whisper,
    install_whisper_from,
    verify_whisper,
    whisper_model,
    whisper_path,
)

__all__ = [
    "WHISPER",
    "DirectorySource",
    "FileProblem",
    "HubSource",
    "Source",
    "Verification",
    "Watch",
    "WeightsStore",
    "hub_reachable",
    "install_whisper",
    "install_whisper_from",
    "is_older",
    "pin",
    "source_for",
    "verify_whisper",
    "whisper_model",
    "whisper_path",
]
