"""What the kernel knows of processes: who lives, who descends from whom, who listens on a port."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

_PROC = Path("/proc")
_LISTENING = "0A"


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when it is gone or a zombie.

    A process is known by pid *and* start time: pids are used again.
    """
    fields = _stat(pid)
    if fields is None or fields[0] in {"Z", "X"}:
        return None
    return int(fields[19])


def is_alive(pid: int, started: int | None) -> bool:
    """Whether that very process still runs."""
    now = start_time(pid)
    return now is not None and (started is None or now == started)


def pids() -> Iterator[int]:
    """Every process that can be seen."""
    for entry in os.scandir(_PROC):
        if entry.name.isdigit():
            yield int(entry.name)


def descendants(root: int) -> tuple[int, ...]:
    """Children, grandchildren and so on of a process, zombies left out."""
    children: dict[int, list[int]] = {}
    for pid in pids():
        fields = _stat(pid)
        if fields is not None and fields[0] not in {"Z", "X"}:
            children.setdefault(int(fields[1]), []).append(pid)
    found: list[int] = []
    queue = [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return tuple(sorted(found))


def children(parent: int) -> tuple[int, ...]:
    """The direct children of a process, oldest first."""
    found = [(int(fields[19]), pid) for pid in pids() if (fields := _stat(pid)) and int(fields[1]) == parent]
    return tuple(pid for _, pid in sorted(found))


def command(pid: int) -> str:
    """The command line, or the short name where the kernel does not say; empty when it is gone."""
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
        line = b" ".join(word for word in words if word).decode(errors="replace")
        return line or (_PROC / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def environment_value(pid: int, name: str) -> str | None:
    """One variable of the environment that a process was started with; None when unset or not ours to see."""
    try:
        block = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return None
    prefix = name.encode() + b"="
    for entry in block.split(b"\0"):
        if entry.startswith(prefix):
            return entry[len(prefix) :].decode(errors="replace")
    return None


def marked(name: str, value: str) -> tuple[int, ...]:
    """The live processes that were started with this variable set to this value."""
    return tuple(pid for pid in pids() if environment_value(pid, name) == value and start_time(pid) is not None)


def memory(processes: Iterable[int]) -> int:
    """Bytes that these processes use together; shared pages count once where the kernel says so (PSS)."""
    return sum(_memory(pid) for pid in processes)


def listener(port: int) -> tuple[int, ...] | None:
    """Who listens on a TCP port: None when nobody does, an empty tuple when it cannot be seen who."""
    inodes = {inode for table in ("tcp", "tcp6") for inode in _listening(table, port)}
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    return tuple(pid for pid in pids() if wanted & set(_open_files(pid)))


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could bind there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As vLLM does it: connections in TIME_WAIT of the server before do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _stat(pid: int) -> list[str] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold anything; the fields begin after the last one.
    return text.rpartition(")")[2].split()


def _memory(pid: int) -> int:
    for file, key in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            lines = (_PROC / str(pid) / file).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    return 0


def _listening(table: str, port: int) -> Iterator[str]:
    try:
        lines = (_PROC / "net" / table).read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return
    for line in lines:
        fields = line.split()
        if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
            yield fields[9]


def _open_files(pid: int) -> Iterator[str]:
    try:
        entries = list((_PROC / str(pid) / "fd").iterdir())
    except OSError:
        return
    for entry in entries:
        try:
            yield str(entry.readlink())
        except OSError:
            continue
