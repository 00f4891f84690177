"""Posts a recording to a server as it is, in its own container: what any other client would do."""

from __future__ import annotations

import http.client
import json

from voxtral_ops.errors import NetworkError, ServerError, VoxtralError
from voxtral_ops.server.diagnosis import explain
from voxtral_ops.speech.connection import Answer, Connections, Upload, upload
from voxtral_ops.speech.voxtral import HTTP_OK, PATH


class FileUpload:
    """Transcribes files through one server without decoding them here.

    The speech room decodes first and sends WAV, which would hide that the server cannot read an MP3.
    """

    def __init__(self, url: str, model: str, timeout: float = 120.0) -> None:
        self._url = url
        self._model = model
        self._timeout = timeout

    def transcribe_file(self, name: str, data: bytes) -> str:
        """The server's words. Raises NetworkError when it does not answer, ServerError when it answers otherwise."""
        fields = {"model": self._model, "response_format": "json", "temperature": "0"}
        answer = self._post(upload(fields, name, [data]))
        if answer.status != HTTP_OK:
            raise self._refused(answer.status, answer.body, name)
        try:
            text = json.loads(answer.body)["text"]
        except (ValueError, KeyError, TypeError):
            text = None
        if not isinstance(text, str):
            raise ServerError(f"{self._url} answered without a text: {answer.body[:120]!r}", url=self._url)
        return text

    def _post(self, body: Upload) -> Answer:
        # A connection of its own for each clip, as a client that has just come would have.
        connections = Connections(self._url, connect_timeout=self._timeout, timeout=self._timeout)
        try:
            return connections.post(PATH, body)
        except (OSError, http.client.HTTPException) as error:
            raise NetworkError(
                f"{self._url} did not answer: {error}",
                hint="`voxtral-ops status` says how the server is",
                url=self._url,
            ) from error
        finally:
            connections.close()

    def _refused(self, status: int, body: str, name: str) -> VoxtralError:
        cause, hint = explain(body.splitlines())
        if status == 400 and "audio" in body.lower():
            # The shipped clips are good: then it is the server that cannot read them.
            cause = f"the server cannot decode {name}"
            hint = "its audio libraries are missing or damaged: `voxtral-ops engine verify`"
        return ServerError(
            f"{cause or 'the server refused'} (HTTP {status}: {body[:160]})", hint=hint, status=status, url=self._url
        )
