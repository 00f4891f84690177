"""VoxtralBackend: a vLLM server over its OpenAI-compatible API, with every failure mapped to a VoxtralError."""

from __future__ import annotations

import asyncio
import http.client
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Any, ParamSpec, TypeVar

from pydantic import SecretStr

from voxtral_ops.audio import Audio
from voxtral_ops.catalog import CatalogModel, catalog
from voxtral_ops.errors import ConfigurationError, ServerError, VoxtralError
from voxtral_ops.planning.memory import audio_seconds
from voxtral_ops.speech.backend import ServedModel
from voxtral_ops.speech.connection import Answer, Connections, Upload, upload
from voxtral_ops.speech.faults import from_silence, from_status, inner_status, message_of
from voxtral_ops.speech.language import checked_language
from voxtral_ops.speech.transcript import Transcript

P = ParamSpec("P")
T = TypeVar("T")

PATH = "/v1/audio/transcriptions"
HTTP_OK = 200
LONGEST = 300.0
"""Seconds: ten of Voxtral's windows, half of vLLM's limit. Longer recordings are heard piece by piece."""
MOST_AT_ONCE = 64
"""Requests that asyncio callers have under way at one server."""
TOKENS_PER_SECOND = 12.5
"""A streaming model writes one token for each 80 ms of sound."""
ROOM = 60
"""Tokens beyond that: the delay and the end."""
LOOK_TIMEOUT = 10.0
"""Seconds to wait for the list of models, which costs the server nothing."""


@dataclass(frozen=True)
class Endpoint:
    """Where the server is and how to speak to it."""

    url: str
    """Without ``/v1``."""
    model: str | None = None
    """The served name or the catalog's; None uses what is served."""
    api_key: SecretStr | None = None
    timeout: float = 300.0
    connect_timeout: float = 5.0
    release: str | None = None
    """The release id, where it is known."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Catalog names of served names that the catalog cannot know."""


