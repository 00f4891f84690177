"""Wait until a server answers: ``python -m voxtral_ops.server.ready URL``. Standard library only."""

from __future__ import annotations

import argparse
import http.client
import os
import sys
import time
from urllib.parse import urlsplit


def health(url: str, timeout: float) -> int | None:
    """The status of ``/health``, or None when nobody answers."""
    return _get(url, "/health", timeout)


def is_ready(url: str, timeout: float = 5.0) -> bool:
    """Whether the server is healthy and names its models."""
    # A key guards /v1: being asked for it is an answer too.
    return health(url, timeout) == 200 and _get(url, "/v1/models", timeout) in {200, 401}


def wait_until_ready(url: str, timeout: float, pid: int | None = None, pause: float = 0.5) -> bool:
    """Ask until the server is ready, the time is over, or the process that should serve is gone."""
    deadline = time.monotonic() + timeout
    while True:
        if is_ready(url):
            return True
        if time.monotonic() >= deadline or (pid is not None and not _lives(pid)):
            return False
        time.sleep(pause)


def main(argv: list[str] | None = None) -> int:
    """0 when the server is ready, 1 when it is not in time."""
    parser = argparse.ArgumentParser(prog="voxtral-ready", description="Wait until a server answers.")
    parser.add_argument("url")
    parser.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS")
    parser.add_argument("--pid", type=int, help="give up at once when this process is gone")
    args = parser.parse_args(argv)
    if wait_until_ready(args.url, args.timeout, args.pid):
        return 0
    sys.stderr.write(f"{args.url} was not ready\n")
    return 1


def _get(url: str, path: str, timeout: float) -> int | None:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    # Straight to the server: proxies of the environment are for the world outside.
    connection = kind(parts.hostname or "127.0.0.1", parts.port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        return None
    else:
        return response.status
    finally:
        connection.close()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
