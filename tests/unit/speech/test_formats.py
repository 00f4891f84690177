"""Subtitles are read back by pysubs2, which knows nothing of how they were written."""

from __future__ import annotations

import json

import pysubs2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtral_ops.speech.formats import FORMATS, formatted
from voxtral_ops.speech.transcript import Segment, Transcript

plain = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=30)


@st.composite
def transcripts(draw: st.DrawFn) -> Transcript:
    texts = draw(st.lists(plain, min_size=1, max_size=8))
    edges = sorted(draw(st.lists(st.floats(0, 90_000), min_size=2 * len(texts), max_size=2 * len(texts))))
    segments = tuple(
        Segment(text=text, start=start, end=end, timing="estimated")
        for text, start, end in zip(texts, edges[::2], edges[1::2], strict=True)
    )
    return transcript(segments)


def transcript(segments: tuple[Segment, ...]) -> Transcript:
    text = " ".join(segment.text for segment in segments)
    return Transcript(
        text=text, language="en", backend="voxtral", model="nano", seconds=90_000, elapsed=1.0, segments=segments
    )


@pytest.mark.parametrize("form", ["srt", "vtt"])
@given(said=transcripts())
def test_subtitles_come_back_as_they_were(form: str, said: Transcript) -> None:
    read = pysubs2.SSAFile.from_string(formatted(said, form), format_=form)
    assert [event.plaintext.split() for event in read] == [segment.text.split() for segment in said.segments]
    now = 0
    for event, segment in zip(read, said.segments, strict=True):
        assert now <= event.start < event.end
        assert abs(event.start - 1000 * segment.start) <= 2 * len(said.segments)
        now = event.end


def test_markup_in_the_words_stays_words() -> None:
    said = transcript((Segment(text="if a < b --> c & d", start=0, end=1, timing="aligned"),))
    assert "if a &lt; b --&gt; c &amp; d" in formatted(said, "vtt")


def test_long_lines_are_broken_between_words() -> None:
    text = "ask not what your country can do for you, ask what you can do for your country"
    lines = formatted(transcript((Segment(text=text, start=0, end=5, timing="aligned"),)), "srt").splitlines()[2:]
    assert " ".join(lines) == text
    assert max(map(len, lines)) <= 42


def test_a_line_of_chinese_is_as_wide_as_another() -> None:
    lines = formatted(transcript((Segment(text="好" * 60, start=0, end=5, timing="aligned"),)), "srt").splitlines()[2:]
    assert [len(line) for line in lines] == [21, 21, 18]


def test_every_form_ends_with_a_line_break_and_json_is_json() -> None:
    said = transcript((Segment(text="hello", start=0.5, end=1, timing="aligned"),))
    assert all(formatted(said, form).endswith("\n") for form in FORMATS)
    assert json.loads(formatted(said, "verbose_json"))["segments"] == [
        {"id": 0, "start": 0.5, "end": 1.0, "text": "hello", "timing": "aligned"}
    ]
    assert Transcript.model_validate_json(formatted(said, "json")) == said
