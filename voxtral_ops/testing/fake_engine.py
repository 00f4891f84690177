"""A scriptable stand-in for a vLLM server: same paths, same bodies, any misbehaviour on request.

::

    with FakeEngine(text="turn on the light") as engine:
        engine.script(Reply(status=503, body={"error": {"message": "full"}}), Reply(drop=True))
        …  # the first request is refused, the second breaks off, the third is transcribed
        assert engine.requests[0].fields["model"] == "nano"
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

TRANSCRIPTIONS = "/v1/audio/transcriptions"


@dataclass(frozen=True)
class Reply:
    """One answer to a transcription request. A ``body`` that is no text is sent as JSON."""

    status: int = 200
    body: Any = None
    """None: the engine's own transcription."""
    content_type: str = "application/json"
    delay: float = 0.0
    """Seconds before answering."""
    drop: bool = False
    """Close the connection without a word."""


@dataclass(frozen=True)
class Request:
    """What a client sent to be transcribed."""

    fields: Mapping[str, str]
    file: bytes
    headers: Mapping[str, str]
    """Names in lower case."""


@dataclass
class FakeEngine:
    """Serves on a free port of 127.0.0.1 from a thread. Answers with ``text`` unless a script says otherwise."""

    text: str = "turn on the kitchen lights"
    model: str = "fake/voxtral"
    api_key: str | None = None
    context: int = 32768
    healthy: bool = True
    requests: list[Request] = field(default_factory=list)
    _script: deque[Reply] = field(default_factory=deque)
    _server: ThreadingHTTPServer | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"fake": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    @property
    def url(self) -> str:
        """Its address without ``/v1``."""
        if self._server is None:
            raise RuntimeError("the engine runs inside its `with` block only")
        return f"http://127.0.0.1:{self._server.server_port}"

    def script(self, *replies: Reply) -> None:
        """Answer the next transcription requests with these, one after the other."""
        self._script.extend(replies)

    def next_reply(self) -> Reply:
        """The answer to give now, its delay already waited for."""
        reply = self._script.popleft() if self._script else Reply()
        self._stopping.wait(reply.delay)
        return reply


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what tests are about, not a reason for a traceback."""


class _Handler(BaseHTTPRequestHandler):
    """vLLM's routes, as far as a client of speech uses them."""

    fake: FakeEngine
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Health and the list of models."""
        if self.path == "/health":
            self._answer(200 if self.fake.healthy else 503, b"", "text/plain")
        elif self.path == "/v1/models" and self._allowed():
            entry = {"id": self.fake.model, "object": "model", "max_model_len": self.fake.context}
            self._json(200, {"object": "list", "data": [entry]})
        elif self.path != "/v1/models":
            self._json(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        """Transcriptions, by the script."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != TRANSCRIPTIONS:
            self._json(404, {"detail": "Not Found"})
        elif self._allowed():
            request = self._parsed(body)
            self.fake.requests.append(request)
            self._reply(self.fake.next_reply(), request)

    def _reply(self, reply: Reply, request: Request) -> None:
        if reply.drop:
            self.close_connection = True
        elif reply.body is None and request.fields.get("model") != self.fake.model:
            message = f"The model `{request.fields.get('model')}` does not exist."
            self._json(404, {"error": {"message": message, "type": "NotFoundError", "param": "model", "code": 404}})
        elif reply.body is None and request.fields.get("stream") == "true":
            self._answer(reply.status, events(self.fake.text).encode(), "text/event-stream")
        elif reply.body is None:
            # 44 bytes of header, then 16 bit samples at 16 kHz: what our own client sends.
            seconds = max(0, len(request.file) - 44) // 32_000
            self._json(reply.status, {"text": self.fake.text, "usage": {"type": "duration", "seconds": seconds}})
        elif isinstance(reply.body, str):
            self._answer(reply.status, reply.body.encode(), reply.content_type)
        else:
            self._answer(reply.status, json.dumps(reply.body).encode(), reply.content_type)

    def _allowed(self) -> bool:
        if self.fake.api_key is None or self.headers.get("Authorization") == f"Bearer {self.fake.api_key}":
            return True
        self._json(401, {"error": "Unauthorized"})
        return False

    def _parsed(self, body: bytes) -> Request:
        parts = dict(_form(self.headers.get("Content-Type", ""), body))
        fields = {name: value.decode(errors="replace") for name, value in parts.items() if name != "file"}
        return Request(
            fields=fields,
            file=parts.get("file", b""),
            headers={key.lower(): value for key, value in self.headers.items()},
        )

    def _json(self, status: int, body: Any) -> None:
        self._answer(status, json.dumps(body).encode(), "application/json")

    def _answer(self, status: int, body: bytes, content_type: str) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the signature of http.server
        """Say nothing: the tests' output is theirs."""


def events(text: str, end: str = "data: [DONE]\n\n") -> str:
    """The words as vLLM streams them, one event for each."""
    deltas = [{"choices": [{"delta": {"content": word}}]} for word in text.replace(" ", "\0 ").split("\0") if word]
    return "".join(f"data: {json.dumps(delta)}\n\n" for delta in deltas) + end


def _form(content_type: str, body: bytes) -> Iterator[tuple[str, bytes]]:
    """The parts of a multipart form by name."""
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    for part in message.iter_parts():
        payload = part.get_payload(decode=True)
        yield str(part.get_param("name", header="content-disposition")), payload if isinstance(payload, bytes) else b""
