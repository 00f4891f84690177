"""When words were said: spread over the places where somebody speaks, or grouped from words that were found."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from voxtral_ops.audio import Span
from voxtral_ops.speech.spacing import spaced, units, width
from voxtral_ops.speech.transcript import Segment, Word

LONGEST = 7.0
"""Seconds that one segment lasts at most where its words allow it: what a reader of subtitles can follow."""
WIDEST = 84
"""Columns of one segment: two lines of 42, or of 21 Chinese letters."""
PAUSE = 0.8
"""A silence of this many seconds ends a segment."""
_STOPS = re.compile(r"[.!?…。！？][\"'”’)\]]*$")  # noqa: RUF001 - the full stops of Chinese and Japanese


def estimated(text: str, speech: Sequence[Span], seconds: float) -> tuple[Segment, ...]:
    """Give every word a share of the speech that is as long as its share of the letters.

    ``speech`` are the spans where somebody speaks, in order; where there are none the whole recording counts.
    """
    words = units(text)
    if not words:
        return ()
    spans = [span for span in speech if span.seconds > 0] or [Span(0.0, seconds)]
    # A word costs its letters and one more for the gap after it.
    ends = list(accumulate(len(word) + 1 for word in words))
    total, clock = ends[-1], _Clock(spans)
    timed = [
        Word(text=word, start=clock.at((end - len(word) - 1) / total), end=clock.at(end / total, closing=True))
        for word, end in zip(words, ends, strict=True)
    ]
    return tuple(Segment(text=each.text, start=each.start, end=each.end, timing="estimated") for each in grouped(timed))


def grouped(words: Iterable[Word]) -> tuple[Segment, ...]:
    """Join words that were found in the sound into segments: at full stops, pauses, and before one gets too long."""
    return tuple(_segment(group) for group in _groups(words))


def snapped(words: Iterable[Word], speech: Sequence[Span]) -> Iterator[Word]:
    """Cut from each word the silence at its edges: the aligner leaves no gaps between words.

    Nobody pauses within a word: of several stretches of speech that it touches, it is in the one it shares most with.
    A word outside of all speech keeps its place: somebody heard it there.
    """
    for word in words:
        shared = [Span(max(word.start, span.start), min(word.end, span.stop)) for span in speech]
        best = max(shared, key=lambda span: span.seconds, default=Span(0, 0))
        if best.seconds > 0:
            yield word.model_copy(update={"start": best.start, "end": best.stop})
        else:
            yield word


class _Clock:
    """Turns a share of the speech into a time of the recording."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._spans = spans
        self._before = [0.0, *accumulate(span.seconds for span in spans)]

    def at(self, share: float, *, closing: bool = False) -> float:
        """The time where this share is reached; at a pause its beginning when ``closing``, else its end."""
        wanted = min(max(share, 0.0), 1.0) * self._before[-1]
        index = min(bisect_right(self._before, wanted) - 1, len(self._spans) - 1)
        if closing and index > 0 and wanted - self._before[index] < 1e-9:
            return self._spans[index - 1].stop
        span = self._spans[index]
        return min(span.stop, span.start + wanted - self._before[index])


def _groups(words: Iterable[Word]) -> Iterator[list[Word]]:
    group: list[Word] = []
    for word in words:
        if group and _ends_before(group, word):
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def _ends_before(group: list[Word], word: Word) -> bool:
    last = group[-1]
    return bool(
        _STOPS.search(last.text)
        or word.start - last.end >= PAUSE
        or word.end - group[0].start > LONGEST
        or width(spaced(each.text for each in (*group, word))) > WIDEST
    )


def _segment(group: list[Word]) -> Segment:
    text = spaced(word.text for word in group)
    return Segment(text=text, start=group[0].start, end=group[-1].end, timing="aligned", words=tuple(group))
