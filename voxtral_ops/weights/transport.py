"""Byte ranges over HTTP. What a server answers is held against what was asked before the first byte is passed on."""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from voxtral_ops.errors import (
    CapacityError,
    ConfigurationError,
    ModelError,
    NetworkError,
    ReleaseError,
    ServerError,
    VoxtralError,
)

if TYPE_CHECKING:
    import httpx2

STREAMS = 4
"""How many connections one place is asked over."""
CONNECT_SECONDS = 10.0
STALL_SECONDS = 30.0
STALL_BYTES = 30 << 10
"""A server that sends less than this in that time is taken for dead: a kilobyte a second helps nobody."""
REDIRECTS = 5
RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class Wanted(Protocol):
    """What has to be known of a file to fetch it."""

    @property
    def path(self) -> str:
        """How it is called."""

    @property
    def size(self) -> int:
        """Its bytes."""


@dataclass(frozen=True)
class Remote:
    """Where a file is, and what has to be said there. A header named Authorization never goes to another host."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """A part of a file on its way."""

    stop: int
    """The byte behind the last one that will come."""
    blocks: Generator[bytes, None, None]


class Line:
    """The connections to one place. HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE are honoured.

    ``look`` sees every answer, redirects too, before it is judged here, and raises where it knows better why.
    """

    def __init__(self, name: str, look: Callable[[httpx2.Response, Wanted], None] | None = None) -> None:
        self.name = name
        self.streams = STREAMS
        self._look = look
        self._lock = threading.Lock()
        self._moved: dict[str, str] = {}
        self._versions: dict[tuple[str, str], str] = {}

    def open(self, remote: Remote, file: Wanted, start: int, stop: int) -> Reading:
        """Ask for a range. Raises what the answer deserves, naming the file and this place."""
        moved = self._moved.get(remote.url)
        if moved is not None:
            # A signed address runs out: then the way there is asked for again.
            try:
                return self._open(Remote(moved, _for_another_host(remote, moved)), file, start, stop)
            except (ModelError, ConfigurationError, ReleaseError, ServerError):
                self._moved.pop(remote.url, None)
        return self._open(remote, file, start, stop)

    def _open(self, remote: Remote, file: Wanted, start: int, stop: int) -> Reading:
        headers = {**remote.headers, "Accept-Encoding": "identity", "Range": f"bytes={start}-{stop - 1}"}
        with ExitStack() as stack:
            with self._broken(file):
                response = stack.enter_context(self._client.stream("GET", remote.url, headers=headers))
            for answer in [*response.history, response]:
                if self._look is not None:
                    self._look(answer, file)
            begin, end = self._judge(response, file, start, stop)
            self._same_version(response, file)
            if response.history:
                self._moved[remote.url] = str(response.url)
            return Reading(end, self._blocks(stack.pop_all(), response, file, start - begin))

    def _blocks(self, stack: ExitStack, response: Any, file: Wanted, skip: int) -> Generator[bytes, None, None]:
        """Pass on what comes, from the byte that was asked for; give up where next to nothing comes."""
        waited, got = 0.0, 0
        with stack, self._broken(file):
            began = time.monotonic()
            for block in response.iter_raw():
                waited, got = waited + time.monotonic() - began, got + len(block)
                if waited > STALL_SECONDS:
                    if got < STALL_BYTES:
                        raise self._stalled(file)
                    waited, got = 0.0, 0
                if skip < len(block):
                    yield block[skip:]
                skip = max(0, skip - len(block))
                began = time.monotonic()

    @cached_property
    def _client(self) -> httpx2.Client:
        import httpx2  # noqa: PLC0415 - a tenth of a second, only where something is fetched

        return httpx2.Client(
            follow_redirects=True,
            max_redirects=REDIRECTS,
            timeout=httpx2.Timeout(STALL_SECONDS, connect=CONNECT_SECONDS, pool=None),
        )

    def _judge(self, response: httpx2.Response, file: Wanted, start: int, stop: int) -> tuple[int, int]:
        """Say which bytes of the file the body will hold, or raise why none of them is wanted."""
        status, where = response.status_code, f"{file.path} on {self.name}"
        if status not in {200, 206}:
            raise refusal(response, where)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise self._lies(file, "it was asked for the bytes as they are and sends them packed")
        if status == 206:
            return self._partial(response, file, start, stop)
        length = response.headers.get("Content-Length", "")
        page = response.headers.get("Content-Type", "").startswith("text/html") and not file.path.endswith(".html")
        if page and length != str(file.size):
            raise self._lies(file, "it sends a web page: a login or a filter stands in between")
        if length.isdigit() and int(length) != file.size:
            raise self._wrong_size(file, int(length))
        if (start, stop) != (0, file.size):
            self.streams = 1
        return 0, file.size

    def _partial(self, response: httpx2.Response, file: Wanted, start: int, stop: int) -> tuple[int, int]:
        told = RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if told is None:
            raise self._lies(file, "it sends a part of the file and does not say which")
        first, last, total = int(told[1]), int(told[2]), told[3]
        if total.isdigit() and int(total) != file.size:
            raise self._wrong_size(file, int(total))
        if first != start or not start <= last < stop:
            raise self._lies(file, f"asked for bytes {start}-{stop - 1}, it sends {first}-{last}")
        length = response.headers.get("Content-Length", "")
        if length.isdigit() and int(length) != last + 1 - first:
            raise self._lies(file, f"it announces bytes {first}-{last} and sends {length}")
        return start, stop

    def _same_version(self, response: httpx2.Response, file: Wanted) -> None:
        """Refuse to put one file together from two: a server tells that it changed by another ETag."""
        tag = response.headers.get("ETag", "")
        with self._lock:
            first = self._versions.setdefault((file.path, response.url.host), tag)
        if tag != first:
            raise ReleaseError(
                f"{file.path} on {self.name} changed while it was fetched",
                hint="run the same command again; what was fetched is kept where it is right",
                path=file.path,
                source=self.name,
            )

    @contextmanager
    def _broken(self, file: Wanted) -> Generator[None, None, None]:
        """Turn the transport's exceptions into ours."""
        import httpx2  # noqa: PLC0415

        where = f"{file.path} on {self.name}"
        try:
            yield
        except httpx2.TooManyRedirects as error:
            raise self._lies(file, "it sends us from address to address, round and round") from error
        except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
            raise self._lies(file, f"it names an address that is none ({error})") from error
        except (httpx2.ReadTimeout, httpx2.PoolTimeout) as error:
            raise self._stalled(file) from error
        except (httpx2.ProxyError, httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise _unreachable(error, where) from error
        except (httpx2.TransportError, httpx2.StreamError, httpx2.DecodingError) as error:
            raise NetworkError(
                f"{where}: the line broke: {error}", hint="run the same command again: it goes on from there"
            ) from error

    def _stalled(self, file: Wanted) -> NetworkError:
        return NetworkError(
            f"{file.path} on {self.name}: next to nothing has come for {STALL_SECONDS:.0f} s",
            hint="run the same command again: it goes on from there",
            path=file.path,
        )

    def _lies(self, file: Wanted, how: str) -> ServerError:
        return ServerError(
            f"{file.path} cannot be had from {self.name}: {how}",
            hint="use another place: set HF_ENDPOINT, or name a directory with the files (--from)",
            path=file.path,
            source=self.name,
        )

    def _wrong_size(self, file: Wanted, found: int) -> ReleaseError:
        return ReleaseError(
            f"{file.path} from {self.name} is not the release's: {found} bytes, not {file.size}",
            hint="the source is damaged, or the release names other bytes; nothing was installed",
            path=file.path,
            source=self.name,
        )


def refusal(response: httpx2.Response, where: str) -> VoxtralError:
    """Say what an answer without bytes means."""
    status, again = response.status_code, "run the same command again later: it goes on from there"
    if status == 429:
        return CapacityError(
            f"{where}: too many requests (429)", hint=again, status=status, after=_seconds_to_wait(response)
        )
    if status >= 500 or status in {408, 425}:
        return NetworkError(
            f"{where}: the server answered {status}", hint=again, status=status, after=_seconds_to_wait(response)
        )
    if status in {401, 403}:
        return ConfigurationError(
            f"{where}: we may not read it ({status})", hint="check the token and its rights", status=status
        )
    if status in {404, 410}:
        return ModelError(f"{where} does not exist", hint="check the release and the place", status=status)
    if status == 416:
        return ReleaseError(
            f"{where} is shorter than the release's", hint="the source is damaged; nothing was installed"
        )
    return ServerError(f"{where}: the server answered {status}", hint="use another place", status=status)


def _seconds_to_wait(response: httpx2.Response) -> float | None:
    """Read Retry-After: seconds, or a date."""
    told = response.headers.get("Retry-After", "").strip()
    if told.isdigit():
        return float(told)
    try:
        return max(0.0, (parsedate_to_datetime(told) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _unreachable(error: Exception, where: str) -> VoxtralError:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    if cause is not None:
        return ConfigurationError(
            f"{where}: the server's certificate is not trusted here: {cause.verify_message}",
            hint="if the network has a certificate authority of its own, name its file in SSL_CERT_FILE",
        )
    return NetworkError(
        f"the place cannot be reached: {where}: {error}",
        hint="check its address, the network and HTTPS_PROXY; or name another place: a seed, or a directory (--from)",
    )


def _for_another_host(remote: Remote, moved: str) -> dict[str, str]:
    import httpx2  # noqa: PLC0415

    same = httpx2.URL(remote.url).origin == httpx2.URL(moved).origin
    return {name: value for name, value in remote.headers.items() if same or name.lower() != "authorization"}
