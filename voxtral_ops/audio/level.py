"""How loud a recording is over time: speech by its level alone, noise beneath it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from voxtral_ops.audio.quality import Span
from voxtral_ops.audio.voice import spans

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from voxtral_ops.audio.audio import Audio

FRAME = 0.03
"""Seconds that one level stands for."""
QUIET = -55.0
"""dB of full scale; below it nothing is taken for speech."""
SWING = 12.0
"""dB between the loud and the quiet frames. Speech has pauses; hum, noise and tones have none."""
FEWEST = 10
"""Frames without speech from which the noise can be told."""
_PIECE = 60.0


def levels(audio: Audio) -> NDArray[np.float64]:
    """The level of each 30 ms in dB of full scale, before the gain. Silence is -120."""
    import numpy as np  # noqa: PLC0415

    start = 0.0
    found: list[NDArray[np.float64]] = []
    while not found or start < audio.seconds:
        found.append(_levels(audio.read(start, start + _PIECE)))
        start += _PIECE
    return np.concatenate(found) - audio.levels.gain


def _levels(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    import numpy as np  # noqa: PLC0415

    frame = round(FRAME * 16_000)
    whole = np.pad(samples, (0, -len(samples) % frame if len(samples) else frame)).reshape(-1, frame)
    power = np.square(whole, dtype=np.float64).mean(axis=1)
    return np.asarray(10.0 * np.log10(np.maximum(power, 1e-12)), dtype=np.float64)


def sounds_spoken(audio: Audio) -> bool:
    """Whether the level moves as in speech: loud enough, with pauses. A hint for the fallback, not a detector."""
    return _moves(levels(audio))


def speech_by_level(audio: Audio) -> tuple[Span, ...]:
    """Stretches that stand out of what lies beneath. Sound that never pauses counts as speech from end to end."""
    import numpy as np  # noqa: PLC0415

    found = levels(audio)
    floor, top = np.percentile(found, [10, 95])
    if top <= QUIET:
        return ()
    threshold = max(QUIET, min(floor + SWING / 2, top - SWING)) if _moves(found) else QUIET
    return spans(_stretches(found > threshold), audio.seconds)


def noise(audio: Audio, speech: Iterable[Span]) -> tuple[float | None, float]:
    """The dB between speech and what is heard between it (None without both), and the share of silence."""
    import numpy as np  # noqa: PLC0415

    found = levels(audio)
    spoken = np.zeros(len(found), bool)
    for span in speech:
        spoken[int(span.start / FRAME) : math.ceil(span.stop / FRAME)] = True
    power = 10.0 ** (found / 10.0)
    snr = None
    if spoken.any() and np.count_nonzero(~spoken) >= FEWEST:
        beneath = float(np.median(power[~spoken]))
        snr = round(float(10.0 * np.log10(max(power[spoken].mean() - beneath, 1e-12) / beneath)), 1)
    return snr, float((found < QUIET).mean())


def _moves(found: NDArray[np.float64]) -> bool:
    import numpy as np  # noqa: PLC0415

    loud, quiet = np.percentile(found, [90, 10])
    return bool(loud > QUIET and loud - quiet > SWING)


def _stretches(loud: NDArray[np.bool_]) -> list[tuple[float, float]]:
    import numpy as np  # noqa: PLC0415

    edges = np.flatnonzero(np.diff(np.concatenate([[0], loud.astype(np.int8), [0]]))).tolist()
    return [(start * FRAME, stop * FRAME) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
