"""What one recording may cost, checked against what is really read and decoded, never against what a file claims."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AudioLimits:
    """Upper bounds for one recording. Two hours of samples take 460 MB of memory."""

    bytes: int = 1 << 30
    """Of the file as it is."""
    seconds: float = 7200.0
    """Of decoded sound."""
    channels: int = 64
    rate: int = 768_000
    """Samples a second in the file."""
    wall_seconds: float = 300.0
    """Time spent on decoding."""
