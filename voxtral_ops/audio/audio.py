"""One recording in memory: 16 kHz mono float32 samples, and what is known of where they came from."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RATE = 16_000
"""Samples a second that every backend hears."""


@dataclass(frozen=True, eq=False)
class Audio:
    """A decoded recording. ``samples`` is read-only, one float32 in about -1 … 1 for each 1/16000 s."""

    samples: NDArray[np.float32]
    source: str
    """The file's name, or what the bytes were called."""
    container: str
    codec: str
    rate: int
    """Samples a second in the file, before resampling."""
    channels: int
    """In the file, before mixing to one."""
    sha256: str
    """Of the file's bytes."""
    damaged: int = 0
    """Packets that could not be decoded and were left out."""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / RATE

    def wav_bytes(self) -> bytes:
        """The samples as a WAV file: 16 kHz, mono, 16 bit. Louder than full scale is clipped."""
        import numpy as np  # noqa: PLC0415

        pcm = np.clip(self.samples * 32767.0, -32768, 32767).round().astype("<i2")
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(pcm.tobytes())
        return buffer.getvalue()
