"""Word error rate: how many words must change to get from what was heard to what was said."""

from __future__ import annotations

import re
import unicodedata

_WITHOUT_SPACES = re.compile(r"([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff])")
"""Kana and Han: written without spaces between words, so each character counts as one."""


def words(text: str) -> list[str]:
    """The words to compare: no case, no punctuation; apostrophes vanish, hyphens part."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    plain = re.sub(r"['\u2019\u02bc]", "", plain)
    kept = "".join(char if unicodedata.category(char)[0] in "LMN" else " " for char in plain)
    return _WITHOUT_SPACES.sub(r" \1 ", kept).split()


def word_error_rate(reference: str, hypothesis: str) -> float:
    """Substitutions, insertions and deletions for each word of the reference: 0.0 is perfect, it may pass 1.0.

    With an empty reference the rate is the number of words that were made up.
    """
    said, heard = words(reference), words(hypothesis)
    return _distance(said, heard) / max(1, len(said))


def _distance(said: list[str], heard: list[str]) -> int:
    """Levenshtein's distance over words, one row at a time."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        above_left, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            cost = min(row[j] + 1, row[j - 1] + 1, above_left + (word != other))
            above_left, row[j] = row[j], cost
    return row[-1]
