"""VoxtralManager: the one object an application holds. Recordings in, transcripts out, whoever has to answer."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

from pydantic import ValidationError

from voxtral_ops.audio import Audio, Voice, VoxtralAudioProcessor
from voxtral_ops.config import VoxtralConfig
from voxtral_ops.errors import NetworkError, ReleaseError, VoxtralError
from voxtral_ops.paths import Layout, default_layout, system_layout
from voxtral_ops.speech.backend import Backend
from voxtral_ops.speech.batch import Heard, heard_of
from voxtral_ops.speech.journal import Journal
from voxtral_ops.speech.language import checked_language
from voxtral_ops.speech.recording import Listening, Report, listen, listen_aloud
from voxtral_ops.speech.router import BackendChoice, SpeechRecognitionRouter
from voxtral_ops.speech.transcript import Transcript
from voxtral_ops.speech.voxtral import LONGEST, Endpoint, VoxtralBackend
from voxtral_ops.speech.whisper import WINDOW, WhisperBackend, WhisperSetup

if TYPE_CHECKING:
    from voxtral_ops.audio import Source
    from voxtral_ops.planning.plan import Instance, Plan

BACKENDS = ("voxtral", "whisper")
DEFAULT_SERVER = "http://127.0.0.1:8000"


class TranscribeOptions(TypedDict, total=False):
    """What ``transcribe`` takes beside the recording."""

    backend: BackendChoice | None
    language: str | None
    times: bool
    resume: bool
    report: Report | None


@dataclass(frozen=True)
class Check:
    """What a look at the backends found. ``problem`` is empty where the backend can answer."""

    server: str
    model: str | None
    demonstration: bool
    voxtral_problem: str
    whisper: str | None
    whisper_problem: str

    @property
    def ok(self) -> bool:
        """Whether anybody can answer."""
        return not (self.voxtral_problem and self.whisper_problem)


class VoxtralManager:
    """Speech for an application: ``with VoxtralManager() as voxtral: voxtral.transcribe("talk.mp3").text``."""

    def __init__(self, config: VoxtralConfig | None = None, *, processor: VoxtralAudioProcessor | None = None) -> None:
        self._era = 0
        self.config = config or VoxtralConfig.load()
        self.processor = processor or VoxtralAudioProcessor(voice=Voice(whisper_setup(self.config).python))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A thread of its own: asyncio's may all be waiting for what is to be closed.
        with ThreadPoolExecutor(1) as thread:
            await asyncio.get_running_loop().run_in_executor(thread, self.close)

    def transcribe(  # noqa: PLR0913 - one thing to hear, and how
        self,
        source: Source | Audio,
        *,
        backend: BackendChoice | None = None,
        language: str | None = None,
        times: bool = False,
        resume: bool = False,
        report: Report | None = None,
    ) -> Transcript:
        """The words of a path, of a file's bytes, of a stream or of decoded audio, however long. Raises VoxtralError.

        ``times`` adds segments: aligned where Whisper is installed, else estimated. Long recordings are cut at their
        pauses and heard in parallel; ``report`` is told after each piece, and with ``resume`` finished pieces are kept
        in this user's state directory until all are heard, so that an interrupted call goes on where it was.
        """
        code, choice, era = checked_language(language), backend or self.config.backend, self._era
        audio = source if isinstance(source, Audio) else self.processor.load(source)
        how = self._listening(choice, code, era, times=times, report=report)
        if not resume or audio.seconds <= how.longest:
            return listen(audio, how)
        job = {"sha256": audio.sha256, "seconds": audio.seconds, "backend": choice, "language": code}
        asked = {"server": self.config.server, "model": self.config.model, "times": times, "longest": how.longest}
        with Journal(default_layout().state / "jobs", **job, **asked) as journal:
            transcript = listen(audio, how, journal)
            journal.forget()
        return transcript

    async def atranscribe(self, source: Source | Audio, **options: Unpack[TranscribeOptions]) -> Transcript:
        """The same, for asyncio: in threads, which wait for the servers most of the time."""
        return await asyncio.to_thread(self.transcribe, source, **options)

    def transcribe_stream(
        self, source: Source | Audio, *, backend: BackendChoice | None = None, language: str | None = None
    ) -> Generator[Transcript, None, None]:
        """The words as they come: each transcript holds all of them so far, and the last one is the answer."""
        code, choice, era = checked_language(language), backend or self.config.backend, self._era
        audio = source if isinstance(source, Audio) else self.processor.load(source)
        how = self._listening(choice, code, era)

        def stream(piece: Audio) -> Iterator[Transcript]:
            self._still(era)
            return self.router.stream(piece, choice, code)

        yield from listen_aloud(audio, how.longest, stream)

    async def atranscribe_stream(
        self, source: Source | Audio, *, backend: BackendChoice | None = None, language: str | None = None
    ) -> AsyncIterator[Transcript]:
        """The same, for asyncio."""
        words = self.transcribe_stream(source, backend=backend, language=language)
        thread, loop = ThreadPoolExecutor(1, thread_name_prefix="voxtral-stream"), asyncio.get_running_loop()
        try:
            while (sofar := await loop.run_in_executor(thread, next, words, None)) is not None:
                yield sofar
        finally:
            # Who was cancelled does not wait; the thread lets go of the server after the next word.
            thread.submit(words.close)
            thread.shutdown(wait=False)

    def transcribe_many(
        self, sources: Iterable[Source], *, at_once: int = 2, **options: Unpack[TranscribeOptions]
    ) -> Iterator[Heard]:
        """Many recordings, some at a time, in the order in which they are finished. A bad one stops none of the others.

        Closing the iterator begins no more of them.
        """
        yield from heard_of(sources, lambda source: self.transcribe(source, **options), at_once)

    def _listening(
        self,
        choice: BackendChoice,
        language: str | None,
        era: int,
        *,
        times: bool = False,
        report: Report | None = None,
    ) -> Listening:
        def hear(piece: Audio) -> Transcript:
            self._still(era)
            return self.router.transcribe(piece, choice, language)

        try:
            longest = self.router.served(choice).longest
        except VoxtralError:
            longest = LONGEST  # whoever is asked will say better what is wrong
        return Listening(
            hear=hear,
            longest=min(longest, WINDOW) if times else longest,
            concurrency=self.config.concurrency,
            align=self.whisper.align if times else None,
            times=times,
            report=report,
        )

    def _still(self, era: int) -> None:
        """What was begun before ``close`` ends with it, and is not carried on by new connections."""
        if self._era != era:
            raise NetworkError("stopped: the manager was closed", hint="ask again", code="closed")

    def check(self) -> Check:
        """Who could answer now; the server is asked afresh. Raises nothing: what is wrong stands in the result."""
        server, model, demonstration, voxtral_problem = self.config.server or "", None, False, ""
        try:
            server = self.endpoint.url
            served = self.voxtral.served(afresh=True)
            model, demonstration = served.name, served.demonstration
        except VoxtralError as error:
            voxtral_problem = error.message
        whisper, whisper_problem = None, ""
        try:
            whisper = self.whisper.served().name
        except VoxtralError as error:
            whisper_problem = error.message
        return Check(server, model, demonstration, voxtral_problem, whisper, whisper_problem)

    def close(self) -> None:
        """End Whisper's process, connections and what is under way. The manager may be used again."""
        self._era += 1
        for made in BACKENDS:
            if made in self.__dict__:
                self.__dict__[made].close()

    @cached_property
    def router(self) -> SpeechRecognitionRouter:
        """Decides who answers."""
        return SpeechRecognitionRouter(_Backends(self))

    @cached_property
    def voxtral(self) -> VoxtralBackend:
        """The server."""
        return VoxtralBackend(self.endpoint)

    @cached_property
    def whisper(self) -> WhisperBackend:
        """The fallback on this machine."""
        return WhisperBackend(whisper_setup(self.config))

    @cached_property
    def endpoint(self) -> Endpoint:
        """Where the server is: as configured, else as planned for this host, else port 8000."""
        connection: dict[str, Any] = {
            "model": self.config.model,
            "api_key": self.config.key(),
            "timeout": self.config.timeout,
            "connect_timeout": self.config.connect_timeout,
        }
        plan = None if self.config.server else installed_plan()
        if plan is None:
            return Endpoint(url=self.config.server or DEFAULT_SERVER, **connection)
        names = {instance.served_name: instance.model for instance in plan.instances}
        instance = instance_for(plan, self.config.model)
        return Endpoint(url=instance.url, release=plan.release, models=names, **connection)


