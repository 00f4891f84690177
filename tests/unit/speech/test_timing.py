"""Words get times that are monotone, inside the speech, and keep their text; segments stay readable."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtral_ops.audio import Span
from voxtral_ops.speech.spacing import spaced, units
from voxtral_ops.speech.timing import LONGEST, WIDEST, estimated, grouped, snapped
from voxtral_ops.speech.transcript import Word
from voxtral_ops.speech.whisper import joined

words = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=12)
texts = st.lists(words, max_size=60).map(" ".join)


@st.composite
def speech(draw: st.DrawFn) -> tuple[Span, ...]:
    edges = sorted(draw(st.lists(st.integers(0, 60_000), min_size=0, max_size=12, unique=True)))
    return tuple(Span(start / 1000, end / 1000) for start, end in zip(edges[::2], edges[1::2], strict=False))


@given(texts, speech(), st.floats(60, 70))
def test_estimates_keep_the_words_in_order_and_inside_the_speech(text: str, spans: Any, seconds: float) -> None:
    segments = estimated(text, spans, seconds)
    assert "".join("".join(segment.text for segment in segments).split()) == "".join(text.split())
    edges = [edge for segment in segments for edge in (segment.start, segment.end)]
    assert edges == sorted(edges)
    first, last = (spans[0].start, spans[-1].stop) if spans else (0.0, seconds)
    assert all(first - 1e-6 <= edge <= last + 1e-6 for edge in edges)
    assert all(segment.timing == "estimated" for segment in segments)


def test_a_pause_belongs_to_no_word() -> None:
    (first, second) = estimated("aaaa bbbb", (Span(0.0, 1.0), Span(5.0, 6.0)), 10.0)
    assert (first.start, first.end, second.start, second.end) == (0.0, 1.0, 5.0, 6.0)


CHINESE = "今天天气很好、我们去公园散步吧。" * 12


def test_writing_without_spaces_is_cut_into_segments_that_can_be_read() -> None:
    segments = estimated(CHINESE, (Span(0.0, 40.0),), 40.0)
    assert "".join(segment.text for segment in segments) == CHINESE
    assert {segment.text for segment in segments} == {"今天天气很好、我们去公园散步吧。"}
    assert segments[1].start == pytest.approx(40 / 12)
    without_marks = estimated("好" * 300, (Span(0.0, 100.0),), 100.0)
    assert max(len(segment.text) for segment in without_marks) <= WIDEST // 2


def test_languages_with_spaces_keep_them() -> None:
    segments = estimated("ask not what 使用Python can", (Span(0.0, 3.0),), 3.0)
    assert " ".join(segment.text for segment in segments) == "ask not what使用Python can"


@given(st.lists(st.text(st.characters(categories=["Lu", "Ll", "N"], max_codepoint=0x2FFF), min_size=1), max_size=20))
def test_words_of_most_languages_are_what_lies_between_spaces(parts: list[str]) -> None:
    assert units(" ".join(parts)) == parts
    assert spaced(parts) == " ".join(parts)


def test_a_sentence_ends_a_segment() -> None:
    segments = estimated("Turn on the light. Then close the door.", (Span(0.0, 4.0),), 4.0)
    assert [segment.text for segment in segments] == ["Turn on the light.", "Then close the door."]


@given(st.lists(st.tuples(words, st.floats(0.01, 3.0), st.floats(0, 2.0)), min_size=1, max_size=60))
def test_groups_are_short_enough_to_read(parts: list[tuple[str, float, float]]) -> None:
    clock, found = 0.0, []
    for text, length, gap in parts:
        found.append(Word(text=text, start=clock, end=clock + length))
        clock += length + gap
    segments = grouped(found)
    assert [word for segment in segments for word in segment.words] == found
    for segment in segments:
        assert len(segment.text) <= WIDEST
        assert len(segment.words) == 1 or segment.end - segment.start <= LONGEST


def test_silence_at_a_words_edges_is_cut() -> None:
    found = [Word(text="And", start=0.0, end=0.7), Word(text="so", start=0.7, end=3.0), Word(text="?", start=5, end=6)]
    kept = list(snapped(found, (Span(0.3, 1.0), Span(2.5, 2.7))))
    assert [(word.start, word.end) for word in kept] == [(0.3, 0.7), (0.7, 1.0), (5, 6)]


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ([(" Yes", 0.0, 0.5, 0.9), (".", 0.5, 4.0, 0.2)], [("Yes.", 0.0, 0.5)]),
        ([(" do", 0.0, 0.2, 0.9), ("n't", 0.2, 0.4, 0.9)], [("don't", 0.0, 0.4)]),
        ([("And", 0.0, 0.2, 0.9), (" so", 0.2, 0.4, 0.9)], [("And", 0.0, 0.2), ("so", 0.2, 0.4)]),
        (
            [("你", 0.0, 0.2, 0.9), ("好", 0.2, 0.4, 0.9), ("、", 0.4, 0.9, 0.9), ("吗", 1.0, 1.2, 0.9)],
            [("你", 0.0, 0.2), ("好、", 0.2, 0.4), ("吗", 1.0, 1.2)],
        ),
        ([], []),
    ],
)
def test_tokens_of_the_aligner_become_words(found: Any, wanted: Any) -> None:
    assert [(word.text, word.start, word.end) for word in joined(found)] == wanted
