"""Files in pieces: a few are under way at once, each in a thread of its own, and are handed on in order.

What was asked for and is not written yet never exceeds PIECE for each stream: that is the memory a fetch takes, and all
that a killed one has to ask for again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator

from voxtral_ops.errors import HostError, NetworkError, VoxtralError
from voxtral_ops.release import ReleaseFile
from voxtral_ops.weights.patience import Limit
from voxtral_ops.weights.sources import Source

PIECE = 4 << 20
SILENCE_SECONDS = 90.0
"""A place that says nothing at all for this long is given up, whatever its own thread waits for."""


class Piece(threading.Thread):
    """One range of one file on its way into a buffer that holds PIECE bytes at most."""

    def __init__(self, source: Source, file: ReleaseFile, start: int, stop: int, limit: Limit) -> None:
        super().__init__(daemon=True, name=f"fetch {file.path} {start}")
        self.file, self.begin, self.stop = file, start, stop
        self._asked = stop
        self._source, self._limit = source, limit
        self._change = threading.Condition()
        self._held: deque[bytes] = deque()
        self._bytes = 0
        self._finished = self._cancelled = False
        self._error: Exception | None = None
        self.start()

    def run(self) -> None:
        """Read until the end, an error, or nobody wants it any more."""
        error: Exception | None = None
        try:
            reading = self._source.open(self.file, self.begin, self.stop)
            self.stop = reading.stop
            for block in reading.blocks:
                if not self._put(block):
                    reading.blocks.close()
                    return
                self._limit.take(len(block))
        except Exception as caught:
            error = caught
        if isinstance(error, OSError) and not isinstance(error, VoxtralError):
            says = f"{self.file.path} from {self._source.name} cannot be read: {error.strerror or error}"
            error = HostError(says, hint="check the place and the rights there")
        with self._change:
            self._error, self._finished = error, True
            self._change.notify_all()

    def _put(self, block: bytes) -> bool:
        with self._change:
            while self._bytes >= PIECE and not self._cancelled:
                self._change.wait()
            self._held.append(block)
            self._bytes += len(block)
            self._change.notify_all()
            return not self._cancelled

    @property
    def goes_on(self) -> bool:
        """Whether it brings more than was asked for: the place can only give the rest of the file."""
        return self.stop > self._asked

    def blocks(self) -> Iterator[bytes]:
        """Hand on what came; raise what went wrong behind it."""
        while (block := self._take()) is not None:
            yield block
        if self._error is not None:
            raise self._error

    def _take(self) -> bytes | None:
        with self._change:
            heard = self._change.wait_for(lambda: self._held or self._finished, SILENCE_SECONDS)
            if not heard:
                raise NetworkError(
                    f"{self.file.path} on {self._source.name}: nothing came for {SILENCE_SECONDS:.0f} s",
                    hint="run the same command again: it goes on from there",
                )
            if not self._held:
                return None
            block = self._held.popleft()
            self._bytes -= len(block)
            self._change.notify_all()
            return block

    def cancel(self) -> None:
        """Let the thread end at its next block."""
        with self._change:
            self._cancelled = True
            self._held.clear()
            self._change.notify_all()


class Window:
    """The pieces under way, in the order of the files."""

    def __init__(self, source: Source, plan: Iterable[tuple[ReleaseFile, int, int]], limit: Limit) -> None:
        self._source, self._limit = source, limit
        self._plan = deque(plan)
        self._open: deque[Piece] = deque()

    def fill(self, width: int) -> None:
        """Have so many pieces under way."""
        while self._plan and len(self._open) < max(1, min(width, self._source.streams)):
            self._open.append(Piece(self._source, *self._plan.popleft(), self._limit))

    def head(self) -> Piece:
        """The piece that is wanted now."""
        self.fill(1)
        return self._open[0]

    def done(self) -> None:
        """The head was used up."""
        self._open.popleft()

    def again(self, start: int) -> None:
        """Ask for the rest of the head once more."""
        self.only_head_if_it_goes_on()
        piece = self._open[0]
        piece.cancel()
        self._open[0] = Piece(self._source, piece.file, start, piece.stop, self._limit)

    def only_head_if_it_goes_on(self) -> None:
        """Where the head brings the rest of its file, the other pieces of that file are not wanted."""
        head = self._open[0]
        if not head.goes_on:
            return
        for piece in [each for each in self._open if each.file is head.file and each is not head]:
            piece.cancel()
            self._open.remove(piece)
        self._plan = deque(each for each in self._plan if each[0] is not head.file)

    def close(self) -> None:
        """Nothing of this is wanted any more."""
        for piece in self._open:
            piece.cancel()


def planned(file: ReleaseFile, kept: int) -> Iterator[tuple[ReleaseFile, int, int]]:
    """Cut what is missing of a file into pieces."""
    while kept < file.size:
        stop = min(file.size, (kept // PIECE + 1) * PIECE)
        yield file, kept, stop
        kept = stop
