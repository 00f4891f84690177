"""Where things live on a host: one layout for a system, one for an ordinary user."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Layout:
    """The directories of one installation. Nothing is created by looking at it."""

    scope: Literal["system", "user"]
    home: Path
    """Engines, toolkits, releases and the link ``current``."""
    models: Path
    """``<repository>/<revision>/`` with ``manifest.json`` beside the weights."""
    config: Path
    state: Path
    """Status files, logs, what a release was judged."""
    cache: Path
    runtime: Path
    """Pid files and sockets; gone after a reboot."""

    @property
    def engines(self) -> Path:
        """Virtual environments that hold vLLM, one per lock."""
        return self.home / "engines"

    @property
    def toolkits(self) -> Path:
        """Virtual environments that hold this package, one per version."""
        return self.home / "toolkits"

    @property
    def whisper(self) -> Path:
        """Virtual environments that hold the fallback's engine, one per lock."""
        return self.home / "whisper"

    @property
    def releases(self) -> Path:
        """``<id>/plan.json`` and ``<id>/instances/<name>/``."""
        return self.home / "releases"

    @property
    def current(self) -> Path:
        """The one atomic link: the release that is served."""
        return self.home / "current"

    @property
    def logs(self) -> Path:
        """What the servers say, one file per instance."""
        return self.state / "logs"


def system_layout() -> Layout:
    """The layout of a provisioned host, after the Filesystem Hierarchy Standard 3.0."""
    return Layout(
        scope="system",
        home=Path("/opt/voxtral"),
        models=Path("/var/lib/voxtral/models"),
        config=Path("/etc/voxtral"),
        state=Path("/var/lib/voxtral/state"),
        cache=Path("/var/cache/voxtral"),
        runtime=Path("/run/voxtral"),
    )


def user_layout() -> Layout:
    """The layout of an ordinary user, after the XDG Base Directory Specification 0.8."""
    data = _xdg("XDG_DATA_HOME", ".local/share")
    state = _xdg("XDG_STATE_HOME", ".local/state")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Layout(
        scope="user",
        home=data,
        models=data / "models",
        config=_xdg("XDG_CONFIG_HOME", ".config"),
        state=state,
        cache=_xdg("XDG_CACHE_HOME", ".cache"),
        runtime=Path(runtime) / "voxtral" if runtime else state / "run",
    )


def default_layout() -> Layout:
    """System for root, user for everybody else."""
    return system_layout() if os.geteuid() == 0 else user_layout()


def _xdg(variable: str, fallback: str) -> Path:
    base = os.environ.get(variable, "")
    # The specification says to ignore relative paths.
    return (Path(base) if base.startswith("/") else Path.home() / fallback) / "voxtral"
