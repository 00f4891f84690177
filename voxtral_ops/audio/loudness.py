"""Loudness by ITU-R BS.1770-5 / EBU R 128, the gain that brings it to the target, and 16-bit samples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from voxtral_ops.audio.quality import Levels
from voxtral_ops.audio.weighting import ORDER, STRIDE, k_weighting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TARGET = -23.0
"""LUFS, EBU R 128's programme loudness."""
CEILING = -1.0
"""dB of full scale that no sample passes after the gain."""
MOST_GAIN = 30.0
"""dB. What would need more is noise."""
FULL_SCALE = 32767
TENTH = 1600
"""Samples of 100 ms: a gating block is four of them."""


def pcm16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Samples in -1 … 1 as 16-bit numbers; louder is clipped."""
    import numpy as np  # noqa: PLC0415

    return np.clip(np.rint(samples * np.float32(32768.0)), -32768, FULL_SCALE).astype("<i2")


def louder(pcm: NDArray[np.int16], gain: float) -> Any:
    """The samples with that many dB of gain, as bytes. No gain passes the ceiling, so nothing is clipped."""
    import numpy as np  # noqa: PLC0415

    if gain == 0:
        return pcm.tobytes()
    sound = np.multiply(pcm, np.float32(10.0 ** (gain / 20.0)), dtype=np.float32)
    return np.rint(sound, out=sound).astype("<i2").tobytes()


def plain_levels(pcm: NDArray[np.int16]) -> Levels:
    """Peak and clipping only, for sound that is taken as it is."""
    import numpy as np  # noqa: PLC0415

    high = int(np.abs(pcm.astype(np.int32)).max(initial=0))
    clipped = float(np.mean(np.abs(pcm.astype(np.int32)) >= FULL_SCALE)) if len(pcm) else 0.0
    return Levels(loudness=None, gain=0.0, peak=decibels(high / 32768), clipping=clipped)


def decibels(amplitude: float) -> float:
    """Of full scale; silence is -120."""
    return round(20 * math.log10(amplitude), 2) if amplitude > 1e-6 else -120.0


class Meter:
    """Measures samples as they pass: loudness, peak, clipping. Its memory is 8 bytes for each 100 ms."""

    def __init__(self) -> None:
        import numpy as np  # noqa: PLC0415

        self._weighting = k_weighting()
        self._state: NDArray[np.float32] = np.zeros((1, ORDER), np.float32)
        self._waiting: NDArray[np.int16] = np.zeros(0, np.int16)
        self._energies: list[NDArray[np.float32]] = []
        self._peak = self._clipped = self._count = 0

    def add(self, pcm: NDArray[np.int16]) -> None:
        """The next samples."""
        import numpy as np  # noqa: PLC0415

        self._count += len(pcm)
        low, high = (int(np.min(pcm)), int(np.max(pcm))) if len(pcm) else (0, 0)
        self._peak = max(self._peak, -low, high)
        if max(-low, high) >= FULL_SCALE:
            self._clipped += int(np.count_nonzero((pcm >= FULL_SCALE) | (pcm <= -FULL_SCALE)))
        self._weigh(np.concatenate([self._waiting, pcm]) if len(self._waiting) else pcm)

    def levels(self, target: float | None) -> Levels:
        """What was measured, and the gain towards ``target`` LUFS (None for no gain)."""
        import numpy as np  # noqa: PLC0415

        energies = np.concatenate(self._energies) if self._energies else np.zeros(0, np.float32)
        loudness, peak = integrated(energies), decibels(self._peak / 32768)
        gain = 0.0
        if target is not None and loudness is not None:
            gain = round(min(target - loudness, CEILING - peak, MOST_GAIN), 2)
        return Levels(loudness, gain, peak, self._clipped / max(1, self._count))

    def _weigh(self, pcm: NDArray[np.int16]) -> None:
        """Energies of the 100 ms that are complete; the rest waits."""
        import numpy as np  # noqa: PLC0415

        whole = len(pcm) // TENTH * TENTH
        self._waiting = pcm[whole:]
        if whole:
            blocks = np.multiply(pcm[:whole], np.float32(1 / 32768), dtype=np.float32).reshape(-1, STRIDE)
            weighted, self._state = self._weighting.run(blocks, self._state)
            tenths = weighted.reshape(-1, TENTH)
            self._energies.append(np.einsum("ij,ij->i", tenths, tenths) / np.float32(TENTH))


def integrated(energies: NDArray[np.float32]) -> float | None:
    """LUFS of K-weighted energies of 100 ms each, by the two gates of BS.1770; None where nothing passes them."""
    import numpy as np  # noqa: PLC0415

    if len(energies) < 4:
        return None
    energies = energies.astype(np.float64)
    total = np.concatenate([[0.0], np.cumsum(energies)])
    blocks = (total[4:] - total[:-4]) / 4
    loud = blocks[blocks > _energy(-70.0)]
    if not len(loud):
        return None
    loud = loud[loud > loud.mean() * 0.1]
    return round(float(-0.691 + 10 * np.log10(loud.mean())), 3)


def _energy(lufs: float) -> float:
    return float(10.0 ** ((lufs + 0.691) / 10.0))
