"""The log: private, turned over by size, read over the turn, followed as it grows."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from voxtral_ops.server.logfile import LogFile, follow, tail


def test_private_even_where_it_was_not(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.touch(mode=0o644)
    LogFile(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_turns_over_and_is_read_over_the_turn(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    log = LogFile(path, limit=100)
    for number in range(20):
        log.write(f"line {number:02d}")
    log.close()
    assert path.stat().st_size <= 100
    assert (tmp_path / "a.log.1").stat().st_size <= 100
    assert tail(path, 13) == tuple(f"line {number:02d}" for number in range(7, 20))


def test_no_log_yet(tmp_path: Path) -> None:
    assert tail(tmp_path / "none.log", 5) == ()


@pytest.mark.timeout(20)
def test_followed_over_the_turn(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    log = LogFile(path, limit=60)
    log.write("before")
    todo = [f"line {number}" for number in range(12)]
    heard: list[str] = []

    def go_on() -> bool:
        if todo and len(heard) == 12 - len(todo):
            log.write(todo.pop(0))
        return len(heard) < 12

    for line in follow(path, go_on, pause=0.001):
        heard.append(line)
    log.close()
    assert heard == [f"line {number}" for number in range(12)]
