"""Bits on disk: models fetched from anywhere, trusted by their sha256 alone, and verified again for nothing."""

from voxtral_ops.weights.hub import HubSource, hub_reachable, pin
from voxtral_ops.weights.sources import DirectorySource, Source, source_for
from voxtral_ops.weights.store import WeightsStore
from voxtral_ops.weights.verify import FileProblem, Verification
from voxtral_ops.weights.whisper import WHISPER, install_whisper, verify_whisper, whisper_path

__all__ = [
    "WHISPER",
    "DirectorySource",
    "FileProblem",
    "HubSource",
    "Source",
    "Verification",
    "WeightsStore",
    "hub_reachable",
    "install_whisper",
    "pin",
    "source_for",
    "verify_whisper",
    "whisper_path",
]
