"""VoxtralBackend: a vLLM server over its OpenAI-compatible API, with every failure mapped to a VoxtralError."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from voxtral_ops.audio import Audio
from voxtral_ops.catalog import CatalogModel, catalog
from voxtral_ops.errors import ConfigurationError, ServerError, VoxtralError
from voxtral_ops.speech.backend import ServedModel
from voxtral_ops.speech.faults import from_silence, from_status, inner_status, message_of
from voxtral_ops.speech.language import checked_language
from voxtral_ops.speech.transcript import Transcript

if TYPE_CHECKING:
    import openai

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
        self._sync: openai.OpenAI | None = None
        self._async: tuple[asyncio.AbstractEventLoop, openai.AsyncOpenAI] | None = None
        self._served: ServedModel | None = None

    def served(self) -> ServedModel:
        """The model that the server lists; asked once, and again after a failure."""
        served = self._served
        if served is None:
            try:
                response = self._client().models.with_raw_response.list(timeout=self._look_timeout())
            except Exception as error:
                raise self._mapped(error) from error
            served = self._served = self._choose(response.http_response.text)
        return served

    async def aserved(self) -> ServedModel:
        """The same, for asyncio."""
        served = self._served
        if served is None:
            try:
                response = await self._aclient().models.with_raw_response.list(timeout=self._look_timeout())
            except Exception as error:
                raise self._mapped(error) from error
            served = self._served = self._choose(response.http_response.text)
        return served

    def transcribe(self, audio: Audio, language: str | None = None) -> Transcript:
        """The words, as the server hears them. An empty text means that it heard none."""
        code, began = checked_language(language), time.monotonic()
        served = self.served()
        try:
            create = self._client().audio.transcriptions.with_raw_response.create
            response = create(**self._request(audio, code, served))
        except Exception as error:
            raise self._mapped(error, served) from error
        return self._transcript(response.http_response.text, audio, code, served, began)

    async def atranscribe(self, audio: Audio, language: str | None = None) -> Transcript:
        """The same, for asyncio. Reading the sound into WAV happens here too: 10 ms for ten minutes."""
        code, began = checked_language(language), time.monotonic()
        served = await self.aserved()
        try:
            create = self._aclient().audio.transcriptions.with_raw_response.create
            response = await create(**self._request(audio, code, served))
        except Exception as error:
            raise self._mapped(error, served) from error
        return self._transcript(response.http_response.text, audio, code, served, began)

    def close(self) -> None:
        """Close the connections of the synchronous client; ``aclose`` is for the event loop's."""
        if self._sync is not None:
            self._sync.close()
        self._sync = self._served = None

    async def aclose(self) -> None:
        """Close the connections that belong to the running event loop."""
        if self._async is not None and self._async[0] is asyncio.get_running_loop():
            await self._async[1].close()
        self._async = None

    def _request(self, audio: Audio, language: str | None, served: ServedModel) -> dict[str, Any]:
        request: dict[str, Any] = {
            "file": ("recording.wav", audio.wav_bytes(), "audio/wav"),
            "model": served.served_name,
            "response_format": "json",
            "temperature": 0.0,
        }
        if language is not None:
            request["language"] = language
        if served.realtime:
            # Without it vLLM lets a streaming model write on until its context is full.
            request["extra_body"] = {"max_completion_tokens": math.ceil(TOKENS_PER_SECOND * audio.seconds) + ROOM}
        return request

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
        return ServedModel(
            name=known.name if known else name,
            served_name=name,
            demonstration=known is not None and known.demonstration,
            realtime=known is not None and "realtime" in known.tasks,
            context=context if isinstance(context, int) else None,
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

    def _mapped(self, error: Exception, served: ServedModel | None = None) -> VoxtralError:
        """Our error for theirs. What the server serves is asked again after any failure."""
        import openai  # noqa: PLC0415

        self._served = None
        url = self.endpoint.url
        if isinstance(error, VoxtralError):
            return error
        if isinstance(error, openai.APIStatusError):
            name = served.name if served else self.endpoint.model or "the model"
            mapped = from_status(error.status_code, error.response.text, url, name)
            changed = mapped.details.get("code") == "no_such_model" and self.endpoint.model is None
            if changed:
                return ServerError(f"{url} has just changed its model: {mapped.message}", hint="try again", url=url)
            return mapped
        if isinstance(error, openai.APIConnectionError):
            return from_silence(error, url, self.endpoint.timeout)
        return ServerError(f"{url} answered what cannot be read: {type(error).__name__}: {error}", url=url)

    def _client(self) -> openai.OpenAI:
        import openai  # noqa: PLC0415

        if self._sync is None:
            http = openai.DefaultHttpxClient(trust_env=False) if _is_near(self.endpoint.url) else None
            self._sync = openai.OpenAI(http_client=http, **self._client_options())
        return self._sync

    def _aclient(self) -> openai.AsyncOpenAI:
        import openai  # noqa: PLC0415

        loop = asyncio.get_running_loop()
        if self._async is None or self._async[0] is not loop:
            # Connections belong to the loop that opened them.
            http = openai.DefaultAsyncHttpxClient(trust_env=False) if _is_near(self.endpoint.url) else None
            self._async = (loop, openai.AsyncOpenAI(http_client=http, **self._client_options()))
        return self._async[1]

    def _client_options(self) -> dict[str, Any]:
        import openai  # noqa: PLC0415

        return {
            "base_url": f"{self.endpoint.url}/v1",
            "api_key": _header_safe(self.endpoint.api_key),
            "timeout": openai.Timeout(self.endpoint.timeout, connect=self.endpoint.connect_timeout),
            "max_retries": 0,
        }

    def _look_timeout(self) -> Any:
        import openai  # noqa: PLC0415

        return openai.Timeout(min(LOOK_TIMEOUT, self.endpoint.timeout), connect=self.endpoint.connect_timeout)


def _header_safe(key: SecretStr | None) -> str:
    """The key as it may stand in a header. The HTTP library would print one that may not."""
    if key is None:
        return "none"
    secret = key.get_secret_value().strip()
    if not secret or not secret.isascii() or not secret.isprintable():
        raise ConfigurationError("the API key is empty or holds unprintable characters", hint="write it again")
    return secret


def _is_near(url: str) -> bool:
    """This very machine: a company's proxy has no business there."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
