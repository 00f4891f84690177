"""Chinese and Japanese are written without spaces: where text may be cut there, how it is joined, how wide it is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from unicodedata import east_asian_width

_LETTER = r"\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
_MARK = r"\u3000-\u303f\u30fb\u30fc\uff01-\uff0f\uff1a-\uff20\uff5e-\uff65"
_TIGHT = re.compile(f"[{_LETTER}{_MARK}]")
_UNIT = re.compile(rf"[{_LETTER}][^\w\s]*|[^\s{_LETTER}]+")


def units(text: str) -> list[str]:
    """What can be timed by itself: words, and single letters where words have no spaces between them."""
    return _UNIT.findall(text)


def spaced(texts: Iterable[str]) -> str:
    """Put texts one after the other, with a space between two where their writing has one."""
    known = [text for text in texts if text]
    gaps = ["" if _TIGHT.match(one[-1]) or _TIGHT.match(two[0]) else " " for one, two in pairwise(known)]
    return "".join(text + gap for text, gap in zip(known, [*gaps, ""], strict=False))


def is_tight(text: str) -> bool:
    """Whether it begins with a letter before which no space is written."""
    return re.match(f"[{_LETTER}]", text) is not None


def width(text: str) -> int:
    """Columns that it takes: a Chinese letter is as wide as two others."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)
