"""A model hub on this machine: the standard library's server, the hub's real routes, headers and errors."""

from __future__ import annotations

import hashlib
import json
import random
import re
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LFS_FROM = 1000
"""Files of this size and more are kept in LFS, whose sha256 the hub tells; of smaller ones it tells a git hash."""


@dataclass(frozen=True)
class Made:
    """A file of any size that is made while it is sent: a random block over and over, each with its number in front."""

    size: int
    seed: int = 0

    BLOCK = 1 << 20

    def read(self, start: int, stop: int) -> bytes:
        """Make a part."""
        body = _random_block(self.seed, self.BLOCK)
        out = bytearray()
        for number in range(start // self.BLOCK, -(-stop // self.BLOCK)):
            first = number * self.BLOCK
            whole = number.to_bytes(8, "big") + body[8:]
            out += whole[max(0, start - first) : min(self.BLOCK, stop - first)]
        return bytes(out)

    @property
    def sha256(self) -> str:
        """Its hash."""
        digest = hashlib.sha256()
        for start in range(0, self.size, self.BLOCK):
            digest.update(self.read(start, min(self.size, start + self.BLOCK)))
        return digest.hexdigest()


@cache
def _random_block(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


Content = bytes | Made


@dataclass(frozen=True)
class Fault:
    """What goes wrong with the answers to GETs of one file, one after the other.

    ``cut`` and ``reset`` end the line after ``at`` bytes of the body; ``short`` has only so many bytes of the file;
    ``status`` answers with it and ``headers``; ``whole`` ignores the range; ``shift`` sends another range and says so;
    ``mislead`` sends another range and does not; ``etag`` has changed; ``html`` is a page with 200; ``endless`` never
    ends; ``drip`` sends a byte every ``at`` milliseconds; ``loop`` redirects to itself; ``redirect`` to ``headers``'
    Location; ``packed`` comes compressed; ``flip`` changes the byte at ``at`` of the file.
    """

    kind: str
    at: int = 0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Repository:
    """One model repository and how it misbehaves."""

    files: Mapping[str, Content]
    revision: str = "b" * 40
    token: str | None = None
    """Only this token may read it."""
    gated: bool = False
    forbidden: bool = False
    about: dict[str, Any] | bytes = field(default_factory=dict)
    """What is told of the repository instead of the truth, or a page that is sent instead of it."""
    status: int = 0
    """Answer every request with this."""
    published: str = "2026-05-04T03:02:01.000Z"
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    """What happens to a file's next GETs, in order; the last one stays if ``stubborn``."""
    stubborn: bool = False
    served: dict[str, Content] = field(default_factory=dict)
    """What is really sent, where it differs from what is announced."""


@dataclass
class Hub:
    """The hub and what it was asked."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    """The Authorization of each request."""
    sent: Counter[str] = field(default_factory=Counter)
    """The bytes of each file's body that went out."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def downloads(self) -> list[str]:
        """The files whose bytes were asked for."""
        return [line.rsplit("/", 1)[1] for line in self.requests if line.startswith("GET") and "/resolve/" in line]


@contextmanager
def running_hub(port: int = 0) -> Iterator[Hub]:
    """Serve until the block ends."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with _Server(("127.0.0.1", port), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass

    def do_GET(self) -> None:
        self.answer()

    def do_HEAD(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        self.hub.tokens.append(self.headers.get("Authorization", ""))
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if parts[:2] == ["api", "models"] and (len(parts) == 4 or parts[4:5] == ["revision"]):
            self.about("/".join(parts[2:4]), parts[5] if len(parts) == 6 else None)
        elif parts[:2] == ["api", "models"] and len(parts) >= 6 and parts[4] in {"tree", "paths-info"}:
            self.tree("/".join(parts[2:4]), parts[5])
        elif len(parts) >= 5 and parts[2] == "resolve":
            self.resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self.error(404, "EntryNotFound", "no such page")

    def about(self, name: str, revision: str | None) -> None:
        repository = self.repository(name, revision)
        if repository is None:
            return
        blobs = parse_qs(urlsplit(self.path).query).get("blobs") == ["true"]
        siblings = [self.sibling(path, data, blobs=blobs) for path, data in repository.files.items()]
        told = {"id": name, "modelId": name, "sha": repository.revision, "lastModified": repository.published}
        lies = repository.about
        body = lies if isinstance(lies, bytes) else json.dumps({**told, "siblings": siblings, **lies}).encode()
        self.send(200, body, {"Content-Type": "application/json"})

    def tree(self, name: str, revision: str) -> None:
        """List the files, or those that a POST asks for, as mirrors and `hf cache verify` do."""
        asked = parse_qs(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()).get("paths")
        repository = self.repository(name, revision)
        if repository is None:
            return
        rows = [self.row(path, data) for path, data in repository.files.items() if asked is None or path in asked]
        self.send(200, json.dumps(rows).encode(), {"Content-Type": "application/json"})

    def row(self, path: str, data: Content) -> dict[str, Any]:
        size = size_of(data)
        if size < LFS_FROM:
            return {"type": "file", "path": path, "size": size, "oid": git_hash(data)}
        lfs = {"oid": sha256_of(data), "size": size, "pointerSize": 134}
        return {"type": "file", "path": path, "size": size, "oid": "0" * 40, "lfs": lfs}

    def sibling(self, path: str, data: Content, *, blobs: bool) -> dict[str, Any]:
        if not blobs:
            return {"rfilename": path}
        size = size_of(data)
        found: dict[str, Any] = {"rfilename": path, "size": size}
        if size >= LFS_FROM:
            found["lfs"] = {"sha256": sha256_of(data), "size": size, "pointerSize": 134}
        else:
            found["blobId"] = git_hash(data)
        return found

    def resolve(self, name: str, revision: str, path: str) -> None:
        repository = self.repository(name, revision)
        if repository is None:
            return
        if path not in repository.files:
            self.error(404, "EntryNotFound", "Entry not found")
            return
        announced = repository.files[path]
        large = size_of(announced) >= LFS_FROM
        headers = {
            "X-Repo-Commit": repository.revision,
            "ETag": f'"{sha256_of(announced) if large else git_hash(announced)}"',
            "X-Linked-Size": str(size_of(announced)),
            "Accept-Ranges": "bytes",
        }
        headers["X-Linked-ETag"] = headers["ETag"]
        served = repository.served.get(path, announced)
        fault = self.next_fault(repository, path)
        if fault is None:
            self.send_file(path, served, headers)
        else:
            self.go_wrong(fault, path, served, headers)

    def next_fault(self, repository: Repository, path: str) -> Fault | None:
        if self.command != "GET":
            return None
        with self.hub.lock:
            waiting = repository.faults.get(path, [])
            if not waiting:
                return None
            return waiting[0] if repository.stubborn and len(waiting) == 1 else waiting.pop(0)

    def go_wrong(self, fault: Fault, path: str, data: Content, headers: dict[str, str]) -> None:  # noqa: C901 - a table
        match fault.kind:
            case "status":
                self.send(fault.status, b"busy", fault.headers)
            case "html":
                self.send(200, b"<html>sign in</html>", {"Content-Type": "text/html; charset=utf-8"})
            case "loop":
                self.send(302, b"", {"Location": self.path})
            case "redirect":
                self.send(302, b"", {**headers, **fault.headers})
            case "etag":
                self.send_file(path, data, {**headers, "ETag": f'"{fault.at:040x}"'})
            case "whole":
                self.send_file(path, data, headers, whole=True)
            case "shift":
                self.send_file(path, data, headers, shift=fault.at)
            case "mislead":
                self.send_file(path, data, headers, shift=fault.at, honest=False)
            case "short":
                self.send_file(path, part_of(data, 0, fault.at), headers)
            case "packed":
                self.send_file(path, data, {**headers, "Content-Encoding": "gzip"})
            case "flip":
                self.send_file(path, flipped(data, fault.at), headers)
            case "endless":
                self.pour(path, headers)
            case "drip":
                self.send_file(path, data, headers, pause=fault.at / 1000)
            case "cut" | "reset":
                self.send_file(path, data, headers, cut=fault.at, reset=fault.kind == "reset")
            case unknown:
                raise ValueError(unknown)

    def send_file(
        self,
        path: str,
        data: Content,
        headers: dict[str, str],
        *,
        whole: bool = False,
        shift: int = 0,
        honest: bool = True,
        cut: int | None = None,
        reset: bool = False,
        pause: float = 0,
    ) -> None:
        """Send a file, or the range that was asked for, with whatever is wrong with it."""
        size = size_of(data)
        start, stop, status = 0, size, 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and not whole:
            start, status = int(asked[1]), 206
            stop = min(size, int(asked[2]) + 1) if asked[2] else size
            if start >= size:
                self.send(416, b"", {"Content-Range": f"bytes */{size}"})
                return
            shift = max(-start, min(shift, size - stop))
            told = shift if honest else 0
            headers = {**headers, "Content-Range": f"bytes {start + told}-{stop + told - 1}/{size}"}
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(stop - start)}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.send_body(path, data, start + shift, stop + shift, cut, pause)
            if cut is not None:
                self.close_connection = True
                if reset:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def send_body(self, path: str, data: Content, start: int, stop: int, cut: int | None, pause: float) -> None:
        stop = stop if cut is None else min(stop, start + cut)
        step = 1 if pause else 256 << 10
        while start < stop:
            block = part_of(data, start, min(stop, start + step))
            self.wfile.write(block)
            start += len(block)
            with self.hub.lock:
                self.hub.sent[path] += len(block)
            time.sleep(pause)

    def pour(self, path: str, headers: dict[str, str]) -> None:
        """Send until nobody takes it any more."""
        self.send_response(200)
        for key, value in {**headers, "Transfer-Encoding": "chunked"}.items():
            self.send_header(key, value)
        self.end_headers()
        self.close_connection = True
        block = b"x" * 65536
        while True:
            self.wfile.write(b"10000\r\n" + block + b"\r\n")
            with self.hub.lock:
                self.hub.sent[path] += len(block)

    def repository(self, name: str, revision: str | None) -> Repository | None:
        """Find the repository, or send the hub's own answer for why not."""
        repository = self.hub.repositories.get(name)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repository is None:
            self.error(404 if token else 401, "RepoNotFound", "Repository not found")
        elif repository.status:
            self.error(repository.status, "", "something is wrong here")
        elif repository.gated:
            self.error(403, "GatedRepo", "Access to this model is restricted")
        elif repository.token and token and token != repository.token:
            self.error(401, "", "Invalid credentials in Authorization header")
        elif repository.token and not token:
            self.error(401, "RepoNotFound", "Repository not found")
        elif repository.forbidden:
            self.error(403, "", "this token has no such right")
        elif revision not in {None, "main", repository.revision}:
            self.error(404, "RevisionNotFound", "Invalid rev id")
        else:
            return repository
        return None

    def error(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.send(status, json.dumps({"error": message}).encode(), headers)

    def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is none."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def part_of(data: Content, start: int, stop: int) -> bytes:
    """A part of a file."""
    return data.read(start, stop) if isinstance(data, Made) else data[start:stop]


def flipped(data: Content, at: int) -> bytes:
    """A file with one byte changed."""
    whole = bytearray(part_of(data, 0, size_of(data)))
    whole[at] ^= 1
    return bytes(whole)


def size_of(data: Content) -> int:
    """A file's bytes."""
    return data.size if isinstance(data, Made) else len(data)


@cache
def sha256_of(data: Content) -> str:
    """A file's hash, taken once."""
    return data.sha256 if isinstance(data, Made) else hashlib.sha256(data).hexdigest()


def git_hash(data: Content) -> str:
    """The name that git gives a file."""
    whole = part_of(data, 0, size_of(data))
    return hashlib.sha1(b"blob %d\0" % len(whole) + whole, usedforsecurity=False).hexdigest()
