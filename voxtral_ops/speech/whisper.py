"""WhisperBackend: faster-whisper in a process of its own, started when first needed and kept."""

from __future__ import annotations

import asyncio
import json
import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from voxtral_ops.audio import Audio
from voxtral_ops.errors import HostError, ModelError, ServerError
from voxtral_ops.speech.backend import ServedModel
from voxtral_ops.speech.language import checked_language
from voxtral_ops.speech.transcript import Transcript
from voxtral_ops.speech.worker_process import WorkerProcess

PATIENCE = 120.0
PATIENCE_PER_SECOND = 20.0
"""Seconds to wait for each second of sound. Tiny takes 0.2 on two cores; large weights on a busy machine far more."""
INSTALL = "`voxtral-ops up` installs it"


@dataclass(frozen=True)
class WhisperSetup:
    """Which interpreter holds faster-whisper, and where the weights lie. None: not installed."""

    python: Path | None
    weights: Path | None
    threads: int = 0
    """0: as many as there are cores, four at most."""


class WhisperBackend:
    """Transcribes on this machine. Safe to share between threads: one recording after the other.

    One thread of its own starts the worker and talks to it. The kernel ends the worker when that very thread
    ends, so it must not be one that the caller might end.
    """

    name = "whisper"

    def __init__(self, setup: WhisperSetup) -> None:
        self.setup = setup
        self._worker: WorkerProcess | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._lock = Lock()

    def served(self) -> ServedModel:
        """The weights' name. Raises HostError when they are not installed."""
        _, weights = self._installed()
        return ServedModel(name=weights.name)

    async def aserved(self) -> ServedModel:
        """The same, for asyncio."""
        return self.served()

    def transcribe(self, audio: Audio, language: str | None = None) -> Transcript:
        """The words, as Whisper hears them."""
        waiting = self._submit(audio, language)
        try:
            return waiting.result()
        except BaseException:
            # Ctrl-C while the worker thinks: nobody waits for its answer any more.
            if not waiting.done():
                self.close()
            raise

    async def atranscribe(self, audio: Audio, language: str | None = None) -> Transcript:
        """The same, for asyncio."""
        return await asyncio.wrap_future(self._submit(audio, language))

    def close(self) -> None:
        """End the worker, even in the middle of a recording."""
        with self._lock:
            worker, thread = self._worker, self._thread
            self._worker = self._thread = None
        if worker is not None and worker.alive:
            os.kill(worker.pid, 9)
        if thread is not None:
            if worker is not None:
                thread.submit(worker.end)
            thread.shutdown(wait=True)

    def _submit(self, audio: Audio, language: str | None) -> Future[Transcript]:
        code = checked_language(language)
        with self._lock:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="voxtral-whisper")
            return self._thread.submit(self._transcribe, audio, code)

    def _transcribe(self, audio: Audio, language: str | None) -> Transcript:
        """Runs in the backend's own thread."""
        began = time.monotonic()
        _, weights = self._installed()
        worker = self._running()
        if language not in {None, "en"} and not worker.multilingual:
            raise ModelError(
                f"Whisper {weights.name} hears English only, not {language!r}",
                hint="serve a Voxtral model for this language, or name larger weights in whisper_weights",
            )
        samples = memoryview(audio.samples).cast("B")
        patience = PATIENCE + PATIENCE_PER_SECOND * audio.seconds
        answer = worker.ask({"samples": len(audio.samples), "language": language}, samples, patience)
        if "text" not in answer:
            raise ServerError(f"Whisper failed: {answer.get('error', answer)}", hint="try again, or another recording")
        return Transcript(
            text=str(answer["text"]),
            language=answer.get("language"),
            backend="whisper",
            model=weights.name,
            release=_revision(weights),
            seconds=round(audio.seconds, 3),
            elapsed=round(time.monotonic() - began, 3),
        )

    def _running(self) -> WorkerProcess:
        """The worker, started when there is none or when the last one died."""
        if self._worker is not None and not self._worker.alive:
            self._worker.end()
            self._worker = None
        if self._worker is None:
            python, weights = self._installed()
            self._worker = WorkerProcess(python, weights, self.setup.threads or min(4, os.cpu_count() or 1))
        return self._worker

    def _installed(self) -> tuple[Path, Path]:
        python, weights = self.setup.python, self.setup.weights
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
