"""WhisperBackend: faster-whisper in a process of its own, started when first needed and kept."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Concatenate, ParamSpec, TypeVar

from voxtral_ops.audio import Audio
from voxtral_ops.errors import ConfigurationError, HostError, ModelError, ServerError
from voxtral_ops.speech.backend import ServedModel
from voxtral_ops.speech.language import checked_language
from voxtral_ops.speech.spacing import is_tight
from voxtral_ops.speech.transcript import Signals, Transcript, Word
from voxtral_ops.speech.worker_process import WorkerProcess

PATIENCE = 120.0
PATIENCE_PER_SECOND = 20.0
"""Seconds to wait for each second of sound. Tiny takes 0.2 on two cores; large weights on a busy machine far more."""
WINDOW = 30
"""Seconds that Whisper sees at once."""
P = ParamSpec("P")
T = TypeVar("T")
INSTALL = "`voxtral-ops up` installs it"


@dataclass(frozen=True)
class WhisperSetup:
    """Which interpreter holds faster-whisper, and where the weights lie. None: not installed."""

    python: Path | None
    weights: Path | None
    threads: int = 0
    """0: as many as there are cores, four at most."""


class WhisperBackend:
    """Transcribes on this machine. Safe to share between threads: one recording after the other."""

    name = "whisper"

    def __init__(self, setup: WhisperSetup) -> None:
        self.setup = setup
        self._session: _Session | None = None
        self._lock = Lock()

    def served(self) -> ServedModel:
        """The weights' name. Raises HostError when they are not installed."""
        _, weights = installed(self.setup)
        return ServedModel(name=weights.name)

    async def aserved(self) -> ServedModel:
        """The same, for asyncio."""
        return self.served()

    def transcribe(self, audio: Audio, language: str | None = None) -> Transcript:
        """The words, as Whisper hears them."""
        return self._waited(self._submit(_Session.transcribe, audio, checked_language(language)))

    async def atranscribe(self, audio: Audio, language: str | None = None) -> Transcript:
        """The same, for asyncio."""
        return await asyncio.wrap_future(self._submit(_Session.transcribe, audio, checked_language(language)))

    def stream(self, audio: Audio, language: str | None = None) -> Iterator[Transcript]:
        """The words, all at once."""
        yield self.transcribe(audio, language)

    def align(self, audio: Audio, text: str, language: str | None = None) -> tuple[Word, ...]:
        """Find the words of ``text``, whoever heard them, in at most 30 s of audio. Raises VoxtralError."""
        return self._waited(self._submit(_Session.align, audio, checked_language(language), text))

    async def aalign(self, audio: Audio, text: str, language: str | None = None) -> tuple[Word, ...]:
        """The same, for asyncio."""
        return await asyncio.wrap_future(self._submit(_Session.align, audio, checked_language(language), text))

    def _waited(self, waiting: Future[T]) -> T:
        try:
            return waiting.result()
        except BaseException:
            # Ctrl-C while the worker thinks: nobody waits for its answer any more.
            if not waiting.done():
                self.close()
            raise

    def close(self) -> None:
        """End the worker, even in the middle of a recording."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    @property
    def worker_pid(self) -> int | None:
        """Of the process that holds Whisper; None while there is none."""
        worker = self._session.worker if self._session else None
        return worker.pid if worker else None

    def _submit(self, task: Callable[Concatenate[_Session, P], T], *args: P.args, **options: P.kwargs) -> Future[T]:
        with self._lock:
            if self._session is None:
                self._session = _Session(self.setup)
            return self._session.thread.submit(task, self._session, *args, **options)


class _Session:
    """One thread and the worker that it started, which it alone speaks to.

    The kernel ends the worker when the very thread that started it ends: so that may not be a thread of the
    caller's, who may end it at any time.
    """

    def __init__(self, setup: WhisperSetup) -> None:
        self.setup = setup
        self.worker: WorkerProcess | None = None
        self.closed = False
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="voxtral-whisper")

    def close(self) -> None:
        """Called by any other thread. What still waits in the queue is refused."""
        self.closed = True
        if self.worker is not None:
            self.worker.kill()
        self.thread.submit(self._end)
        self.thread.shutdown(wait=True)

    def transcribe(self, audio: Audio, language: str | None) -> Transcript:
        began = time.monotonic()
        answer = self._ask("transcribe", audio, language)
        _, weights = installed(self.setup)
        return Transcript(
            text=str(answer["text"]),
            language=answer.get("language"),
            backend="whisper",
            model=weights.name,
            release=_revision(weights),
            seconds=round(audio.seconds, 3),
            elapsed=round(time.monotonic() - began, 3),
            signals=Signals(confidence=answer.get("confidence")),
        )

    def align(self, audio: Audio, language: str | None, text: str) -> tuple[Word, ...]:
        if audio.seconds > WINDOW:
            raise ConfigurationError(f"{audio.seconds:g} s cannot be aligned at once", hint=f"cut it to {WINDOW} s")
        answer = self._ask("align", audio, language, text=text)
        return joined(answer["words"])

    def _ask(self, task: str, audio: Audio, language: str | None, **request: str) -> dict[str, Any]:
        _, weights = installed(self.setup)
        worker = self._ready()
        if language not in {None, "en"} and not worker.multilingual:
            raise ModelError(
                f"Whisper {weights.name} hears English only, not {language!r}",
                hint="serve a Voxtral model for this language, or name larger weights in whisper_weights",
            )
        samples = memoryview(audio.samples).cast("B")
        patience = PATIENCE + PATIENCE_PER_SECOND * audio.seconds
        message = {"task": task, "samples": len(audio.samples), "language": language, **request}
        answer = worker.ask(message, samples, patience)
        if "error" in answer:
            raise ServerError(f"Whisper failed: {answer['error']}", hint="try again, or another recording")
        return answer

    def _ready(self) -> WorkerProcess:
        """The worker, started when there is none or when the last one died."""
        if self.worker is not None and not self.worker.alive:
            self._end()
        if self.worker is None:
            python, weights = installed(self.setup)
            self.worker = WorkerProcess(python, weights, self.setup.threads or min(4, os.cpu_count() or 1))
        if self.closed:
            raise ServerError("Whisper was closed while a recording waited", hint="send it again")
        self.worker.wait_ready()
        return self.worker

    def _end(self) -> None:
        if self.worker is not None:
            self.worker.end()
            self.worker = None


def joined(found: Iterable[tuple[str, float, float, float]]) -> tuple[Word, ...]:
    """Join the aligner's tokens into words: one that begins without a space, as a comma does, belongs to the last.

    In Chinese and Japanese no word begins with one: there each letter stands for itself.
    A full stop has no sound of its own, so it lends the word before it no time.
    """
    words: list[Word] = []
    for text, start, end, probability in found:
        if words and not text.startswith(" ") and not is_tight(text):
            said = end if any(map(str.isalnum, text)) else words[-1].end
            words[-1] = words[-1].model_copy(update={"text": words[-1].text + text, "end": said})
        else:
            words.append(Word(text=text.strip(), start=start, end=end, confidence=probability))
    return tuple(words)


def installed(setup: WhisperSetup) -> tuple[Path, Path]:
    """The interpreter and the weights. Raises HostError naming what is missing, before anything is started."""
    python, weights = setup.python, setup.weights
    if python is None or not python.exists():
        raise HostError(f"Whisper is not installed{f' ({python} is missing)' if python else ''}", hint=INSTALL)
    if weights is None or not (weights / "model.bin").is_file():
        raise HostError(
            f"Whisper has no weights{f' in {weights}' if weights else ''}",
            hint=f"{INSTALL}; or name a folder that holds model.bin in whisper_weights",
        )
    if not (weights / "tokenizer.json").is_file():
        # faster-whisper would go and fetch one from the hub.
        raise HostError(f"Whisper's weights in {weights} lack tokenizer.json", hint="copy the whole folder")
    return python, weights


def _revision(weights: Path) -> str | None:
    """The revision that the weights were pinned to, where a manifest lies beside them."""
    try:
        manifest = json.loads((weights / "manifest.json").read_text(encoding="utf-8"))
        return str(manifest["revision"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