class VoxtralBackend:
    """Transcribes through one server. Safe to share between threads; connections are kept."""

    name = "voxtral"

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._connections: Connections | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._served: ServedModel | None = None
        self._lock = Lock()

    def served(self, *, afresh: bool = False) -> ServedModel:
        """The model that the server lists; asked once, after a failure, and where it must be known ``afresh``."""
        served = None if afresh else self._served
        if served is None:
            with self._mapped(min(LOOK_TIMEOUT, self.endpoint.timeout)):
                answer = self._server().get("/v1/models", LOOK_TIMEOUT)
                served = self._served = self._choose(self._accepted(answer, self.endpoint.model or "the model"))
        return served

    async def aserved(self) -> ServedModel:
        """The same, for asyncio."""
        known = self._served
        return known if known is not None else await self._later(self.served)

    def transcribe(self, audio: Audio, language: str | None = None) -> Transcript:
        """The words, as the server hears them. An empty text means that it heard none."""
        code, began = checked_language(language), time.monotonic()
        served = self.served()
        with self._mapped():
            answer = self._server().post(PATH, self._request(audio, code, served))
            return self._transcript(self._accepted(answer, served.name), audio, code, served, began)

    async def atranscribe(self, audio: Audio, language: str | None = None) -> Transcript:
        """The same, for asyncio: in a thread, of which as many run as requests are under way."""
        return await self._later(self.transcribe, audio, language)

    def stream(self, audio: Audio, language: str | None = None) -> Iterator[Transcript]:
        """The words as they are heard; each transcript holds all of them so far. Raises VoxtralError, also midway."""
        code, began, text = checked_language(language), time.monotonic(), ""
        served = self.served()
        with self._mapped(), self._server().streaming(PATH, self._request(audio, code, served, stream=True)) as answer:
            status, lines = answer
            if status != HTTP_OK:
                self._accepted(Answer(status, "".join(lines)), served.name)
            for event in _events(lines):
                text += self._delta(event, served.name)
                yield self._heard(text, audio, code, served, began)
            if not text:
                yield self._heard(text, audio, code, served, began)

    def close(self) -> None:
        """Close the connections. Who still waits for an answer gets a NetworkError, which nobody answers instead."""
        with self._lock:
            connections, self._connections = self._connections, None
            threads, self._threads = self._threads, None
        self._served = None
        if connections is not None:
            connections.close()
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)

    async def _later(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="voxtral-http")
            answer = asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *args, **options))
        return await answer

    def _request(self, audio: Audio, language: str | None, served: ServedModel, *, stream: bool = False) -> Upload:
        fields = {"model": served.served_name, "response_format": "json", "temperature": "0.0"}
        if language is not None:
            fields["language"] = language
        if served.realtime:
            # Without it vLLM lets a streaming model write on until its context is full.
            fields["max_completion_tokens"] = str(math.ceil(TOKENS_PER_SECOND * audio.seconds) + ROOM)
        if stream:
            fields["stream"] = "true"
        return upload(fields, "recording.wav", [audio.wav_bytes()])

    def _transcript(
        self, body: str, audio: Audio, language: str | None, served: ServedModel, began: float
    ) -> Transcript:
        raw = self._object(body, served.name)
        text = raw.get("text")
        if not isinstance(text, str):
            raise ServerError(
                f"{self.endpoint.url} answered without a text: {body[:120]!r}",
                hint="is `server` the address of a Voxtral server?",
                url=self.endpoint.url,
            )
        return self._heard(text, audio, language, served, began)

    def _heard(self, text: str, audio: Audio, language: str | None, served: ServedModel, began: float) -> Transcript:
        return Transcript(
            text=text.strip(),
            language=language,
            backend="voxtral",
            model=served.name,
            release=self.endpoint.release,
            seconds=round(audio.seconds, 3),
            elapsed=round(time.monotonic() - began, 3),
            demonstration=served.demonstration,
        )

    def _choose(self, body: str) -> ServedModel:
        """The configured model, else the first one listed."""
        listed = self._object(body, self.endpoint.model or "").get("data")
        entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        ids = [str(entry.get("id")) for entry in entries]
        if not ids:
            raise ServerError(
                f"{self.endpoint.url} lists no models: {body[:120]!r}",
                hint="is `server` the address of a Voxtral server?",
                url=self.endpoint.url,
            )
        wanted = self.endpoint.model
        name = next((each for each in ids if wanted is None or self._means(wanted, each)), None)
        if name is None:
            raise ConfigurationError(
                f"{self.endpoint.url} does not serve {wanted}; it serves {', '.join(ids)}",
                hint="leave `model` unset to use what is served, or name that",
                code="no_such_model",
                url=self.endpoint.url,
                served=ids,
            )
        known = self._known(name)
        context = entries[ids.index(name)].get("max_model_len")
        context = context if isinstance(context, int) else None
        return ServedModel(
            name=known.name if known else name,
            served_name=name,
            demonstration=known is not None and known.demonstration,
            realtime=known is not None and "realtime" in known.tasks,
            context=context,
            longest=_longest(known, context),
        )

    def _means(self, wanted: str, served_name: str) -> bool:
        known = self._known(served_name)
        return wanted == served_name or (known is not None and wanted in {known.name, known.repository})

    def _known(self, served_name: str) -> CatalogModel | None:
        """What the catalog says of the served model, by its short name or its repository."""
        models = catalog()
        short = self.endpoint.models.get(served_name, served_name)
        return next((model for model in models.values() if short in {model.name, model.repository}), None)

    def _object(self, body: str, model: str) -> Mapping[str, Any]:
        """The JSON object of a 200. A 200 may still carry an error."""
        try:
            raw = json.loads(body)
        except ValueError:
            raw = None
        if not isinstance(raw, dict):
            raise ServerError(
                f"{self.endpoint.url} answered something else than JSON: {message_of(body)[:120]!r}",
                hint="is `server` the address of a Voxtral server?",
                url=self.endpoint.url,
            )
        if raw.get("error"):
            raise from_status(inner_status(raw), body, self.endpoint.url, model)
        return raw

    def _accepted(self, answer: Answer, model: str) -> str:
        """The body of a 200; every other status is an error."""
        if answer.status == HTTP_OK:
            return answer.body
        mapped = from_status(answer.status, answer.body, self.endpoint.url, model)
        changed = mapped.details.get("code") == "no_such_model" and self.endpoint.model is None
        if changed:
            url = self.endpoint.url
            raise ServerError(f"{url} has just changed its model: {mapped.message}", hint="try again", url=url)
        raise mapped

    def _delta(self, event: str, model: str) -> str:
        raw = self._object(event, model)
        try:
            return str(raw["choices"][0]["delta"].get("content") or "")
        except (KeyError, IndexError, TypeError, AttributeError):
            return ""

    @contextmanager
    def _mapped(self, patience: float | None = None) -> Iterator[None]:
        """Our error for theirs. What the server serves is asked again after any failure."""
        try:
            yield
        except VoxtralError:
            self._served = None
            raise
        except (OSError, http.client.HTTPException) as error:
            self._served = None
            raise from_silence(error, self.endpoint.url, patience or self.endpoint.timeout) from error

    def _server(self) -> Connections:
        with self._lock:
            if self._connections is None:
                endpoint = self.endpoint
                self._connections = Connections(
                    endpoint.url,
                    connect_timeout=endpoint.connect_timeout,
                    timeout=endpoint.timeout,
                    key=_header_safe(endpoint.api_key),
                )
            return self._connections


def _events(lines: Iterable[str]) -> Iterator[str]:
    """The data of server-sent events, up to OpenAI's mark of the end; without that, words may be missing."""
    for line in lines:
        if line.startswith("data:"):
            data = line[5:].strip()
            if data == "[DONE]":
                return
            yield data
    raise http.client.IncompleteRead(b"")


def _longest(model: CatalogModel | None, context: int | None) -> float:
    """Seconds of one request: what the context holds with its words, and not so long that others wait for it."""
    if model is None:
        return LONGEST
    if model.demonstration:
        return float(model.chunk_seconds or LONGEST)
    return float(min(LONGEST, audio_seconds(model, context or model.context)))


def _header_safe(key: SecretStr | None) -> str | None:
    """The key as it may stand in a header. The HTTP library would print one that may not."""
    if key is None:
        return None
    secret = key.get_secret_value().strip()
    if not secret or not secret.isascii() or not secret.isprintable():
        raise ConfigurationError("the API key is empty or holds unprintable characters", hint="write it again")
    return secret
