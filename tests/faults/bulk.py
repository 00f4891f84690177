"""A hub for big files: several revisions from a folder, ranges, a rate limit, and a count of every byte that left."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.fakes.hub import LFS_FROM, git_hash

PIECE = 1 << 16
BUFFER = 1 << 17
"""What the kernel may hold of an answer: sent, and perhaps never read by a client that was killed."""


@dataclass
class BulkHub:
    """What it has and what it gave away. ``root`` holds ``<revision>/<file>``; the repository's name is anything."""

    root: Path
    url: str = ""
    rate: float = 0.0
    """Bytes a second over all lines together; 0 is as fast as it goes."""
    sent: int = 0
    requests: list[str] = field(default_factory=list)
    hashes: dict[Path, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    due: float = 0.0

    def pay(self, count: int) -> None:
        """Note bytes that left, and wait until the next may."""
        with self.lock:
            self.sent += count
            if not self.rate:
                return
            self.due = max(self.due, time.monotonic()) + count / self.rate
            wait = self.due - time.monotonic()
        time.sleep(max(0.0, wait))

    def etag(self, path: Path) -> str:
        """The hub's name for a file's contents."""
        if path not in self.hashes:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            self.hashes[path] = digest if path.stat().st_size >= LFS_FROM else git_hash(path.read_bytes())
        return self.hashes[path]


@contextmanager
def bulk_hub(root: Path) -> Iterator[BulkHub]:
    """Serve until the block ends."""
    hub = BulkHub(root)
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
    hub: BulkHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        revision = parts[3] if "resolve" in parts else parts[5] if len(parts) >= 6 else "main"
        folder = self.hub.root / revision if revision != "main" else max(self.hub.root.iterdir())
        if parts[:2] == ["api", "models"] and folder.is_dir():
            self.about("/".join(parts[2:4]), folder, tree=len(parts) >= 5 and parts[4] == "tree")
        elif len(parts) >= 5 and parts[2] == "resolve" and (folder / "/".join(parts[4:])).is_file():
            self.file(folder / "/".join(parts[4:]))
        else:
            self.answer(404, b"{}", {"X-Error-Code": "EntryNotFound" if folder.is_dir() else "RevisionNotFound"})

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self.hub.requests.append(f"POST {self.path}")
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        folder = self.hub.root / parts[5]
        names = json.loads(asked)["paths"] if asked.startswith("{") else parse_qs(asked)["paths"]
        found = [self.entry(folder / name, "path") for name in names if (folder / name).is_file()]
        self.answer(200, json.dumps(found).encode(), {"Content-Type": "application/json"})

    def about(self, name: str, folder: Path, *, tree: bool) -> None:
        files = [self.entry(path, "path" if tree else "rfilename") for path in sorted(folder.iterdir())]
        whole: Any = files if tree else {"id": name, "modelId": name, "sha": folder.name, "siblings": files}
        self.answer(200, json.dumps(whole).encode(), {"Content-Type": "application/json"})

    def entry(self, path: Path, key: str) -> dict[str, Any]:
        size, etag = path.stat().st_size, self.hub.etag(path)
        entry = {key: path.name, "type": "file", "size": size, "oid": etag, "blobId": etag}
        if size >= LFS_FROM:
            entry["lfs"] = {"oid": etag, "sha256": etag, "size": size, "pointerSize": 134}
        return entry

    def file(self, path: Path) -> None:
        size, etag = path.stat().st_size, self.hub.etag(path)
        headers = {"X-Repo-Commit": path.parent.name, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        headers |= {"X-Linked-Size": str(size), "X-Linked-ETag": f'"{etag}"'}
        start, end, status = 0, size, 200
        asked = self.headers.get("Range", "")
        if asked.startswith("bytes="):
            first, _, last = asked[6:].partition("-")
            start, end, status = int(first), min(size, int(last) + 1) if last else size, 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        self.head(status, end - start, headers)
        if self.command == "GET":
            self.pour(path, start, end)

    def pour(self, path: Path, start: int, end: int) -> None:
        piece = PIECE if self.hub.rate else 1 << 22
        self.wfile.flush()
        if self.hub.rate:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        with path.open("rb") as stream:
            while start < end:
                count = os.sendfile(self.connection.fileno(), stream.fileno(), start, min(piece, end - start))
                start += count
                self.hub.pay(count)

    def head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(key, value)
        self.end_headers()

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.head(status, len(body), headers)
        if self.command != "HEAD":
            self.wfile.write(body)
            self.hub.pay(len(body))

    def handle(self) -> None:
        # A client that was killed is what this hub is for.
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
