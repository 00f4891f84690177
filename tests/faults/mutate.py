"""Recordings made bad on purpose: noise anywhere, hostile numbers in headers, files grafted together."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import cache

from tests.unit.audio.sounds import FORMATS, encoded

HOSTILE = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFE, 0xFFFFFFFF)
HEADER = 512
TAGS = re.compile(
    rb"RIFF|WAVE|fmt |data|LIST|FORM|COMM|SSND|FVER|\.snd|fLaC|OggS|OpusHead|\x03vorbis|ID3|Xing|Info|"
    rb"ftyp|moov|mvhd|trak|mdia|minf|stbl|stsd|stsz|stsc|stco|stts|esds|mdat|\x1aE\xdf\xa3|\x18S\x80g|\x16T\xaek|\xff\xfb"
)


@cache
def sound_ones() -> tuple[bytes, ...]:
    """Recordings of every format: short and long enough for either way of decoding, mono, stereo and 5.1."""
    short = [encoded(kind, 0.4) for kind in FORMATS]
    wide = [encoded(kind, 0.4, channels=6) for kind in ("wav", "flac", "m4a")]
    stereo = [encoded(kind, 0.5, channels=2) for kind in ("wav24", "aiff", "mp3", "m4a", "flac", "opus", "webm")]
    long = [encoded(kind, seconds, channels=2) for kind, seconds in (("wav", 0.5), ("aiff", 1), ("mp3", 5), ("m4a", 6))]
    return (*short, *wide, *stereo, *long)


def mutated(case: int) -> bytes:
    """The bad recording of that number: always the same."""
    rng = random.Random(case)
    data = bytearray(rng.choice(sound_ones()))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        rng.choice(MUTATIONS)(data, rng)
    return bytes(data)


def flip_bits(data: bytearray, rng: random.Random) -> None:
    """Noise over the whole file, as zzuf makes it."""
    for _ in range(max(1, int(len(data) * 8 * 10 ** rng.uniform(-5, -2)))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def overwrite(data: bytearray, rng: random.Random) -> None:
    """A stretch becomes noise, zeros or ones."""
    start, size = rng.randrange(len(data)), rng.choice((1, 4, 16, 256, 4096))
    size = min(size, len(data) - start)
    data[start : start + size] = rng.choice((rng.randbytes(size), bytes(size), b"\xff" * size))


def cut(data: bytearray, rng: random.Random) -> None:
    """The end is missing."""
    del data[rng.randrange(1, len(data)) :]


def drop(data: bytearray, rng: random.Random) -> None:
    """A piece is missing."""
    start = rng.randrange(len(data))
    del data[start : min(len(data) - 1, start + rng.choice((1, 7, 100, 5000)))]


def repeat(data: bytearray, rng: random.Random) -> None:
    """A piece stands there again, somewhere."""
    start, size = rng.randrange(len(data)), rng.choice((4, 64, 1024))
    place = rng.randrange(len(data))
    data[place:place] = data[start : start + size] * rng.choice((1, 1, 20))


def lie(data: bytearray, rng: random.Random) -> None:
    """A number in the header says something hostile."""
    size = rng.choice((1, 2, 4, 4, 8))
    place = rng.randrange(min(len(data), HEADER))
    _put(data, place, size, rng)


def lie_after_tag(data: bytearray, rng: random.Random) -> None:
    """A length or a count beside a chunk's or a box's name says something hostile."""
    tags = list(TAGS.finditer(data[: 1 << 16]))
    if not tags:
        return lie(data, rng)
    tag = rng.choice(tags)
    place = rng.choice((tag.start() - 4, *(tag.end() + offset for offset in (0, 2, 4, 8, 10, 12, 16, 20))))
    return _put(data, max(0, place), rng.choice((2, 4, 4, 8)), rng)


def graft(data: bytearray, rng: random.Random) -> None:
    """The head of one on the body of another."""
    other = rng.choice(sound_ones())
    head = rng.choice((12, 44, 128, 1024))
    data[:head] = other[:head] if rng.random() < 0.5 else other[: rng.randrange(1, len(other))]


def _put(data: bytearray, place: int, size: int, rng: random.Random) -> None:
    number = rng.choice((*HOSTILE, len(data), len(data) + 1, rng.randrange(1 << 32))) & ((1 << 8 * size) - 1)
    data[place : place + size] = number.to_bytes(size, rng.choice(("little", "big")))


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flip_bits,
    flip_bits,
    overwrite,
    cut,
    drop,
    repeat,
    lie,
    lie,
    lie_after_tag,
    lie_after_tag,
    graft,
)
