"""A transcript as a file: plain text, JSON, OpenAI's verbose JSON, SubRip and WebVTT subtitles."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

from voxtral_ops.speech.spacing import width
from voxtral_ops.speech.transcript import Segment, Transcript

Format = Literal["text", "json", "verbose_json", "srt", "vtt"]
FORMATS: tuple[Format, ...] = get_args(Format)
TIMED: frozenset[Format] = frozenset({"verbose_json", "srt", "vtt"})
"""Formats that need segments with times, which a server of Voxtral does not give."""
SUFFIXES: dict[Format, str] = {"text": ".txt", "json": ".json", "verbose_json": ".json", "srt": ".srt", "vtt": ".vtt"}
LINE = 42
"""Characters of a subtitle's line, the common recommendation."""


def formatted(transcript: Transcript, form: Format) -> str:
    """Write the transcript in that form, with a line break at its end."""
    return _WRITERS[form](transcript)


def verbose(transcript: Transcript) -> dict[str, Any]:
    """The fields of OpenAI's ``verbose_json``, and beside them who answered and how the times were found."""
    words = [word for segment in transcript.segments for word in segment.words]
    return {
        "task": "transcribe",
        "language": transcript.language,
        "duration": transcript.seconds,
        "text": transcript.text,
        "segments": [
            {"id": number, "start": each.start, "end": each.end, "text": each.text, "timing": each.timing}
            for number, each in enumerate(transcript.segments)
        ],
        "words": [{"word": each.text, "start": each.start, "end": each.end} for each in words],
        "model": transcript.model,
        "backend": transcript.backend,
        "release": transcript.release,
        "fallback_reason": transcript.fallback_reason,
        "signals": transcript.signals.model_dump(mode="json"),
    }


def _text(transcript: Transcript) -> str:
    return f"{transcript.text}\n"


def _json(transcript: Transcript) -> str:
    return f"{transcript.model_dump_json(indent=2)}\n"


def _verbose(transcript: Transcript) -> str:
    return f"{json.dumps(verbose(transcript), indent=2, ensure_ascii=False)}\n"


def _srt(transcript: Transcript) -> str:
    blocks = [
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{_lines(segment.text)}\n"
        for number, (start, end, segment) in enumerate(_shown(transcript.segments), 1)
    ]
    return "\n".join(blocks)


def _vtt(transcript: Transcript) -> str:
    blocks = [
        f"{_clock(start, '.')} --> {_clock(end, '.')}\n{_escaped(_lines(segment.text))}\n"
        for start, end, segment in _shown(transcript.segments)
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def _shown(segments: tuple[Segment, ...]) -> Iterator[tuple[int, int, Segment]]:
    """Whole milliseconds, each subtitle at least one long and none before the last one ended."""
    now = 0
    for segment in segments:
        start = max(now, round(segment.start * 1000))
        now = max(start + 1, round(segment.end * 1000))
        yield start, now, segment


def _clock(milliseconds: int, mark: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{mark}{rest:03}"


def _lines(text: str) -> str:
    # textwrap counts letters, and a Chinese one takes two columns.
    longest = LINE * len(text) // width(text) if text else LINE
    return "\n".join(textwrap.wrap(text, longest)) or text


def _escaped(text: str) -> str:
    """WebVTT takes ``<`` and ``&`` for markup, and ``-->`` for a time line."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


_WRITERS: dict[Format, Callable[[Transcript], str]] = {
    "text": _text,
    "json": _json,
    "verbose_json": _verbose,
    "srt": _srt,
    "vtt": _vtt,
}
