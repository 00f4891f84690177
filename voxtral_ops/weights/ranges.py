"""A sum for every 16 MiB of a file, taken as the bytes pass by, so that damage can be told to a place and mended there.

They only say where to look: CRC-32 costs a quarter of a sha256 and finds any accident. Whether a file is right, its
sha256 alone decides.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from voxtral_ops.weights.files import write_synced

RANGE = 16 << 20
RANGES = ".ranges.json"
BLOCK = 1 << 20

Span = tuple[int, int]
"""From this byte up to, not including, that one."""


class RangeSums:
    """The sums of one file, fed in order."""

    def __init__(self) -> None:
        self._done: list[int] = []
        self._running = 0
        self._filled = 0

    def feed(self, block: bytes | memoryview) -> None:
        """Take the next bytes."""
        view = memoryview(block)
        while view:
            part = view[: RANGE - self._filled]
            self._running = zlib.crc32(part, self._running)
            self._filled += len(part)
            view = view[len(part) :]
            if self._filled == RANGE:
                self._done.append(self._running)
                self._running = self._filled = 0

    @property
    def sums(self) -> tuple[int, ...]:
        """What was fed so far."""
        return (*self._done, self._running) if self._filled else tuple(self._done)


def write_ranges(directory: Path, sums: Mapping[str, Sequence[int]]) -> None:
    """Keep the sums beside the files."""
    write_synced(directory / RANGES, json.dumps({"range": RANGE, "crc32": sums}))


def load_ranges(directory: Path) -> dict[str, tuple[int, ...]]:
    """Read the sums; nothing where there are none to be had."""
    try:
        data = json.loads((directory / RANGES).read_text(encoding="utf-8"))
        if data["range"] != RANGE:
            return {}
        return {str(name): tuple(map(int, sums)) for name, sums in data["crc32"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def right_range(path: Path, number: int, sums: Sequence[int]) -> bool:
    """Look whether one range of a file still has its sum."""
    left, running = RANGE, 0
    try:
        with path.open("rb", buffering=0) as stream:
            stream.seek(number * RANGE)
            while left and (block := stream.read(min(BLOCK, left))):
                running = zlib.crc32(block, running)
                left -= len(block)
    except OSError:
        return False
    return number < len(sums) and running == sums[number]


def wrong_spans(path: Path, size: int, sums: Sequence[int]) -> tuple[Span, ...]:
    """Say which parts of a file are wrong, neighbours joined; nothing where the sums do not tell."""
    if len(sums) != -(-size // RANGE):
        return ()
    spans: list[Span] = []
    for number in range(len(sums)):
        start, stop = number * RANGE, min(size, (number + 1) * RANGE)
        if right_range(path, number, sums):
            continue
        if spans and spans[-1][1] == start:
            spans[-1] = (spans[-1][0], stop)
        else:
            spans.append((start, stop))
    return tuple(spans)
