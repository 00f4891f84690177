"""Give installed models to the hosts of a LAN over HTTP: read-only, only what a manifest names, never trusted.

The addresses are the hub's (``/<repository>/resolve/<revision>/<file>``), with ranges; ``/`` lists what is here.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

from voxtral_ops.errors import HostError
from voxtral_ops.release import ReleaseFile
from voxtral_ops.weights.patience import Limit
from voxtral_ops.weights.store import WeightsStore
from voxtral_ops.weights.whisper import whisper_model, whisper_path

PORT = 18500
CONNECTIONS = 16
IDLE_CONNECTION_SECONDS = 30.0
BLOCK = 256 << 10
FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(frozen=True)
class SeedOptions:
    """How a seed serves. ``bytes_per_second`` is for all connections together; ``idle_seconds`` ends it."""

    address: str = ""
    port: int = PORT
    connections: int = CONNECTIONS
    bytes_per_second: int | None = None
    idle_seconds: float | None = None


@dataclass(frozen=True)
class Offered:
    """One file that may be read."""

    path: Path
    file: ReleaseFile


@dataclass
class Shelf:
    """What a store offers. Looked through again when something is asked for that was not there before."""

    store: WeightsStore
    _files: dict[str, Offered] = field(default_factory=dict)

    def find(self, path: str) -> Offered | None:
        """Look up an address: a name of the table or nothing; no address is ever made into a path."""
        if path not in self._files:
            self._files = dict(self._offers())
        return self._files.get(path)

    def listing(self) -> bytes:
        """Say which models are here, for whoever wants to take one."""
        models = [model.model_dump(mode="json") for model, _ in self._models()]
        return json.dumps({"voxtral_seed": 1, "models": models}).encode()

    def _models(self) -> Iterator[tuple[Any, Path]]:
        yield from ((model, self.store.path(model)) for model in self.store.models())
        if self.store.root.joinpath("whisper").is_dir() and whisper_path(self.store.root).is_dir():
            yield whisper_model(), whisper_path(self.store.root)

    def _offers(self) -> Iterator[tuple[str, Offered]]:
        for model, directory in self._models():
            for file in model.files:
                address = f"/{model.repository}/resolve/{model.revision}/{file.path}"
                yield address, Offered(directory / file.path, file)


class SeedServer(ThreadingHTTPServer):
    """Serves a shelf until it is stopped, or nobody has asked for anything for a while."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, store: WeightsStore, options: SeedOptions) -> None:
        self.shelf, self.options = Shelf(store), options
        self.limit = Limit(options.bytes_per_second)
        self.sent = 0
        self._places = threading.BoundedSemaphore(options.connections)
        self._busy = 0
        self._last = time.monotonic()
        self._lock = threading.Lock()
        try:
            super().__init__((options.address, options.port), SeedHandler)
        except OSError as error:
            raise HostError(
                f"port {options.port} of {options.address or 'this host'} cannot be used: {error.strerror}",
                hint="choose another with --port or --address",
            ) from error

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.options.address or socket.gethostname()}:{self.server_address[1]}"

    def drop_rights(self) -> None:
        """Go on as the owner of the models: who only reads files needs no more than that."""
        facts = self.shelf.store.root.stat()
        if os.geteuid() == 0 and facts.st_uid != 0:
            os.setgroups([])
            os.setgid(facts.st_gid)
            os.setuid(facts.st_uid)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a connection if there is room; whoever comes too many is told to come again."""
        if not self._places.acquire(blocking=False):
            request.settimeout(1.0)
            with suppress(OSError):  # it may have gone already
                request.sendall(FULL)
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection and give its place back."""
        with self._lock:
            self._busy += 1
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._busy, self._last = self._busy - 1, time.monotonic()
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that went away in the middle."""

    def count(self, sent: int) -> None:
        """Note what went out."""
        with self._lock:
            self.sent += sent

    def service_actions(self) -> None:
        """Stop when nobody was here for long enough. The library asks between two looks for connections."""
        idle = self.options.idle_seconds
        with self._lock:
            over = idle is not None and self._busy == 0 and time.monotonic() - self._last > idle
        if over:
            threading.Thread(target=self.shutdown, daemon=True).start()


class SeedHandler(BaseHTTPRequestHandler):
    """GET and HEAD of what the shelf has."""

    protocol_version = "HTTP/1.1"
    server_version = "voxtral-seed"
    sys_version = ""
    timeout: ClassVar[float] = IDLE_CONNECTION_SECONDS
    server: SeedServer

    def do_GET(self) -> None:
        """Send the listing, a file, or a part of one."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """Send what GET would say about itself."""
        self._answer(body=False)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Keep quiet: the command says what matters."""

    def _answer(self, *, body: bool) -> None:
        if self.path == "/":
            self._send_listing(body=body)
            return
        offered = self.server.shelf.find(unquote(self.path))
        try:
            descriptor = os.open(offered.path, os.O_RDONLY | os.O_NOFOLLOW) if offered else None
        except OSError:
            descriptor = None
        if offered is None or descriptor is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with os.fdopen(descriptor, "rb") as stream:
            self._send_file(stream, offered.file, body=body)

    def _send_listing(self, *, body: bool) -> None:
        listing = self.server.shelf.listing()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(listing)))
        self.end_headers()
        if body:
            self.wfile.write(listing)

    def _send_file(self, stream: Any, file: ReleaseFile, *, body: bool) -> None:
        asked = self.headers.get("Range", "")
        start, stop = _range(asked, file.size)
        if start >= stop and asked:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{file.size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        part = (start, stop) != (0, file.size)
        self.send_response(HTTPStatus.PARTIAL_CONTENT if part else HTTPStatus.OK)
        if part:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{file.size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{file.sha256}"')
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        if body:
            self._send_bytes(stream, start, stop)

    def _send_bytes(self, stream: Any, start: int, stop: int) -> None:
        while start < stop:
            sent = self.connection.sendfile(stream, start, min(BLOCK, stop - start))
            if not sent:
                self.close_connection = True  # the file became shorter: whoever reads must not wait for the rest
                return
            start += sent
            self.server.count(sent)
            self.server.limit.take(sent)


def _range(asked: str, size: int) -> tuple[int, int]:
    """Read one range; what we do not understand (several, or from the end) is answered with all of it."""
    match = RANGE.fullmatch(asked)
    if match is None:
        return 0, size
    return int(match[1]), min(size, int(match[2]) + 1 if match[2] else size)
