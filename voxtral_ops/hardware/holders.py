"""Who listens on which TCP port of this machine, from /proc alone. Part of the probe: standard library only."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

LISTEN = "0A"
COMMAND_LENGTH = 400
TITLE = b"VLLM::"


def listeners(proc: Path = Path("/proc")) -> list[dict[str, Any]]:
    """List the listening ports with the process that holds each, where this user may see it."""
    ports = _listening(proc)
    owners = _owners(proc, set(ports))
    found = {}
    for socket, port in ports.items():
        pid = owners.get(socket)
        holder = {"port": port, "pid": pid, "command": command_of(proc / str(pid))} if pid else {"port": port}
        # A port is often listed twice, for both versions of IP.
        if pid or port not in found:
            found[port] = holder
    return [found[port] for port in sorted(found)]


def _listening(proc: Path) -> dict[str, int]:
    found = {}
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            if words[3] == LISTEN:
                found[f"socket:[{words[9]}]"] = int(words[1].rsplit(":", 1)[1], 16)
    return found


def _owners(proc: Path, sockets: set[str]) -> dict[str, int]:
    owners: dict[str, int] = {}
    for folder in proc.glob("[0-9]*"):
        try:
            # A server's children inherit its socket: the smallest number is the parent's.
            for descriptor in (folder / "fd").iterdir():
                target = str(descriptor.readlink())
                if target in sockets:
                    owners[target] = min(int(folder.name), owners.get(target, int(folder.name)))
        except OSError:
            continue  # gone, or another user's
    return owners


def command_of(folder: Path) -> str:
    """Name the process of this folder of /proc, without its options."""
    try:
        words = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return "a process that just ended"
    if words[0].startswith(TITLE):
        # vLLM's processes rename themselves: the one that started them tells where they run from.
        parent = _parent(folder)
        return f"{words[0].decode(errors='replace')} of {command_of(parent)}"[:COMMAND_LENGTH]
    # Options may carry secrets, and a profile is published: the program and what it works on are enough.
    spoken = itertools.takewhile(lambda word: not word.startswith(b"-"), words)
    return b" ".join(spoken).decode(errors="replace")[:COMMAND_LENGTH]


def _parent(folder: Path) -> Path:
    # The program's name may hold anything; what follows its last bracket is the state, then the parent.
    try:
        stat = (folder / "stat").read_bytes()
    except OSError:
        return folder / "gone"
    return folder.parent / stat.rpartition(b")")[2].split()[1].decode()
