"""A recording of any length: cut at its pauses, heard in parallel within a budget, and put together again."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

from voxtral_ops.audio import Audio, Span, segments
from voxtral_ops.errors import VoxtralError
from voxtral_ops.speech.journal import Journal
from voxtral_ops.speech.signals import signals_of
from voxtral_ops.speech.spacing import spaced
from voxtral_ops.speech.timing import estimated, grouped, snapped
from voxtral_ops.speech.transcript import Segment, Transcript, Word

Hear = Callable[[Audio], Transcript]
"""Turns one piece into words."""
Align = Callable[[Audio, str, str | None], tuple[Word, ...]]
"""Finds the words of a text in a piece: audio, text, language."""

FOUND = 0.4
"""Mean confidence of the words below which the aligner has not found them. Measured with tiny.en: the right English
text 0.67 to 0.96, slightly wrong 0.71; another text 0.08, other languages 0.01 to 0.24."""


@dataclass(frozen=True)
class Progress:
    """How far a recording is."""

    seconds: float
    """Of sound that is heard."""
    of: float
    pieces: int
    of_pieces: int
    resumed: int
    """Pieces that an earlier run had heard."""


Report = Callable[[Progress], None]
"""Told after each piece."""


@dataclass(frozen=True)
class Listening:
    """How recordings are cut and heard."""

    hear: Hear
    longest: float
    """Seconds of one piece."""
    concurrency: int = 4
    align: Align | None = None
    """None: times are estimated where they are wanted."""
    times: bool = False
    report: Report | None = None


def listen(audio: Audio, how: Listening, journal: Journal | None = None) -> Transcript:
    """Transcribe all of it. What ``journal`` has is not heard again. Raises VoxtralError naming the piece.

    After a failure no new piece is begun; those that are being heard are waited for and kept.
    """
    began = time.monotonic()
    spans = _pieces(audio, how.longest)
    heard: dict[Span, Transcript] = {span: journal.done[span] for span in spans if journal and span in journal.done}
    resumed, whole = len(heard), sum(span.seconds for span in spans)
    for span, transcript in _hear_all(audio, [span for span in spans if span not in heard], how):
        if journal is not None:
            journal.add(span, transcript)
        heard[span] = transcript
        if how.report is not None:
            done = sum(each.seconds for each in heard)
            how.report(Progress(done, whole, len(heard), len(spans), resumed))
    joined = _joined(audio, [(span, heard[span]) for span in spans], time.monotonic() - began)
    return joined.model_copy(update={"signals": signals_of(audio, joined, list(heard.values()))})


def listen_aloud(audio: Audio, longest: float, stream: Callable[[Audio], Iterator[Transcript]]) -> Iterator[Transcript]:
    """Transcribe one piece after the other and say what is known so far, again and again. The last one is whole."""
    began, done = time.monotonic(), list[tuple[Span, Transcript]]()
    for span in _pieces(audio, longest):
        latest: Transcript | None = None
        piece = _piece(audio, span)
        for latest in stream(piece):
            yield _joined(audio, [*done, (span, latest)], time.monotonic() - began)
        if latest is not None:
            done.append((span, latest.model_copy(update={"signals": signals_of(piece, latest)})))
    if done:
        joined = _joined(audio, done, time.monotonic() - began)
        yield joined.model_copy(update={"signals": signals_of(audio, joined, [each for _, each in done])})


def _pieces(audio: Audio, longest: float) -> tuple[Span, ...]:
    """One piece where it is short enough. Where nobody was heard to speak the model judges all of it, evenly cut."""
    if audio.seconds <= longest:
        return (Span(0.0, audio.seconds),)
    found = segments(audio, longest)
    if found:
        return found
    count = math.ceil(audio.seconds / longest)
    edges = [round(audio.seconds * number / count, 3) for number in range(count + 1)]
    return tuple(Span(start, stop) for start, stop in pairwise(edges))


def _piece(audio: Audio, span: Span) -> Audio:
    return audio if span.seconds >= audio.seconds else audio.part(span.start, span.stop)


def _hear_all(audio: Audio, spans: Sequence[Span], how: Listening) -> Iterator[tuple[Span, Transcript]]:
    """Yield pieces as they are heard. Only as many as are heard at once are read into memory."""
    rest, running, failure = iter(spans), dict[Future[Transcript], Span](), None
    pool = ThreadPoolExecutor(max_workers=how.concurrency, thread_name_prefix="voxtral-hear")
    try:
        while True:
            while failure is None and len(running) < how.concurrency and (span := next(rest, None)):
                running[pool.submit(_hear, audio, span, how)] = span
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                span = running.pop(future)
                try:
                    transcript = future.result()
                except VoxtralError as error:
                    failure = failure or _placed(error, span, audio)
                else:
                    yield span, transcript
    finally:
        # After Ctrl-C nobody waits for a server: closing the backends ends what is under way.
        pool.shutdown(wait=False, cancel_futures=True)
    if failure is not None:
        raise failure


def _hear(audio: Audio, span: Span, how: Listening) -> Transcript:
    piece = _piece(audio, span)
    transcript = how.hear(piece)
    updates: dict[str, Any] = {"signals": signals_of(piece, transcript)}
    if how.times:
        updates |= {"segments": _timed(piece, transcript, how)}
    return transcript.model_copy(update=updates)


def _timed(piece: Audio, transcript: Transcript, how: Listening) -> tuple[Segment, ...]:
    if not transcript.text:
        return ()
    if how.align is not None:
        # Without the aligner, in another language or on a machine without Whisper, an estimate is still honest.
        with suppress(VoxtralError):
            words = how.align(piece, transcript.text, transcript.language)
            if words and fmean(word.confidence or 0.0 for word in words) >= FOUND:
                return grouped(_in_order(snapped(words, piece.speech), piece.seconds))
    return estimated(transcript.text, piece.speech, piece.seconds)


def _in_order(words: Iterable[Word], seconds: float) -> Iterator[Word]:
    """Times that never go back and never leave the piece."""
    now = 0.0
    for word in words:
        start = min(max(now, word.start), seconds)
        now = min(max(start, word.end), seconds)
        yield word.model_copy(update={"start": start, "end": now})


def _placed(error: VoxtralError, span: Span, audio: Audio) -> VoxtralError:
    """The same error, naming the piece where the recording has several."""
    if span.seconds >= audio.seconds:
        return error
    place = f"{_clock(span.start)} to {_clock(span.stop)} of {audio.source}"
    placed = type(error)(f"{place}: {error.message}", hint=error.hint, **error.details)
    placed.__cause__ = error
    return placed


def _joined(audio: Audio, pieces: Sequence[tuple[Span, Transcript]], elapsed: float) -> Transcript:
    if len(pieces) == 1 and pieces[0][0].start == 0:
        return pieces[0][1].model_copy(update={"seconds": round(audio.seconds, 3), "elapsed": round(elapsed, 3)})
    parts = [transcript for _, transcript in pieces]
    most, _ = Counter((each.backend, each.model, each.release) for each in parts).most_common(1)[0]
    first = next(each for each in parts if (each.backend, each.model, each.release) == most)
    languages = Counter(each.language for each in parts if each.language and each.text)
    language = languages.most_common(1)[0][0] if languages else None
    return first.model_copy(
        update={
            "text": spaced(each.text for each in parts),
            "language": language,
            "seconds": round(audio.seconds, 3),
            "elapsed": round(elapsed, 3),
            "fallback_reason": _fallbacks(parts),
            "segments": tuple(_moved(each, span.start) for span, part in pieces for each in part.segments),
        }
    )


def _fallbacks(parts: Sequence[Transcript]) -> str | None:
    reasons = [each.fallback_reason for each in parts if each.fallback_reason]
    if not reasons or len(reasons) == len(parts):
        return reasons[0] if reasons else None
    return f"{len(reasons)} of {len(parts)} parts: {reasons[0]}"


def _moved(segment: Segment, by: float) -> Segment:
    words = tuple(
        word.model_copy(update={"start": round(word.start + by, 3), "end": round(word.end + by, 3)})
        for word in segment.words
    )
    times = {"start": round(segment.start + by, 3), "end": round(segment.end + by, 3)}
    return segment.model_copy(update={**times, "words": words})


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
