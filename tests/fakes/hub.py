"""A model hub on this machine: the standard library's server, the hub's real routes, headers and errors."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LFS_FROM = 1000
"""Files of this size and more are kept in LFS, whose sha256 the hub tells; of smaller ones it tells a git hash."""


@dataclass
class Repository:
    """One model repository and how it misbehaves."""

    files: dict[str, bytes]
    revision: str = "b" * 40
    token: str | None = None
    """Only this token may read it."""
    gated: bool = False
    forbidden: bool = False
    status: int = 0
    """Answer every request with this."""
    served: dict[str, bytes] = field(default_factory=dict)
    """What is really sent, where it differs from what is announced."""
    cut: dict[str, int] = field(default_factory=dict)
    """Close the line once, after so many bytes of a file's body."""


@dataclass
class Hub:
    """The hub and what it was asked."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def downloads(self) -> list[str]:
        """The files whose bytes were asked for."""
        return [line.rsplit("/", 1)[1] for line in self.requests if line.startswith("GET") and "/resolve/" in line]


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Serve until the block ends."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
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

    def answer(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if parts[:2] == ["api", "models"] and len(parts) in {4, 6}:
            self.about("/".join(parts[2:4]), parts[5] if len(parts) == 6 else None)
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
        body = json.dumps({"id": name, "modelId": name, "sha": repository.revision, "siblings": siblings}).encode()
        self.send(200, body, {"Content-Type": "application/json"})

    def sibling(self, path: str, data: bytes, *, blobs: bool) -> dict[str, Any]:
        if not blobs:
            return {"rfilename": path}
        found: dict[str, Any] = {"rfilename": path, "size": len(data), "blobId": git_hash(data)}
        if len(data) >= LFS_FROM:
            found["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        return found

    def resolve(self, name: str, revision: str, path: str) -> None:
        repository = self.repository(name, revision)
        if repository is None:
            return
        if path not in repository.files:
            self.error(404, "EntryNotFound", "Entry not found")
            return
        announced = repository.files[path]
        etag = hashlib.sha256(announced).hexdigest() if len(announced) >= LFS_FROM else git_hash(announced)
        headers = {
            "X-Repo-Commit": repository.revision,
            "ETag": f'"{etag}"',
            "X-Linked-Size": str(len(announced)),
            "X-Linked-ETag": f'"{etag}"',
            "Accept-Ranges": "bytes",
        }
        self.send(
            200,
            repository.served.get(path, announced),
            headers,
            cut=repository.cut.pop(path, None) if self.command == "GET" else None,
        )

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

    def send(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        start = 0
        asked = self.headers.get("Range", "")
        if status == 200 and asked.startswith("bytes="):
            start = int(asked[6:].split("-")[0])
            status = 206
            headers = {**headers, "Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[start:] if cut is None else body[start:cut])
            self.close_connection = cut is not None or self.close_connection


def git_hash(data: bytes) -> str:
    """The name that git gives a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
