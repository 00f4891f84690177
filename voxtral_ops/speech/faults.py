"""Turn what a vLLM server answers, or the lack of an answer, into the right VoxtralError.

The texts are vLLM 0.32's own; what it really sends is kept in the tests' data.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

from voxtral_ops.errors import (
    CapacityError,
    ConfigurationError,
    ModelError,
    NetworkError,
    ServerError,
    VoxtralError,
)

START = "start it with `voxtral-ops up`, look with `voxtral-ops status`"
LOOK = "look into its log: `voxtral-ops logs`"
TOO_LONG = ("maximum context length", "maximum model length", "exceeds maximum allowed duration", "Maximum file size",
            "exceeds the pre-allocated encoder cache")  # fmt: skip
UNREADABLE = ("Invalid or unsupported audio file", "Invalid or corrupted audio data", "Please install vllm[audio]")


def from_status(status: int, body: str, url: str, model: str) -> VoxtralError:  # noqa: PLR0911
    """The error for a refusal. We decoded the sound ourselves, so a "bad file" is the server's fault."""
    said = message_of(body)
    facts = {"url": url, "status": status, "said": said}
    if status in {401, 403}:
        return ConfigurationError(
            f"{url} refuses the key ({status} {said})",
            hint="set VOXTRAL_API_KEY, or api_key_file in voxtral.toml",
            **facts,
        )
    if status == 404:
        return _not_found(said, url, model, facts)
    if status in {400, 413, 422}:
        return _bad_request(status, said, url, model, facts)
    if status in {429, 503}:
        return CapacityError(f"{url} is full or not ready ({status} {said})", hint="try again in a moment", **facts)
    if status in {502, 504}:
        return NetworkError(f"the door at {url} reaches no server ({status} {said})", hint=START, **facts)
    if status == 501:
        return ModelError(f"{model} at {url} does not transcribe: {said}", hint="serve a Voxtral model", **facts)
    return ServerError(f"{url} failed: {status} {said}", hint=LOOK, **facts)


def from_silence(error: Exception, url: str, timeout: float) -> NetworkError:  # noqa: PLR0911
    """The error for no answer at all: refused, unknown host, broken line, too slow."""
    chain = list(_causes(error))
    names = {type(link).__name__ for link in chain}
    deepest = str(chain[-1]) or type(chain[-1]).__name__
    if "ClosedError" in names:
        return NetworkError(f"stopped: the connections to {url} were closed", hint="ask again", code="closed", url=url)
    if "IncompleteRead" in names:
        return NetworkError(f"{url} stopped in the middle of its answer", hint=LOOK, url=url)
    if any(isinstance(link, ConnectionRefusedError) for link in chain) or "Connection refused" in deepest:
        return NetworkError(f"nobody listens at {url}", hint=START, url=url)
    if "ConnectTimeoutError" in names:
        return NetworkError(
            f"{url} cannot be reached: no answer to the knock", hint="check the address and the firewall", url=url
        )
    if "AnswerTimeoutError" in names:
        return NetworkError(f"{url} gave no answer in {timeout:g} s", hint=f"{LOOK}; or raise `timeout`", url=url)
    if "CERTIFICATE_VERIFY_FAILED" in deepest:
        return NetworkError(
            f"{url} shows a certificate that is not trusted: {deepest}",
            hint="set SSL_CERT_FILE to your authority's",
            url=url,
        )
    if any(isinstance(link, ssl.SSLError) for link in chain):
        return NetworkError(f"{url} speaks no TLS: {deepest}", hint="is it http:// and not https://?", url=url)
    if names & {"gaierror"} or "Name or service not known" in deepest:
        return NetworkError(f"{url}: no such host", hint="check the name in `server`", url=url)
    return NetworkError(f"the line to {url} broke: {deepest}", hint=START, url=url)


def message_of(body: str) -> str:
    """The server's words: vLLM says ``{"error": {"message": …}}``, and ``{"error": "Unauthorized"}`` for a bad key."""
    try:
        raw = json.loads(body)
    except ValueError:
        return " ".join(re.sub(r"<[^>]*>", " ", body).split())[:200] or "without a word"
    error = raw.get("error", raw) if isinstance(raw, Mapping) else raw
    if isinstance(error, Mapping):
        error = error.get("message") or error.get("detail") or error
    return str(error)[:500]


def inner_status(raw: Mapping[str, Any]) -> int:
    """The status that a 200 with an error inside should have had."""
    error = raw.get("error")
    code = error.get("code") if isinstance(error, Mapping) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 500


def _not_found(said: str, url: str, model: str, facts: Mapping[str, Any]) -> VoxtralError:
    if "does not exist" in said:
        return ConfigurationError(
            f"{url} does not serve {model}: {said}",
            hint="leave `model` unset to use what is served, or name that",
            code="no_such_model",
            **facts,
        )
    return ConfigurationError(
        f"{url} is no Voxtral server ({said})",
        hint="`server` is the address without /v1, as http://127.0.0.1:8000",
        **facts,
    )


def _bad_request(status: int, said: str, url: str, model: str, facts: Mapping[str, Any]) -> VoxtralError:
    if status == 413 or any(text in said for text in TOO_LONG):
        return ModelError(
            f"too long for {model} at {url}: {said}",
            hint="cut the recording into parts, or use --backend whisper",
            code="too_long",
            **facts,
        )
    if any(text in said for text in UNREADABLE):
        return ServerError(
            f"{url} cannot decode plain WAV: its audio libraries are missing or broken ({said})",
            hint="check the engine with `voxtral-ops engine verify`; it needs vllm[audio]",
            **facts,
        )
    if "Unsupported language" in said:
        return ModelError(f"{model} at {url}: {said}", hint="leave the language out to let the model find it", **facts)
    return ServerError(
        f"{url} did not understand the request ({status} {said})", hint="is it vLLM 0.32 or newer?", **facts
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__
