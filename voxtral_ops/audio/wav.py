"""WAV that is already what is wanted, read without a decoder, so that a voice command waits for nothing."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from voxtral_ops.audio.spool import IN_MEMORY

_HEAD = 1 << 12
_PCM, _EXTENSIBLE = 1, 0xFFFE
_PCM_GUID = bytes.fromhex("0100000000001000800000aa00389b71")


@dataclass(frozen=True)
class Plain:
    """The samples of a WAV, and what its header says."""

    data: bytes
    claimed: float


def plain_wav(file: int, size: int) -> Plain | None:
    """The samples of a 16 kHz, mono, 16-bit PCM WAV of at most ten minutes; None for anything else."""
    if size > IN_MEMORY + _HEAD:
        return None
    head = os.pread(file, _HEAD, 0)
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    place, plain = 12, False
    while place + 8 <= len(head):
        kind, length = struct.unpack_from("<4sI", head, place)
        place += 8
        if kind == b"fmt ":
            plain = _is_plain(head[place : place + length])
        elif kind == b"data":
            data = os.pread(file, min(length, size - place) & ~1, place) if plain else b""
            return Plain(data, round(length / 32_000, 3)) if data else None
        place += length + (length & 1)
    return None


def _is_plain(form: bytes) -> bool:
    if len(form) < 16:
        return False
    tag, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", form)
    known = tag == _PCM or (tag == _EXTENSIBLE and form[24:40] == _PCM_GUID)
    return bool(known and (channels, rate, block, bits) == (1, 16_000, 2, 16))
