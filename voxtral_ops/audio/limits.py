"""What one recording may cost, checked against what is really read and decoded, never against what a file claims."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AudioLimits:
    """Upper bounds for one recording. An hour takes 115 MB of the spool, and no more memory than a minute."""

    bytes: int = 4 << 30
    """Of the file as it is."""
    seconds: float = 86_400.0
    """Of decoded sound."""
    channels: int = 64
    rate: int = 768_000
    """Samples a second in the file."""
    cpu_seconds: float = 600.0
    """Spent on decoding."""
    wall_seconds: float = 900.0
    """Spent on decoding, waiting for the disk included."""
