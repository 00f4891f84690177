"""Speech from libespeak-ng in this process, with the exact times of its words and phones."""

from __future__ import annotations

import ctypes
import random
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

RATE = 16000

# "en" is what the command line calls en-gb.
ACCENTS = ("en-us", "en-us", "en-us", "en", "en-gb-x-rp", "en-us-nyc", "en-gb-scotland", "en-029")
_VARIANTS = (
    "m1 m2 m3 m4 m5 m7 m8 f1 f2 f3 f5 Alex Alicia Andrea Andy Denis Diogo Gene Jacky Lee Marco Mario Michael"
    " Mike adam anika antonio belinda benjamin david ed edward max michel miguel paul pedro quincy rob robert"
    " sandro steph travis zac"
)
TRAINED_VARIANTS = ("", *_VARIANTS.split())  # the first is the plain voice
HELD_OUT_VARIANTS = ("m6", "f4", "Annie", "linda", "victor")
TRAINED_SPEEDS = (115, 125, 130, 140, 150, 155, 165, 170, 175, 185, 190, 200, 210)
HELD_OUT_SPEEDS = (135, 145, 160, 180, 195)
TRAINED_PITCHES = (20, 30, 40, 50, 60, 70, 80)
HELD_OUT_PITCHES = (25, 45, 55, 65)

_WORD_EVENT, _PHONE_EVENT = 1, 7
_SPEED, _PITCH, _PITCH_RANGE, _WORD_GAP = 1, 3, 4, 7
_SYNCHRONOUS, _PHONE_EVENTS, _KEEP_RUNNING, _UTF8 = 2, 1, 0x8000, 1


@dataclass(frozen=True)
class Voice:
    """How a sentence is spoken."""

    accent: str = "en-us"
    variant: str = ""
    speed: int = 175
    pitch: int = 50
    gap: int = 0

    @property
    def name(self) -> str:
        """The voice's name as espeak-ng takes it."""
        return f"{self.accent}+{self.variant}" if self.variant else self.accent


@dataclass(frozen=True)
class Span:
    """A word or a phone and when it sounds, in seconds."""

    label: str
    start: float
    end: float


@dataclass(frozen=True)
class Clip:
    """Speech at 16 kHz, silence trimmed, with the times of what is said."""

    audio: NDArray[np.int16]
    words: tuple[Span, ...]
    phones: tuple[Span, ...]


def trained_voice(rng: random.Random) -> Voice:
    """A voice of the training set."""
    gap = rng.choice((0, 0, 0, 0, 1, 3, 6))
    return Voice(
        rng.choice(ACCENTS),
        rng.choice(TRAINED_VARIANTS),
        rng.choice(TRAINED_SPEEDS),
        rng.choice(TRAINED_PITCHES),
        gap,
    )


def held_out_voice(rng: random.Random, *, known_variant: bool = False) -> Voice:
    """A voice with a speed and a pitch that were never trained, and normally an untrained variant."""
    variants = TRAINED_VARIANTS if known_variant else HELD_OUT_VARIANTS
    return Voice(rng.choice(ACCENTS), rng.choice(variants), rng.choice(HELD_OUT_SPEEDS), rng.choice(HELD_OUT_PITCHES))


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


@dataclass(frozen=True)
class _Mark:
    """What is kept of an event after the library's callback has returned."""

    kind: int
    position: int
    length: int
    sample: int
    phone: str


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Synthesiser:
    """The espeak-ng library: about 3 ms for a clip, a tenth of what starting the program takes."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libespeak-ng.so.1")
        self._rate: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONE_EVENTS | _KEEP_RUNNING)
        if self._rate <= 0:
            raise RuntimeError("libespeak-ng could not be initialised")
        self._blocks: list[NDArray[np.int16]] = []
        self._marks: list[_Mark] = []
        self._callback = _CALLBACK(self._receive)  # kept: the library holds only its address
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: ctypes._Pointer, count: int, events: ctypes._Pointer) -> int:  # type: ignore[type-arg]
        if samples and count > 0:
            self._blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type:
            event = events[index]
            phone = event.id.string.decode("utf-8", "replace") if event.type == _PHONE_EVENT else ""
            self._marks.append(_Mark(event.type, event.text_position, event.length, event.sample, phone))
            index += 1
        return 0

    def speak(self, text: str, voice: Voice) -> Clip:
        """The text spoken by a voice."""
        if self._library.espeak_SetVoiceByName(voice.name.encode()):
            raise ValueError(f"espeak-ng has no voice {voice.name}")
        settings = {_SPEED: voice.speed, _PITCH: voice.pitch, _WORD_GAP: voice.gap, _PITCH_RANGE: 50}
        for parameter, value in settings.items():
            self._library.espeak_SetParameter(parameter, value, 0)
        self._blocks.clear()
        self._marks.clear()
        encoded = text.encode() + b"\0"
        self._library.espeak_Synth(encoded, len(encoded), 0, 1, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        return self._clip(text)

    def _clip(self, text: str) -> Clip:
        samples = np.concatenate(self._blocks).astype(np.float32) / 32768
        audio = soxr.resample(samples, self._rate, RATE, quality="HQ")
        loud = np.flatnonzero(np.abs(audio) > 0.005 * np.abs(audio).max())
        first, last = max(0, int(loud[0]) - 160), int(loud[-1]) + 160
        audio = audio[first:last]
        length, offset = len(audio) / RATE, first / RATE

        phones = [(mark.phone, mark.sample / self._rate - offset) for mark in self._marks if mark.kind == _PHONE_EVENT]
        spans = tuple(span for span in _spans(phones, length) if not span.label.startswith("_"))
        words = [
            (text[mark.position - 1 : mark.position - 1 + mark.length], mark.sample / self._rate - offset)
            for mark in self._marks
            if mark.kind == _WORD_EVENT
        ]
        scaled = np.clip(audio / np.abs(audio).max() * 0.9, -1, 1) * 32767
        # espeak closes a sentence with a word event that names no word: it only ends the last one
        named = tuple(span for span in _spans(words, spans[-1].end if spans else length) if span.label)
        return Clip(scaled.astype(np.int16), named, spans)


def _spans(starts: list[tuple[str, float]], end: float) -> tuple[Span, ...]:
    """Each label with its start, lasting until the next one begins."""
    ends = [start for _, start in starts[1:]] + [end]
    return tuple(Span(label, max(0.0, start), until) for (label, start), until in zip(starts, ends, strict=True))
