"""Cut a long recording at its pauses, into pieces that a model takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxtral_ops.audio.quality import Span

if TYPE_CHECKING:
    from voxtral_ops.audio.audio import Audio

MARGIN = 0.2
"""Seconds of pause that are kept before and after speech."""
REACH = 0.5
"""A cut is looked for in this last share of the longest segment; there the longest pause wins."""
STEP = 0.03


def segments(audio: Audio, longest: float = 30.0) -> tuple[Span, ...]:
    """Stretches of at most ``longest`` seconds that hold all of the speech, in order, without overlap.

    Each cut lies in the longest pause within reach; only where nobody pauses, at the quietest moment. Pauses longer
    than twice the margin belong to no segment.
    """
    if longest < 1:
        raise ValueError("a segment of less than a second holds no words")
    found: list[Span] = []
    rest = list(_with_margin(audio.speech, audio.seconds))
    while rest:
        taken = _taken(rest, longest)
        if taken:
            found.append(Span(rest[0].start, rest[taken - 1].stop))
            del rest[:taken]
        else:
            cut = _quietest(audio, rest[0].start + longest * REACH, rest[0].start + longest)
            found.append(Span(rest[0].start, cut))
            rest[0] = Span(cut, rest[0].stop)
    return tuple(found)


def _with_margin(speech: tuple[Span, ...], seconds: float) -> list[Span]:
    """Speech with some pause around it; where two would touch, the pause is shared."""
    found: list[Span] = []
    for index, span in enumerate(speech):
        before = speech[index - 1].stop if index else -2 * MARGIN
        after = speech[index + 1].start if index + 1 < len(speech) else seconds + 2 * MARGIN
        start = max(0.0, span.start - min(MARGIN, (span.start - before) / 2))
        stop = min(seconds, span.stop + min(MARGIN, (after - span.stop) / 2))
        found.append(Span(round(start, 3), round(stop, 3)))
    return found


def _taken(rest: list[Span], longest: float) -> int:
    """How many of the next spans make one segment: all that fit, or up to the longest pause within reach."""
    start = rest[0].start
    fitting = sum(span.stop - start <= longest for span in rest)
    if fitting in (0, len(rest)):
        return fitting
    reach = [index for index in range(1, fitting + 1) if rest[index - 1].stop - start >= longest * (1 - REACH)]
    return max(reach, key=lambda index: rest[index].start - rest[index - 1].stop, default=fitting)


def _quietest(audio: Audio, start: float, stop: float) -> float:
    """The time of the lowest level between two times."""
    import numpy as np  # noqa: PLC0415

    from voxtral_ops.audio.level import levels  # noqa: PLC0415

    place = start + STEP * (int(np.argmin(levels(audio.part(start, stop)))) + 0.5)
    return round(min(place, stop), 3)
