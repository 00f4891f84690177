"""HTTP to one server with what Python brings: kept connections, uploads that are not copied, answers line by line.

openai-python does the same and more, for two to four times the processor time of each upload and 0.8 s to import;
bench/client.py measures both.
"""

from __future__ import annotations

import http.client
import ipaddress
import secrets
import select
import socket
import ssl
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from urllib.parse import SplitResult, urlsplit

from voxtral_ops.errors import ConfigurationError

IDLE = 4.0
"""Seconds after which an unused connection is not trusted: vLLM closes its own after five."""
BLOCK = 1 << 18
"""Bytes handed to the kernel at once."""
CLOSED = "the connections were closed while somebody waited"


class ConnectTimeoutError(TimeoutError):
    """The server did not take the connection in time."""


class ClosedError(ConnectionError):
    """This side closed the connections while somebody waited."""


class AnswerTimeoutError(TimeoutError):
    """The server took the request and gave no answer in time."""


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    body: str


@dataclass(frozen=True)
class Upload:
    """A form with one file, as blocks that are sent without being copied together."""

    content_type: str
    blocks: tuple[bytes | memoryview, ...]

    @property
    def size(self) -> int:
        """Bytes of the whole body."""
        return sum(len(block) for block in self.blocks)


def upload(fields: Mapping[str, str], name: str, file: Sequence[bytes | memoryview]) -> Upload:
    """Make a form of text fields and one file (RFC 7578)."""
    boundary = secrets.token_hex(16)
    texts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
    kind = "Content-Type: application/octet-stream\r\n\r\n"
    blocks = ("".join([*texts, head, kind]).encode(), *file, f"\r\n--{boundary}--\r\n".encode())
    return Upload(f"multipart/form-data; boundary={boundary}", blocks)


class Connections:
    """Kept connections to one server. Safe to share between threads; each request has one for itself.

    Raises OSError and http.client.HTTPException as they come, and tells two kinds of TimeoutError apart.
    """

    def __init__(self, url: str, *, connect_timeout: float, timeout: float, key: str | None = None) -> None:
        self._address = urlsplit(url)
        self._connect_timeout, self._timeout = connect_timeout, timeout
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._idle: list[tuple[float, http.client.HTTPConnection]] = []
        self._busy: set[http.client.HTTPConnection] = set()
        self._closed = False
        self._lock = Lock()

    def get(self, path: str, timeout: float | None = None) -> Answer:
        """Ask for a page."""
        with self._answering("GET", path, None, timeout) as response:
            return Answer(response.status, response.read().decode("utf-8", "replace"))

    def post(self, path: str, body: Upload) -> Answer:
        """Send a form and wait for the whole answer."""
        with self._answering("POST", path, body) as response:
            return Answer(response.status, response.read().decode("utf-8", "replace"))

    @contextmanager
    def streaming(self, path: str, body: Upload) -> Iterator[tuple[int, Iterator[str]]]:
        """Send a form; yields the status and the answer's lines as they come."""
        with self._answering("POST", path, body) as response:
            yield response.status, (line.decode("utf-8", "replace").rstrip("\r\n") for line in response)

    def close(self) -> None:
        """Close all of them for good; whoever waits for an answer gets a ClosedError."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = list(self._busy)
        for _, connection in idle:
            connection.close()
        for connection in busy:
            # Only woken: the thread that uses it closes it. TLS has a shutdown of its own, which is none of ours.
            with suppress(OSError, TypeError):
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    @contextmanager
    def _answering(
        self, method: str, path: str, body: Upload | None, timeout: float | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        connection = self._taken()
        whole = False
        try:
            if connection.sock is None:
                _connect(connection)
            if self._closed:
                raise ClosedError(CLOSED)
            connection.sock.settimeout(self._timeout if timeout is None else min(timeout, self._timeout))
            try:
                sent = self._send(connection, method, path, body)
                response = connection.getresponse()
                yield response
                whole = sent and response.isclosed() and not response.will_close
            except TimeoutError as error:
                raise AnswerTimeoutError(str(error)) from error
        except (OSError, http.client.HTTPException) as error:
            if self._closed and not isinstance(error, ClosedError):
                raise ClosedError(CLOSED) from error
            raise
        finally:
            self._give_back(connection, whole=whole)

    def _send(self, connection: http.client.HTTPConnection, method: str, path: str, body: Upload | None) -> bool:
        """Whether the server took all of it. One that refuses may answer and hang up before it has read the sound."""
        connection.putrequest(method, f"{self._prefix}{path}", skip_accept_encoding=True)
        for name, value in self._headers.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Type", body.content_type)
            connection.putheader("Content-Length", str(body.size))
        connection.endheaders()
        try:
            for block in body.blocks if body else ():
                view = memoryview(block)
                for start in range(0, len(view), BLOCK):
                    connection.sock.sendall(view[start : start + BLOCK])
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def _taken(self) -> http.client.HTTPConnection:
        now = time.monotonic()
        while True:
            with self._lock:
                since, connection = self._idle.pop() if self._idle else (now, self._new())
                self._busy.add(connection)
            if connection.sock is None or (now - since < IDLE and not _hung_up(connection.sock)):
                return connection
            self._give_back(connection, whole=False)

    def _give_back(self, connection: http.client.HTTPConnection, *, whole: bool) -> None:
        with self._lock:
            self._busy.discard(connection)
            kept = whole and not self._closed
            if kept:
                self._idle.append((time.monotonic(), connection))
        if not kept:
            connection.close()

    def _new(self) -> http.client.HTTPConnection:
        address, timeout = self._address, self._connect_timeout
        host, secure = address.hostname or "127.0.0.1", address.scheme == "https"
        proxy = _proxy(address)
        target = (proxy.hostname or "", proxy.port or 80) if proxy else (host, address.port)
        if not secure:
            # A proxy for plain HTTP wants the whole address in the request's first line.
            return http.client.HTTPConnection(*target, timeout=timeout)
        connection = http.client.HTTPSConnection(*target, timeout=timeout, context=self._tls)
        if proxy:
            connection.set_tunnel(host, address.port or 443)
        return connection

    @cached_property
    def _prefix(self) -> str:
        address = self._address
        plainly = address.scheme != "https" and _proxy(address)
        return f"http://{address.netloc}{address.path}" if plainly else address.path

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()


def is_near(host: str) -> bool:
    """Whether that is this very machine: a company's proxy has no business there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _connect(connection: http.client.HTTPConnection) -> None:
    try:
        connection.connect()
    except TimeoutError as error:
        raise ConnectTimeoutError(str(error)) from error
    # The form's head and the sound are two writes: the second must not wait for the first to be acknowledged.
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _hung_up(sock: socket.socket) -> bool:
    """Whether there is something to read on a connection that owes us nothing: its end."""
    # Not select: an application with a thousand open files has sockets that it cannot look at.
    waiting = select.poll()
    waiting.register(sock, select.POLLIN)
    return bool(waiting.poll(0))


def _proxy(address: SplitResult) -> SplitResult | None:
    """The proxy that the environment names for this address, after ``no_proxy``."""
    host = address.hostname or ""
    named = urllib.request.getproxies().get(address.scheme)
    if not named or is_near(host) or urllib.request.proxy_bypass(host):
        return None
    proxy = urlsplit(named if "://" in named else f"http://{named}")
    if proxy.scheme != "http" or not proxy.hostname or proxy.username:
        raise ConfigurationError(
            f"the proxy {proxy.scheme}://{proxy.hostname} that the environment names for {host} cannot be used",
            hint="plain http:// proxies without a password can; or add the host to no_proxy",
        )
    return proxy
