"""Loudness by ITU-R BS.1770-5 / EBU R 128, the gain that brings it to the target, and 16-bit samples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from voxtral_ops.audio.quality import Levels

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


def pcm16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Samples in -1 … 1 as 16-bit numbers; louder is clipped."""
    import numpy as np  # noqa: PLC0415

    return np.clip(np.rint(samples * np.float32(32768.0)), -32768, FULL_SCALE).astype("<i2")


def louder(pcm: NDArray[np.int16], gain: float) -> Any:
    """The samples with that many dB of gain, as bytes."""
    import numpy as np  # noqa: PLC0415

    if gain == 0:
        return pcm.tobytes()
    sound = np.multiply(pcm, np.float32(10.0 ** (gain / 20.0)), dtype=np.float32)
    return np.clip(np.rint(sound, out=sound), -32768, FULL_SCALE, out=sound).astype("<i2").tobytes()


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

        self._response = np.fft.rfft(_impulse_response(), WINDOW).astype(np.complex64)
        self._past: NDArray[np.float32] = np.zeros(TAIL, np.float32)
        self._waiting: NDArray[np.float32] = np.zeros(0, np.float32)
        self._energies: list[NDArray[np.float64]] = []
        self._peak = self._clipped = self._count = 0

    def add(self, pcm: NDArray[np.int16]) -> None:
        """The next samples."""
        import numpy as np  # noqa: PLC0415

        self._count += len(pcm)
        low, high = (int(np.min(pcm)), int(np.max(pcm))) if len(pcm) else (0, 0)
        self._peak = max(self._peak, -low, high)
        if max(-low, high) >= FULL_SCALE:
            self._clipped += int(np.count_nonzero((pcm >= FULL_SCALE) | (pcm <= -FULL_SCALE)))
        self._weigh(np.multiply(pcm, np.float32(1 / 32768), dtype=np.float32))

    def levels(self, target: float | None) -> Levels:
        """What was measured, and the gain towards ``target`` LUFS (None for no gain)."""
        import numpy as np  # noqa: PLC0415

        energies = np.concatenate(self._energies) if self._energies else np.zeros(0)
        loudness, peak = integrated(energies), decibels(self._peak / 32768)
        gain = 0.0
        if target is not None and loudness is not None:
            gain = round(min(target - loudness, CEILING - peak, MOST_GAIN), 2)
        return Levels(loudness, gain, peak, self._clipped / max(1, self._count))

    def _weigh(self, sound: NDArray[np.float32]) -> None:
        """Filter by overlap-save: each window begins with the end of the one before."""
        import numpy as np  # noqa: PLC0415

        stream = np.concatenate([self._past, sound])
        windows = -(-len(sound) // HOP)
        padded = np.zeros(TAIL + windows * HOP, np.float32)
        padded[: len(stream)] = stream
        rows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
        weighted = np.empty(windows * HOP, np.float32)
        for index in range(0, windows, ROWS):
            spectrum = np.fft.rfft(rows[index : index + ROWS])
            spectrum *= self._response
            part = np.fft.irfft(spectrum, WINDOW)[:, TAIL:]
            weighted[index * HOP : index * HOP + part.size] = part.reshape(-1)
        self._past = stream[-TAIL:]
        self._measure(np.concatenate([self._waiting, weighted[: len(sound)]]))

    def _measure(self, weighted: NDArray[np.float32]) -> None:
        import numpy as np  # noqa: PLC0415

        whole = len(weighted) // TENTH * TENTH
        blocks = weighted[:whole].reshape(-1, TENTH)
        self._energies.append(np.einsum("ij,ij->i", blocks, blocks).astype(np.float64) / TENTH)
        self._waiting = weighted[whole:]


TENTH = 1600
"""Samples of 100 ms: a gating block is four of them."""
WINDOW, TAIL = 8192, 1024
HOP = WINDOW - TAIL
ROWS = 16


def integrated(energies: NDArray[np.float64]) -> float | None:
    """LUFS of K-weighted energies of 100 ms each, by the two gates of BS.1770; None where nothing passes them."""
    import numpy as np  # noqa: PLC0415

    if len(energies) < 4:
        return None
    total = np.concatenate([[0.0], np.cumsum(energies)])
    blocks = (total[4:] - total[:-4]) / 4
    loud = blocks[blocks > _energy(-70.0)]
    if not len(loud):
        return None
    loud = loud[loud > loud.mean() * 0.1]
    return round(float(-0.691 + 10 * np.log10(loud.mean())), 3)


def _energy(lufs: float) -> float:
    return float(10.0 ** ((lufs + 0.691) / 10.0))


def _impulse_response() -> NDArray[np.float64]:
    """Of the K-weighting at 16 kHz: a shelf for the head, then a high-pass. It is over after 64 ms (-100 dB)."""
    import numpy as np  # noqa: PLC0415

    sound = np.zeros(TAIL + 1)
    sound[0] = 1.0
    for numerator, denominator in (_shelf(), _high_pass()):
        filtered = np.zeros(len(sound) + 2)
        padded = np.concatenate([[0.0, 0.0], sound])
        for at in range(2, len(filtered)):
            filtered[at] = numerator @ padded[at - 2 : at + 1][::-1] - denominator[1:] @ filtered[at - 2 : at][::-1]
        sound = filtered[2:]
    return sound


def _shelf() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """+4 dB above 1.5 kHz, by the equaliser cookbook, as pyloudnorm has it: 0.04 dB from the standard's table."""
    import numpy as np  # noqa: PLC0415

    gain = 10 ** (4.0 / 40)
    angle = 2 * math.pi * 1500.0 / 16_000
    cos, slope = math.cos(angle), math.sqrt(2 * gain) * math.sin(angle)
    up, down = gain + 1, gain - 1
    b = np.array([gain * (up + down * cos + slope), -2 * gain * (down + up * cos), gain * (up + down * cos - slope)])
    a = np.array([up - down * cos + slope, 2 * (down - up * cos), up - down * cos - slope])
    return b / a[0], a / a[0]


def _high_pass() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Below 38 Hz."""
    import numpy as np  # noqa: PLC0415

    angle = 2 * math.pi * 38.0 / 16_000
    cos, slope = math.cos(angle), math.sin(angle)
    b = np.array([(1 + cos) / 2, -(1 + cos), (1 + cos) / 2])
    a = np.array([1 + slope, -2 * cos, 1 - slope])
    return b / a[0], a / a[0]
