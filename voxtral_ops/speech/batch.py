"""Many recordings, some at a time: each has its words or its own error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from voxtral_ops.audio import Source
from voxtral_ops.errors import VoxtralError
from voxtral_ops.speech.transcript import Transcript


@dataclass(frozen=True)
class Heard:
    """One recording of several: ``transcript`` or ``error``, the other one is None."""

    source: Source
    transcript: Transcript | None = None
    error: VoxtralError | None = None

    @property
    def name(self) -> str:
        """What to call it."""
        if isinstance(self.source, str | os.PathLike):
            return os.fspath(self.source)
        return "<bytes>" if isinstance(self.source, bytes) else str(getattr(self.source, "name", "<stream>"))


def heard_of(sources: Iterable[Source], hear: Callable[[Source], Transcript], at_once: int) -> Iterator[Heard]:
    """Hear ``at_once`` of them at a time; the sources are asked for one by one, as room comes free."""
    rest, running = iter(sources), set[Future[Heard]]()

    def one(source: Source) -> Heard:
        try:
            return Heard(source, transcript=hear(source))
        except VoxtralError as error:
            return Heard(source, error=error)

    pool = ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="voxtral-batch")
    try:
        for source in rest:
            running.add(pool.submit(one, source))
            if len(running) >= at_once:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    finally:
        # After Ctrl-C nobody waits for a server: closing the backends ends what is under way.
        pool.shutdown(wait=False, cancel_futures=True)
