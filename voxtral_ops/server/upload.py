"""Posts a recording to a server as it is, in its own container: what any other client would do."""

from __future__ import annotations

import http.client
import json
import secrets
from urllib.parse import urlsplit

from voxtral_ops.errors import NetworkError, ServerError, VoxtralError
from voxtral_ops.server.diagnosis import explain


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
        boundary = secrets.token_hex(16)
        status, body = self._post(_multipart(boundary, fields, name, data), boundary)
        if status != 200:
            raise self._refused(status, body, name)
        try:
            text = json.loads(body)["text"]
        except (ValueError, KeyError, TypeError):
            text = None
        if not isinstance(text, str):
            raise ServerError(f"{self._url} answered without a text: {body[:120]!r}", url=self._url)
        return text

    def _post(self, body: bytes, boundary: str) -> tuple[int, str]:
        parts = urlsplit(self._url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "127.0.0.1", parts.port, timeout=self._timeout)
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        try:
            connection.request("POST", f"{parts.path}/v1/audio/transcriptions", body, headers)
            response = connection.getresponse()
            return response.status, response.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            raise NetworkError(
                f"{self._url} did not answer: {error}",
                hint="`voxtral-ops status` says how the server is",
                url=self._url,
            ) from error
        finally:
            connection.close()

    def _refused(self, status: int, body: str, name: str) -> VoxtralError:
        cause, hint = explain(body.splitlines())
        if status == 400 and "audio" in body.lower():
            # The shipped clips are good: then it is the server that cannot read them.
            cause = f"the server cannot decode {name}"
            hint = "its audio libraries are missing or damaged: `voxtral-ops engine verify`"
        return ServerError(
            f"{cause or 'the server refused'} (HTTP {status}: {body[:160]})", hint=hint, status=status, url=self._url
        )


def _multipart(boundary: str, fields: dict[str, str], name: str, data: bytes) -> bytes:
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return b"".join([*parts, head.encode(), data, f"\r\n--{boundary}--\r\n".encode()])
