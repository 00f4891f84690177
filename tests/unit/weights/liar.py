"""A hub in an attacker's hands: honest about everything but the one file that an attack is about."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TARGET = "consolidated.safetensors"


@dataclass
class Asked:
    """One request for the file, and ways to answer it."""

    handler: BaseHTTPRequestHandler
    data: bytes
    """What an honest hub would send of all of it."""
    start: int
    stop: int
    number: int
    """How many requests for the file came before."""
    base: dict[str, str]

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Answer with this; underscores in a header's name become hyphens."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        handler = self.handler
        handler.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **self.base, **named}.items():
            if value:
                handler.send_header(key, value)
        handler.end_headers()
        handler.wfile.write(body)

    def part(self, data: bytes | None = None, **headers: str) -> None:
        """Answer with the range that was asked for, of other bytes than the right ones where some are given."""
        data = self.data if data is None else data
        told = f"bytes {self.start}-{self.stop - 1}/{len(data)}"
        self.answer(206, data[self.start : self.stop], **{"Content_Range": told, **headers})

    def hang_up(self) -> None:
        """Close the line after this answer."""
        self.handler.close_connection = True


Attack = Callable[[Asked], None]


@dataclass
class Liar:
    """The hub: what it has, how it lies, and what it was sent."""

    files: dict[str, bytes]
    revision: str
    attack: Attack = Asked.part
    url: str = ""
    count: int = 0
    authorizations: list[str] = field(default_factory=list)


@contextmanager
def lying_hub(files: dict[str, bytes], revision: str) -> Iterator[Liar]:
    """Serve until the block ends."""
    liar = Liar(files, revision)
    handler = type("Handler", (_Handler,), {"liar": liar})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        liar.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield liar
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    liar: Liar
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass

    def handle(self) -> None:
        # A client that has seen through us hangs up.
        with suppress(BrokenPipeError, ConnectionResetError):
            super().handle()

    def do_GET(self) -> None:
        self.liar.authorizations.append(self.headers.get("Authorization", ""))
        name = self.path.rsplit("/", 1)[1]
        if "/resolve/" not in self.path:
            body = b'{"id": "x", "sha": "%s", "siblings": []}' % self.liar.revision.encode()
            Asked(self, body, 0, 0, 0, {}).answer(200, body, Content_Type="application/json")
            return
        data = self.liar.files[name]
        etag = hashlib.sha256(data).hexdigest()
        base = {"X-Repo-Commit": self.liar.revision, "ETag": f'"{etag}"', "X-Linked-ETag": f'"{etag}"'}
        first, _, last = self.headers.get("Range", f"bytes=0-{len(data) - 1}")[6:].partition("-")
        asked = Asked(self, data, int(first), int(last) + 1, self.liar.count, base)
        if name == TARGET:
            self.liar.count += 1
            self.liar.attack(asked)
        else:
            asked.part()
