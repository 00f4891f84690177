"""A server that systemd keeps running: asked through systemctl and journalctl."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from voxtral_ops.errors import HostError, ServerError
from voxtral_ops.planning.plan import Instance
from voxtral_ops.server import proc
from voxtral_ops.server.diagnosis import explain, last_words
from voxtral_ops.server.launch import load_instance
from voxtral_ops.server.manager import START_SECONDS, ServerEvent
from voxtral_ops.server.phases import StartProgress
from voxtral_ops.server.ready import health
from voxtral_ops.server.status import ServerStatus, State

_UNITS = Path("/etc/systemd/system")
_PREFIX = "voxtral-engine@"
_PROPERTIES = ("ActiveState", "SubState", "MainPID", "NRestarts", "Result", "StateChangeTimestampMonotonic")


def unit_file(release: str, instance: str) -> Path:
    """Where the unit of an instance of a release lies."""
    return _UNITS / f"{_PREFIX}{release}-{instance}.service"


def active_units() -> tuple[str, ...]:
    """The units of ours that run, start or stop now."""
    listed = _run("systemctl", "list-units", "--plain", "--no-legend", "--full", f"{_PREFIX}*.service")
    rows = [line.split() for line in listed.splitlines()]
    return tuple(row[0] for row in rows if len(row) > 2 and row[2] not in {"inactive", "failed"})


class SystemdService:
    """One unit."""

    supervisor = "systemd"

    def __init__(self, unit: str, directory: Path) -> None:
        self.unit = unit
        self.name = directory.name
        self._directory = directory

    @classmethod
    def of_unit(cls, unit: str, releases: Path) -> SystemdService:
        """The service of a unit that was found running: its name ends in the instance's."""
        stem = unit.removeprefix(_PREFIX).removesuffix(".service")
        for directory in releases.glob("*/instances/*"):
            if f"{directory.parents[1].name}-{directory.name}" == stem:
                return cls(unit, directory)
        # The release is gone: its name ends in eight digits of a digest, and instances may have dashes of their own.
        parts = re.fullmatch(r"(.+-[0-9a-f]{8})-(.+)", stem)
        release, name = parts.groups() if parts else (stem, stem)
        return cls(unit, releases / release / "instances" / name)

    def status(self) -> ServerStatus:
        """How it is now: what systemd says, and whether the server answers."""
        shown = dict(
            line.partition("=")[::2] for line in _run("systemctl", "show", self.unit, *_options()).splitlines()
        )
        instance = self._instance()
        url = instance.url if instance else ""
        pid = int(shown.get("MainPID", "0")) or None
        below = proc.descendants(pid) if pid else ()
        state = _state(shown, answers=bool(url) and health(url, 2.0) == 200)
        cause, hint = "", ""
        words: tuple[str, ...] = ()
        if state in {"failed", "restarting"}:
            words = last_words(self.logs(200))
            cause, hint = explain(words)
            cause = cause or f"systemd says: {shown.get('Result', 'failed')}"
        return ServerStatus(
            name=self.name,
            state=state,
            url=url,
            model=instance.model if instance else "",
            served_name=instance.served_name if instance else "",
            release=self._directory.parents[1].name,
            directory=str(self._directory),
            pid=pid,
            engine_pids=below,
            since=_wall_clock(int(shown.get("StateChangeTimestampMonotonic", "0"))),
            restarts=int(shown.get("NRestarts", "0") or 0),
            last_words=words,
            cause=cause,
            hint=hint,
            memory=proc.memory((pid, *below)) if pid else None,
        )

    def start(
        self, on_event: Callable[[ServerEvent], None] | None = None, timeout: float = START_SECONDS
    ) -> ServerStatus:
        """Start the unit and return when the server answers. Raises ServerError when it does not."""
        _run("systemctl", "start", "--no-block", self.unit)
        deadline = time.monotonic() + timeout
        while True:
            status = self.status()
            if status.is_serving:
                return status
            if status.state == "failed":
                raise ServerError(
                    f"{self.name} died while starting: {status.cause}",
                    hint=status.hint or f"journalctl -u {self.unit} has its last words",
                    last_words=list(status.last_words),
                )
            if time.monotonic() > deadline:
                raise ServerError(f"{self.name} was not ready after {timeout:.0f} s", hint=f"journalctl -u {self.unit}")
            if on_event is not None:
                phase = self._phase()
                on_event(ServerEvent(status.state, phase[0], f"{self.name}: {phase[1]}", None))
            time.sleep(1.0)

    def stop(self) -> ServerStatus:
        """Drain and stop the unit."""
        _run("systemctl", "stop", self.unit)
        return self.status()

    def logs(self, lines: int = 100) -> tuple[str, ...]:
        """The journal's last lines of this unit."""
        text = _run("journalctl", "-u", self.unit, "-n", str(lines), "-o", "cat", "--no-pager")
        return tuple(text.splitlines())

    def follow(self) -> Iterator[str]:
        """The journal's lines as they come, without end."""
        command = ["journalctl", "-u", self.unit, "-n", "0", "-f", "-o", "cat", "--no-pager"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", errors="replace") as journal:
            assert journal.stdout is not None
            try:
                for line in journal.stdout:
                    yield line.rstrip("\n")
            finally:
                journal.terminate()

    def _phase(self) -> tuple[str, str]:
        progress = StartProgress(time.monotonic)
        for line in self.logs(200):
            progress.feed(line)
        return progress.phase.name, progress.phase.title

    def _instance(self) -> Instance | None:
        path = self._directory / "instance.json"
        return load_instance(path) if path.exists() else None


def _state(shown: dict[str, str], *, answers: bool) -> State:
    active, sub = shown.get("ActiveState", ""), shown.get("SubState", "")
    if active == "active":
        return "serving" if answers else "starting"
    if active == "activating":
        return "restarting" if sub == "auto-restart" else "starting"
    states: dict[str, State] = {"deactivating": "draining", "failed": "failed"}
    return states.get(active, "stopped")


def _options() -> list[str]:
    return [f"--property={name}" for name in _PROPERTIES]


def _wall_clock(monotonic_us: int) -> float:
    return time.time() - (time.monotonic() - monotonic_us / 1e6) if monotonic_us else 0.0


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    except FileNotFoundError as error:
        raise HostError(f"{command[0]} is not installed", hint="this host has no systemd") from error
    if done.returncode != 0:
        words = done.stderr.strip() or f"status {done.returncode}"
        raise HostError(f"{' '.join(command[:2])}: {words}", hint="as root, or with sudo", command=list(command))
    return done.stdout
