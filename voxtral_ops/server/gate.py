"""The gate: transcribe the golden clips on a running server and judge the words. ``/health`` is not a gate."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from voxtral_ops.errors import ConfigurationError, VoxtralError
from voxtral_ops.server.golden import GoldenClip, gate_clips, golden_clips
from voxtral_ops.server.upload import FileUpload

CLIP_WER = 0.34
"""A clip passes with at most this word error rate: one word of three wrong is a different sentence."""
TOTAL_WER = 0.10
"""All clips together."""


class Recogniser(Protocol):
    """What the gate needs of a server: the words of a file as it is, in its container."""

    def transcribe_file(self, name: str, data: bytes) -> str:
        """Post the file's own bytes; return the text."""


class ClipVerdict(BaseModel):
    """One clip: what was said, what the server heard."""

    model_config = ConfigDict(frozen=True)

    file: str
    container: str
    expected: str
    text: str
    wer: float
    seconds: float
    """How long the answer took."""
    ok: bool
    problem: str = ""


class GateReport(BaseModel):
    """The verdict on one server, with its figures. Serialises to JSON as evidence."""

    model_config = ConfigDict(frozen=True)

    ok: bool
    url: str
    model: str
    clips: tuple[ClipVerdict, ...]
    wer: float
    """Errors over words, all clips together."""
    audio_seconds: float
    seconds: float
    slowest: float
    containers: tuple[str, ...]

    @property
    def summary(self) -> str:
        """One line."""
        right = sum(clip.ok for clip in self.clips)
        return (
            f"{'passed' if self.ok else 'FAILED'}: {right} of {len(self.clips)} clips right, "
            f"word error rate {self.wer:.1%}, {self.seconds:.1f} s for {self.audio_seconds:.1f} s of audio "
            f"({', '.join(self.containers)})"
        )


def run_gate(
    url: str,
    model: str,
    clips: Sequence[GoldenClip] | None = None,
    recogniser: Recogniser | None = None,
) -> GateReport:
    """Transcribe clips through the server at ``url``; never passes on empty text.

    By default the shipped clips, one of each container at least, posted as they are: so a server whose
    audio libraries are missing does not pass.
    Raises ConfigurationError when there is nothing to judge by.
    """
    chosen = tuple(gate_clips(golden_clips()) if clips is None else clips)
    if not chosen:
        raise ConfigurationError("a gate without clips judges nothing", hint="leave them out for the shipped ones")
    voice = recogniser or FileUpload(url, model)
    verdicts = tuple(_judge(voice, clip) for clip in chosen)
    words = [len(clip.text.split()) for clip in chosen]
    total = sum(verdict.wer * count for verdict, count in zip(verdicts, words, strict=True)) / sum(words)
    return GateReport(
        ok=all(verdict.ok for verdict in verdicts) and total <= TOTAL_WER,
        url=url,
        model=model,
        clips=verdicts,
        wer=round(total, 4),
        audio_seconds=round(sum(clip.seconds for clip in chosen), 2),
        seconds=round(sum(verdict.seconds for verdict in verdicts), 3),
        slowest=max(verdict.seconds for verdict in verdicts),
        containers=tuple(dict.fromkeys(clip.container for clip in chosen)),
    )


def _judge(voice: Recogniser, clip: GoldenClip) -> ClipVerdict:
    from voxtral_ops.speech import word_error_rate  # noqa: PLC0415 - the speech room is heavy

    data = clip.read()
    began = time.monotonic()
    problem = text = ""
    try:
        text = voice.transcribe_file(clip.file, data).strip()
    except VoxtralError as error:
        problem = f"{error.message}{f' ({error.hint})' if error.hint else ''}"
    seconds = round(time.monotonic() - began, 3)
    wer = word_error_rate(clip.text, text) if text else 1.0
    if not text:
        problem = problem or "the server answered without a word"
    elif wer > CLIP_WER:
        problem = "wrong words"
    return ClipVerdict(
        file=clip.file,
        container=clip.container,
        expected=clip.text,
        text=text,
        wer=round(wer, 4),
        seconds=seconds,
        ok=not problem,
        problem=problem,
    )
