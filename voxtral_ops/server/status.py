"""What is known of one server, and the file that the supervisor keeps it in."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

State = Literal["starting", "serving", "restarting", "draining", "stopped", "failed"]
LIVE: frozenset[State] = frozenset({"starting", "serving", "restarting", "draining"})
"""The states in which a supervisor runs."""


class ServerStatus(BaseModel):
    """One server as its supervisor last saw it. Times in seconds since 1970, memory in bytes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    state: State
    url: str = ""
    model: str = ""
    served_name: str = ""
    release: str = ""
    directory: str = ""
    digest: str = ""
    """Of what the server was started from; a different one means that a restart is due."""
    supervisor_pid: int | None = None
    supervisor_started: int | None = None
    """In clock ticks since boot: tells this supervisor from a later process with the same pid."""
    pid: int | None = None
    """vLLM's API server."""
    engine_pids: tuple[int, ...] = ()
    """Its engine core and workers."""
    since: float = 0.0
    """When this state began."""
    restarts: int = 0
    """How often the server was started anew after it had died, since the supervisor began."""
    phase: str = ""
    fraction: float | None = None
    """How far the start is, from the durations of the start before; None where nothing is being started."""
    start_seconds: float | None = None
    """How long the last start took."""
    start_phases: dict[str, float] = {}
    """The seconds of its phases: what the next start's ``fraction`` is reckoned from."""
    last_words: tuple[str, ...] = ()
    """vLLM's own last lines when it died the last time; kept while it serves again."""
    cause: str = ""
    """Why it died the last time, and in ``hint`` what to do about it."""
    hint: str = ""
    memory: int | None = None
    """What its processes use now; filled in by whoever asks, never kept."""

    @property
    def is_serving(self) -> bool:
        """Whether requests are answered now."""
        return self.state == "serving"


def write_status(path: Path, status: ServerStatus) -> None:
    """Replace the file in one step."""
    write_atomically(path, status.model_dump_json(exclude={"memory"}, indent=1) + "\n")


def read_status(path: Path) -> ServerStatus | None:
    """What the file says, or None where there is none, or one of another version."""
    try:
        return ServerStatus.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def write_atomically(path: Path, text: str) -> None:
    """Temporary file beside it, fsync, rename: a reader sees the old text or the new, never half."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
