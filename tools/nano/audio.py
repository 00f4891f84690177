"""Recordings put together from clips: silence, gain, noise, other sounds, and other devices' sound."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import soundfile
import soxr
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import lfilter

from tools.nano.synthesis import RATE

Wave = NDArray[np.float32]


def coloured_noise(rng: Generator, length: int) -> Wave:
    """White noise, or noise with more low frequencies."""
    white = rng.standard_normal(length).astype(np.float32)
    if rng.random() < 0.5:
        return white
    filtered = lfilter([1], [1, -rng.uniform(0.5, 0.98)], white).astype(np.float32)
    return np.asarray(filtered / (filtered.std() + 1e-6), dtype=np.float32)


def _times(length: int) -> NDArray[np.float64]:
    return np.arange(length) / RATE


def _tones(rng: Generator, length: int) -> Wave:
    """One to three steady or sliding tones."""
    times, wave = _times(length), np.zeros(length)
    for _ in range(rng.integers(1, 4)):
        slide = rng.choice([0.0, rng.uniform(-500, 500), rng.uniform(-2500, 2500)])
        phase = 2 * np.pi * (rng.uniform(60, 4000) + slide * times) * times
        wave += rng.uniform(0.05, 1.0) * np.sin(phase + rng.uniform(0, 6))
    return wave.astype(np.float32)


def _chirps(rng: Generator, length: int) -> Wave:
    """Sweeps from one frequency to another, over and over."""
    period = rng.uniform(0.15, 4.0)
    low, high = sorted(rng.uniform(50, 6000, 2))
    if rng.random() < 0.4:
        low = 0.0
    position = (_times(length) % period) / period
    frequency = low + (high - low) * (position if rng.random() < 0.7 else 1 - position)
    return np.sin(2 * np.pi * np.cumsum(frequency) / RATE).astype(np.float32)


def _music(rng: Generator, length: int) -> Wave:
    """Chords with overtones and a decaying envelope."""
    wave, at = np.zeros(length, np.float32), 0
    while at < length:
        size = min(length - at, int(rng.uniform(0.15, 0.9) * RATE))
        times = _times(size)
        envelope = np.exp(-times * rng.uniform(0.5, 6)) * np.minimum(1, times / 0.01)
        for note in rng.integers(40, 84, rng.integers(1, 5)):
            pitch = 440 * 2 ** ((note - 69) / 12)
            for overtone in range(1, 5):
                wave[at : at + size] += (
                    envelope * np.sin(2 * np.pi * pitch * overtone * times) / overtone**1.5
                ).astype(np.float32)
        at += size
    return wave


def _clicks(rng: Generator, length: int) -> Wave:
    """Single samples, knocks and short bursts of noise."""
    wave = np.zeros(length, np.float32)
    for at in rng.integers(0, length, rng.integers(1, 12)):
        size = int(min(length - at, rng.choice([1, 4, 80, 400, 3000])))
        decay = np.exp(-np.arange(size) / max(1.0, size / 5))
        body = np.ones(size) if size < 5 else rng.standard_normal(size)
        wave[at : at + size] += (body * decay * rng.uniform(0.3, 1)).astype(np.float32)
    return wave


def _hum(rng: Generator, length: int) -> Wave:
    """Mains hum or a motor: many overtones of a low pitch."""
    base, wave = rng.choice([50.0, 60.0, rng.uniform(30, 200)]), np.zeros(length)
    for overtone in range(1, int(rng.integers(3, 20))):
        wave += rng.uniform(0, 1) / overtone * np.sin(2 * np.pi * base * overtone * _times(length) + rng.uniform(0, 6))
    return wave.astype(np.float32)


def _bursts(rng: Generator, length: int) -> Wave:
    """Noise that comes and goes, like steps, wind or applause."""
    rate, depth = rng.uniform(0.5, 8), rng.uniform(1, 8)
    envelope = np.abs(np.sin(np.pi * rate * _times(length) + rng.uniform(0, 3))) ** depth
    return np.asarray(coloured_noise(rng, length) * envelope, dtype=np.float32)


_SOUNDS = (coloured_noise, coloured_noise, _tones, _chirps, _music, _clicks, _hum, _bursts)


def sound(rng: Generator, length: int) -> Wave:
    """A recording without speech: digital silence, noise or some other sound, from faint to loud."""
    if rng.random() < 0.15:
        return np.zeros(length, np.float32)
    kind = _SOUNDS[rng.integers(0, len(_SOUNDS))]
    loudness = rng.uniform(-70, 0) / 20 if kind is coloured_noise else -rng.random()
    wave = kind(rng, length)
    wave = wave / (np.abs(wave).max() + 1e-6) * 10**loudness
    if rng.random() < 0.4:
        wave = wave * rng.uniform(0.02, 1)
    if rng.random() < 0.4:
        wave = wave + coloured_noise(rng, length) * 10 ** (rng.uniform(-80, -30) / 20)
    return np.asarray(np.clip(wave, -1, 1), dtype=np.float32)


def varied(audio: NDArray[np.int16], rng: Generator) -> tuple[Wave, float]:
    """A clip at another tempo, through a telephone or an MP3 encoder; and by how much it became longer."""
    wave: Wave = (audio / 32768).astype(np.float32)
    factor = 1.0
    if rng.random() < 0.4:
        factor = rng.uniform(0.92, 1.08)
        places = np.linspace(0, len(wave) - 1, int(len(wave) * factor))
        wave = np.interp(places, np.arange(len(wave)), wave).astype(np.float32)
    if rng.random() < 0.12:
        narrow = soxr.resample(wave, RATE, 8000, quality="QQ")
        wave = soxr.resample(narrow, 8000, RATE, quality="LQ").astype(np.float32)
    if rng.random() < 0.04:
        buffer = io.BytesIO()
        soundfile.write(buffer, wave, RATE, format="MP3")
        buffer.seek(0)
        wave = np.asarray(soundfile.read(buffer)[0], dtype=np.float32)
    return wave, factor


def joined(waves: Sequence[Wave], rng: Generator, limit: int) -> tuple[Wave, list[float]]:
    """One recording of several clips with silence, a gain and perhaps noise; and when each clip starts."""
    free = limit - sum(map(len, waves))
    lead = rng.exponential(0.3) * RATE if rng.random() < 0.85 else 0.0
    if limit > 8 * RATE and len(waves) == 1 and rng.random() < 0.15:
        lead = rng.uniform(0, max(0, free))
    gap = int(min(lead, max(0, free)))
    parts: list[Wave] = []
    starts: list[float] = []
    position = 0
    for wave in waves:
        if starts:
            gap = int(min(max(0, free), rng.uniform(0.25, 1.2) * RATE))
        free -= gap
        starts.append((position + gap) / RATE)
        parts += [np.zeros(gap, np.float32), wave]
        position += gap + len(wave)
    parts.append(np.zeros(int(min(rng.exponential(0.4) * RATE, max(0, free))), np.float32))
    recording = np.concatenate(parts)[:limit] * 10 ** (rng.uniform(-22, 0) / 20)
    chance = rng.random()
    if chance < 0.6:
        level = max(float(np.sqrt((recording**2).mean())), 1e-4)
        if chance < 0.54:
            recording = recording + coloured_noise(rng, len(recording)) * level * 10 ** (-rng.uniform(8, 45) / 20)
        else:
            hum = _hum(rng, len(recording))
            recording = recording + hum / (hum.std() + 1e-6) * level * 10 ** (-rng.uniform(15, 40) / 20)
    return np.clip(recording, -1, 1).astype(np.float32), starts
