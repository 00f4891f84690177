"""How long a fetch goes on trying, and how fast it may be."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from voxtral_ops.errors import CapacityError, NetworkError, VoxtralError

AT_FIRST = 3
"""Attempts while nothing has come yet: a wrong address should not take a minute to say."""
ATTEMPTS = 8
"""Attempts in a row that bring next to nothing; they last about a minute, which a hub's restart takes."""
PROGRESS = 64 << 10
"""So many bytes fill the budget again."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 20.0
LONGEST_REQUEST = 120.0
"""A server that asks us to stay away for longer is told to the person instead."""


class Patience:
    """A budget of attempts. Only what comes fills it again, so that a fetch ends whatever a server does."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._failures = 0
        self._since = 0
        self._begun = False

    def got(self, count: int) -> None:
        """Note that bytes came."""
        self._begun = True
        self._since += count
        if self._since >= PROGRESS:
            self._failures = self._since = 0

    def pause(self, error: VoxtralError) -> None:
        """Wait before the next attempt, or raise ``error`` where another one is of no use."""
        if not isinstance(error, NetworkError | CapacityError):
            raise error
        self._failures += 1
        asked = error.details.get("after")
        allowed = ATTEMPTS if self._begun or asked is not None else AT_FIRST
        if self._failures >= allowed or (asked or 0.0) > LONGEST_REQUEST:
            raise error
        seconds = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self._failures - 1)) * random.uniform(0.75, 1.25)  # noqa: S311
        seconds = max(seconds, asked or 0.0)
        self._tell(f"{error.message}; attempt {self._failures + 1} of {allowed} in {seconds:.0f} s")
        time.sleep(seconds)


class Limit:
    """A bandwidth that several threads share: each waits until what it got is paid for."""

    def __init__(self, bytes_per_second: int | None) -> None:
        self._rate = bytes_per_second
        self._lock = threading.Lock()
        self._paid = time.monotonic()

    def take(self, count: int) -> None:
        """Account for bytes that came, and wait."""
        if self._rate is None:
            return
        with self._lock:
            now = time.monotonic()
            self._paid = max(self._paid, now) + count / self._rate
            seconds = self._paid - now
        time.sleep(seconds)
