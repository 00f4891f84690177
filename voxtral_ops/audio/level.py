"""How loud a recording is over time, and whether that looks like someone speaking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxtral_ops.audio.audio import RATE, Audio

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FRAME = RATE * 30 // 1000
QUIET = -55.0
"""dB of full scale; below it nothing is taken for speech."""
SWING = 12.0
"""dB between the loud and the quiet frames. Speech has pauses; hum, noise and tones have none."""


def levels(audio: Audio) -> NDArray[np.float64]:
    """The level of each 30 ms in dB of full scale. Silence is -120."""
    import numpy as np  # noqa: PLC0415

    samples = audio.samples
    if len(samples) < _FRAME:
        samples = np.pad(samples, (0, _FRAME - len(samples)))
    frames = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME)
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    return np.asarray(10.0 * np.log10(np.maximum(power, 1e-12)), dtype=np.float64)


def sounds_spoken(audio: Audio) -> bool:
    """Whether the level moves as in speech: loud enough, with pauses. A hint for the fallback, not a detector."""
    import numpy as np  # noqa: PLC0415

    loud, quiet = np.percentile(levels(audio), [90, 10])
    return bool(loud > QUIET and loud - quiet > SWING)
