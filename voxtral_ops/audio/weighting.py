"""The K-weighting of ITU-R BS.1770 at 16 kHz: a recursive filter done as products of matrices, at BLAS's speed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STRIDE = 40
"""Samples that are filtered by one row of a matrix."""
ORDER = 4
"""Numbers that the filter remembers."""
MEMORY = 2048
"""Samples after which 1e-9 is left of what it remembers."""


@dataclass(frozen=True)
class Weighting:
    """A filter as matrices over strides of samples."""

    direct: NDArray[np.float32]
    """The samples of a stride → their part of its output."""
    carried: NDArray[np.float32]
    """The state before a stride → its part of the output."""
    taken: NDArray[np.float32]
    """The samples of a stride → their part of the state after it."""
    decays: tuple[NDArray[np.float32], ...]
    """What 1, 2, 4 … strides leave of a state, until nothing is left."""

    def run(
        self, strides: NDArray[np.float32], state: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Filter strides (one a row) that follow on ``state``. Returns the output and the state after them."""
        import numpy as np  # noqa: PLC0415

        states = np.concatenate([state, strides @ self.taken])
        for power, decay in enumerate(self.decays):
            step = 1 << power
            states[step:] += states[:-step] @ decay
        output = strides @ self.direct
        output += states[:-1] @ self.carried
        return output, states[-1:]


@cache
def k_weighting() -> Weighting:
    """A shelf for the head, then a high-pass, at 16 kHz."""
    import numpy as np  # noqa: PLC0415

    impulse, states = _simulate(np.zeros(ORDER), [1.0] + [0.0] * (STRIDE - 1))
    carried, decay = np.zeros((ORDER, STRIDE)), np.zeros((ORDER, ORDER))
    for index, state in enumerate(np.eye(ORDER)):
        carried[index], after = _simulate(state, [0.0] * STRIDE)
        decay[index] = after[-1]
    direct = np.zeros((STRIDE, STRIDE))
    for index in range(STRIDE):
        direct[index, index:] = impulse[: STRIDE - index]
    decays = [decay]
    while STRIDE << len(decays) < MEMORY:
        decays.append(decays[-1] @ decays[-1])
    single = np.float32
    return Weighting(
        direct.astype(single),
        carried.astype(single),
        states[::-1].astype(single),
        tuple(decay.astype(single) for decay in decays),
    )


def _simulate(state: NDArray[np.float64], samples: list[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both filters sample by sample: the output, and the state after each."""
    import numpy as np  # noqa: PLC0415

    now = list(state)
    output, states = [], []
    for sample in samples:
        passed = sample
        for at, (b, a) in enumerate((_shelf(), _high_pass())):
            result = b[0] * passed + now[2 * at]
            now[2 * at] = b[1] * passed - a[1] * result + now[2 * at + 1]
            now[2 * at + 1] = b[2] * passed - a[2] * result
            passed = result
        output.append(passed)
        states.append(list(now))
    return np.array(output), np.array(states)


@cache
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


@cache
def _high_pass() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Below 38 Hz."""
    import numpy as np  # noqa: PLC0415

    angle = 2 * math.pi * 38.0 / 16_000
    cos, slope = math.cos(angle), math.sin(angle)
    b = np.array([(1 + cos) / 2, -(1 + cos), (1 + cos) / 2])
    a = np.array([1 + slope, -2 * cos, 1 - slope])
    return b / a[0], a / a[0]