@dataclass(frozen=True)
class _Backends(Mapping[str, Backend]):
    """The manager's backends, each made when it is asked for: who wants Whisper needs no server's address."""

    manager: VoxtralManager

    def __getitem__(self, name: str) -> Backend:
        if name not in BACKENDS:
            raise KeyError(name)
        backend: Backend = getattr(self.manager, name)
        return backend

    def __iter__(self) -> Iterator[str]:
        return iter(BACKENDS)

    def __len__(self) -> int:
        return len(BACKENDS)


def instance_for(plan: Plan, model: str | None = None) -> Instance:
    """Which server transcribes for this process: one of the model asked for, else of the first that is no live one.

    Of several servers of that model each process takes its own, so that processes spread over them.
    """
    from voxtral_ops.catalog import catalog  # noqa: PLC0415

    known = catalog()
    asked = [each for each in plan.instances if model in {each.model, each.served_name}]
    calm = [each for each in plan.instances if each.model in known and "realtime" not in known[each.model].tasks]
    first = [*asked, *calm, *plan.instances][0]
    alike = [each for each in plan.instances if each.model == first.model]
    return alike[os.getpid() % len(alike)]


def installed_plan() -> Plan | None:
    """What this host serves, None when nothing is installed. Raises ReleaseError when the plan cannot be read."""
    from voxtral_ops.planning.plan import Plan  # noqa: PLC0415

    for layout in _layouts():
        path = layout.current / "plan.json"
        try:
            return Plan.model_validate_json(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        except ValueError as error:
            raise ReleaseError(
                f"{path} is not a plan that this version understands: {_first_words(error)}",
                hint="`voxtral-ops up` writes it anew; or name the server with --server",
                path=path,
            ) from error
    return None


def _first_words(error: ValueError) -> str:
    """Where the first problem is, and what it is; the others are its like."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)


def whisper_setup(config: VoxtralConfig) -> WhisperSetup:
    """Whisper as configured, else as installed on this host, else in this very interpreter."""
    layouts = _layouts()
    python = config.whisper_python or _first(layout.whisper / "current" / "bin" / "python" for layout in layouts)
    if python is None and find_spec("faster_whisper") is not None:
        python = Path(sys.executable)
    weights = config.whisper_weights or _first(layout.models / "whisper" / config.whisper_size for layout in layouts)
    return WhisperSetup(python=python, weights=weights, threads=config.whisper_threads)


def _layouts() -> tuple[Layout, ...]:
    """This user's own installation first, then the host's."""
    own, host = default_layout(), system_layout()
    return (own,) if own == host else (own, host)


def _first(paths: Any) -> Path | None:
    """The first that exists and may be looked at."""
    for path in paths:
        try:
            if path.exists():
                return Path(path)
        except PermissionError:
            continue
    return None
