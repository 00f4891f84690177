"""Where someone speaks: by silero where the Whisper engine is installed, else by the level alone."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from voxtral_ops.audio.quality import Detector, Span

if TYPE_CHECKING:
    from voxtral_ops.audio.audio import Audio

WORKER = Path(__file__).with_name("silero_worker.py")
WINDOW = 0.032
"""Seconds that one probability stands for."""
SPEAKS, PAUSES = 128, 90
"""Of 255: speech begins at the one and ends below the other."""
SHORTEST_PAUSE, SHORTEST_SPEECH, MARGIN = 0.3, 0.1, 0.1
"""Seconds: what is bridged, what is a click, what is kept on both sides."""
PATIENCE, PATIENCE_PER_SECOND = 60.0, 0.1
"""An hour takes half a minute on an idle machine."""


@dataclass(frozen=True)
class Voice:
    """Finds speech. ``python`` is an interpreter that has faster-whisper, which ships silero; by default this one."""

    python: Path | None = None

    def find(self, audio: Audio) -> tuple[tuple[Span, ...], Detector]:
        """The stretches of speech, and who found them."""
        from voxtral_ops.audio.level import speech_by_level  # noqa: PLC0415

        probabilities = self._probabilities(audio)
        if probabilities is None:
            return speech_by_level(audio), "energy"
        return spans(_stretches(probabilities), audio.seconds), "silero"

    def _probabilities(self, audio: Audio) -> bytes | None:
        """Silero's word on each window; None where there is no silero."""
        python = self.python or (Path(sys.executable) if find_spec("faster_whisper") else None)
        if python is None:
            return None
        file, first = audio.pcm.file(audio.first, audio.count)
        with file:
            return _asked(python, file, audio, first)


def _asked(python: Path, file: BinaryIO, audio: Audio, first: int) -> bytes | None:
    """Run silero over the file; None when it cannot."""
    command = [str(python), "-I", str(WORKER), str(first), str(audio.count), str(audio.factor)]
    environment = {"PATH": os.environ.get("PATH", ""), "OPENBLAS_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}
    try:
        ran = subprocess.run(
            command,
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=PATIENCE + PATIENCE_PER_SECOND * audio.seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ran.stdout if ran.returncode == 0 else None


def spans(stretches: list[tuple[float, float]], seconds: float) -> tuple[Span, ...]:
    """What was heard as speech: short pauses are bridged, clicks left out, a margin kept on both sides."""
    merged: list[list[float]] = []
    for start, stop in stretches:
        if merged and start - merged[-1][1] < SHORTEST_PAUSE:
            merged[-1][1] = stop
        else:
            merged.append([start, stop])
    return tuple(
        Span(round(max(0.0, start - MARGIN), 3), round(min(seconds, stop + MARGIN), 3))
        for start, stop in merged
        if stop - start >= SHORTEST_SPEECH
    )


def _stretches(probabilities: bytes) -> list[tuple[float, float]]:
    """From where a voice is likely to where it is unlikely."""
    found: list[tuple[float, float]] = []
    began: int | None = None
    for index, probability in enumerate(probabilities):
        if began is None and probability >= SPEAKS:
            began = index
        elif began is not None and probability < PAUSES:
            found.append((began * WINDOW, index * WINDOW))
            began = None
    if began is not None:
        found.append((began * WINDOW, len(probabilities) * WINDOW))
    return found
