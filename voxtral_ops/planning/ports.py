"""Who listens on a TCP port of this machine, from /proc alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
LISTEN = "0A"


@dataclass(frozen=True)
class Holder:
    """Whoever listens. ``pid`` is None where this user may not see the process."""

    pid: int | None
    command: str


def port_holder(port: int, proc: Path = PROC) -> Holder | None:
    """Find the process that listens on ``port``, or None where nobody does."""
    sockets = _listening(port, proc)
    if not sockets:
        return None
    for folder in proc.glob("[0-9]*"):
        if _owns(folder, sockets):
            return Holder(int(folder.name), _command(folder))
    return Holder(None, "a process of another user")


def _listening(port: int, proc: Path) -> set[str]:
    found = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            if words[3] == LISTEN and int(words[1].rsplit(":", 1)[1], 16) == port:
                found.add(f"socket:[{words[9]}]")
    return found


def _owns(folder: Path, sockets: set[str]) -> bool:
    try:
        return any(str(descriptor.readlink()) in sockets for descriptor in (folder / "fd").iterdir())
    except OSError:
        return False  # gone, or another user's


def _command(folder: Path) -> str:
    try:
        words = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return "a process that just ended"
    return b" ".join(words).decode(errors="replace")
