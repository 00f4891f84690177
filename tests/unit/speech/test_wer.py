"""Word error rate: known values and the rules that must hold for any two texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtral_ops.speech import word_error_rate
from voxtral_ops.speech.wer import words


@pytest.mark.parametrize(
    ("said", "heard", "rate"),
    [
        ("turn on the light", "turn on the light", 0.0),
        ("Turn on the light!", "turn on, the LIGHT", 0.0),
        ("don't", "don\u2019t", 0.0),
        ("twenty-one", "twenty one", 0.0),
        ("turn on the light", "turn off the light", 0.25),
        ("turn on the light", "turn on light", 0.25),
        ("turn on the light", "please turn on the light", 0.25),
        ("turn on the light", "", 1.0),
        ("yes", "no no no", 3.0),
        ("", "", 0.0),
        ("", "made up", 2.0),
        ("Grüße aus Köln", "grüsse aus köln", 0.0),
        ("नमस्ते दुनिया", "नमस्ते", 0.5),
        ("你好世界", "你好", 0.5),
    ],
)
def test_known_values(said: str, heard: str, rate: float) -> None:
    assert word_error_rate(said, heard) == pytest.approx(rate)


spoken = st.lists(st.sampled_from(["turn", "on", "off", "the", "light"]), max_size=8).map(" ".join)


@given(spoken, spoken)
def test_the_distance_is_the_same_both_ways(said: str, heard: str) -> None:
    there = word_error_rate(said, heard) * max(1, len(words(said)))
    back = word_error_rate(heard, said) * max(1, len(words(heard)))
    assert there == pytest.approx(back)


@given(spoken, spoken)
def test_it_is_zero_for_equal_words_only(said: str, heard: str) -> None:
    assert (word_error_rate(said, heard) == 0) == (words(said) == words(heard))


@given(spoken, spoken, spoken)
def test_a_detour_is_never_shorter(one: str, two: str, three: str) -> None:
    def distance(a: str, b: str) -> float:
        return word_error_rate(a, b) * max(1, len(words(a)))

    assert distance(one, three) <= distance(one, two) + distance(two, three) + 1e-9
