"""VLLMServerManager: start, watch and stop one vLLM server on a machine without systemd."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from voxtral_ops.ansible_plugins.module_utils.voxtral_progress import report
from voxtral_ops.errors import HostError, ServerError
from voxtral_ops.paths import Layout
from voxtral_ops.server import proc
from voxtral_ops.server.engine import MARK
from voxtral_ops.server.launch import Launch, read_instance
from voxtral_ops.server.logfile import tail
from voxtral_ops.server.phases import PHASES
from voxtral_ops.server.pidfile import read_pid
from voxtral_ops.server.status import LIVE, ServerStatus, read_status, write_status

START_SECONDS = 900.0
_POLL = 0.1
_TITLES = {phase.name: phase.title for phase in PHASES}


@dataclass(frozen=True)
class ServerEvent:
    """What a start is doing: one line for a person, and how far it is."""

    state: str
    phase: str
    message: str
    fraction: float | None


class VLLMServerManager:
    """One instance's server. Everything it knows is on disk: any number of managers may look at it.

    ::

        manager = VLLMServerManager(layout.current / "instances" / "main", layout)
        manager.start(on_event=print)
        print(manager.status().url)
        manager.stop()
    """

    def __init__(self, instance_dir: Path, layout: Layout) -> None:
        # Not the link `current`: what is running must keep its own directory when the link moves.
        self._directory = instance_dir.resolve()
        self._layout = layout
        self.name = instance_dir.name
        self._state = layout.state / "instances" / self.name
        self.status_path = self._state / "status.json"
        self.log_path = layout.logs / f"{self.name}.log"
        self.pid_path = layout.runtime / f"{self.name}.pid"

    def start(
        self, on_event: Callable[[ServerEvent], None] | None = None, timeout: float = START_SECONDS
    ) -> ServerStatus:
        """Start the server and return when it answers. One that runs from the same files is left alone.

        Raises HostError when somebody else has the port, ServerError when it dies or is not ready in time;
        then, and on Ctrl-C, nothing that this call started is left behind.
        """
        launch = self._prepare_folders()
        before = self.status()
        if before.state in LIVE and before.digest != launch.digest:
            _tell(on_event, ServerEvent("draining", "", f"{self.name}: stopping the one that runs", None))
            self.stop()
        ours = False
        try:
            with self._turn():
                if self.status().state not in LIVE:
                    ours = True
                    self._clear(launch)
                    ours = self._spawn()
            return self._wait(on_event, timeout)
        except BaseException:
            if ours:
                self._end(timeout=5.0)
            raise

    def stop(self, timeout: float | None = None) -> ServerStatus:
        """Drain and stop; after ``timeout`` seconds kill. Leaves no process and no port."""
        self._end(timeout)
        status = self.status()
        if status.state == "failed":
            status = _blank(status, "stopped")
            write_status(self.status_path, status)
        return status

    def _end(self, timeout: float | None) -> None:
        """End all processes. A server that has failed stays failed, so that its last words can be read."""
        pid = read_pid(self.pid_path)
        if pid is not None:
            limit = self._drain_limit() if timeout is None else timeout
            _signal(pid, signal.SIGTERM)
            if not _gone(pid, limit):
                # The kernel tells the guardian, which ends everything below it.
                _signal(pid, signal.SIGKILL)
                _gone(pid, 5.0)
        if not self._state.exists():
            return
        with self._turn():
            if read_pid(self.pid_path) is None:
                self._sweep()
                status = read_status(self.status_path)
                if status and status.state in LIVE:
                    write_status(self.status_path, _blank(status, "stopped"))

    def restart(
        self, on_event: Callable[[ServerEvent], None] | None = None, timeout: float = START_SECONDS
    ) -> ServerStatus:
        """Drain, stop and start."""
        self.stop()
        return self.start(on_event, timeout)

    def status(self) -> ServerStatus:
        """How the server is now. A status file whose supervisor is gone is not believed."""
        status = read_status(self.status_path)
        if status is None:
            return ServerStatus(name=self.name, state="stopped")
        supervisor = status.supervisor_pid
        if status.state in LIVE and not (supervisor and proc.is_alive(supervisor, status.supervisor_started)):
            return _blank(status, "failed").model_copy(
                update={
                    "cause": f"its supervisor (process {supervisor}) was killed",
                    "hint": "start it again: `voxtral-ops server start`",
                }
            )
        if status.state in LIVE:
            return status.model_copy(update={"memory": proc.memory(_processes(status))})
        return status

    def logs(self, lines: int = 100) -> tuple[str, ...]:
        """The last lines that the server wrote."""
        return tail(self.log_path, lines)

    def command(self) -> list[str]:
        """The command line of this server's supervisor."""
        return [
            sys.executable,
            "-m",
            "voxtral_ops.server.supervisor",
            str(self._directory),
            "--status",
            str(self.status_path),
            "--log",
            str(self.log_path),
            "--pid-file",
            str(self.pid_path),
            "--cache",
            str(self._layout.cache),
        ]

    def prepare(self) -> None:
        """Clear what an earlier life has left and check that a start is possible. Raises HostError."""
        launch = self._prepare_folders()
        with self._turn():
            self._clear(launch)

    def _clear(self, launch: Launch) -> None:
        if read_pid(self.pid_path) is None:
            self._sweep()
            self._check_port(launch)

    def _prepare_folders(self) -> Launch:
        launch = read_instance(self._directory, self._layout.cache)
        for folder in (self._state, self._layout.logs, self._layout.runtime, self._layout.cache):
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            except OSError as error:
                raise HostError(
                    f"{folder} cannot be made: {error.strerror}",
                    hint="it must be writable for the user that runs the server",
                    path=folder,
                ) from error
        return launch

    def _spawn(self) -> bool:
        """Start the supervisor. Returns False when another one was quicker: then that one is waited for."""
        done = subprocess.run(
            [*self.command(), "--detach"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"},
            start_new_session=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if done.returncode == 0:
            return True
        if read_pid(self.pid_path) is not None:
            return False
        raise ServerError(f"{self.name} could not be supervised: {done.stderr.strip()}", log=self.log_path)

    def _wait(self, on_event: Callable[[ServerEvent], None] | None, timeout: float) -> ServerStatus:
        deadline = time.monotonic() + timeout
        seen: tuple[str, str, float | None] = ("", "", None)
        while True:
            status = self.status()
            if status.state == "serving":
                _tell(on_event, _event(status))
                return status
            if status.state == "failed":
                raise self._death(status)
            if status.state not in LIVE:
                raise ServerError(f"{self.name} was stopped while it started", hint="start it again")
            if (status.state, status.phase, status.fraction) != seen:
                seen = (status.state, status.phase, status.fraction)
                _tell(on_event, _event(status))
            if time.monotonic() > deadline:
                raise ServerError(
                    f"{self.name} was not ready after {timeout:.0f} s ({status.phase or status.state})",
                    hint=f"`voxtral-ops logs` shows what it was doing; the log is {self.log_path}",
                    last_words=list(self.logs(12)),
                )
            time.sleep(_POLL)

    def _death(self, status: ServerStatus) -> ServerError:
        words = status.last_words or self.logs(12)
        cause = status.cause or (words[-1] if words else "it said nothing")
        return ServerError(
            f"{self.name} died while starting: {cause}",
            hint=status.hint or f"its last words are in {self.log_path}",
            last_words=list(words),
            log=self.log_path,
        )

    def _check_port(self, launch: Launch) -> None:
        host, port = launch.instance.host, launch.instance.port
        if proc.port_is_free(host, port):
            return
        holders = proc.listener(port) or ()
        who = ", ".join(f"process {pid} ({proc.command(pid)[:80]})" for pid in holders) or "another process"
        raise HostError(
            f"port {port} on {host} is in use by {who}",
            hint=f"stop it, or give {self.name} another port",
            port=port,
            pids=list(holders),
        )

    def _sweep(self) -> None:
        """End what a supervisor and its guardian, killed together, have left of this very instance."""
        status = read_status(self.status_path)
        directories = {str(self._directory), status.directory if status else ""} - {""}
        for directory in directories:
            while left := [pid for pid in proc.marked(MARK, directory) if pid != os.getpid()]:
                for pid in left:
                    _signal(pid, signal.SIGKILL)
                time.sleep(0.05)
        self.pid_path.unlink(missing_ok=True)

    def _drain_limit(self) -> float:
        with contextlib.suppress(Exception):
            return read_instance(self._directory, self._layout.cache).drain_seconds + 30.0
        return 60.0

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One manager at a time clears and spawns: the next one finds the pid file of the one before."""
        with (self._state / "turn").open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def _blank(status: ServerStatus, state: str) -> ServerStatus:
    return status.model_copy(
        update={
            "state": state,
            "pid": None,
            "engine_pids": (),
            "supervisor_pid": None,
            "supervisor_started": None,
            "phase": "",
            "fraction": None,
            "since": status.since if status.state == state else time.time(),
        }
    )


def _event(status: ServerStatus) -> ServerEvent:
    if status.state == "serving":
        took = f" after {status.start_seconds:.0f} s" if status.start_seconds else ""
        return ServerEvent("serving", "ready", f"{status.name}: serving on {status.url}{took}", 1.0)
    title = _TITLES.get(status.phase, status.state)
    return ServerEvent(status.state, status.phase, f"{status.name}: {title}", status.fraction)


def _tell(on_event: Callable[[ServerEvent], None] | None, event: ServerEvent) -> None:
    report(event.message, event.fraction)
    if on_event is not None:
        on_event(event)


def _processes(status: ServerStatus) -> tuple[int, ...]:
    own = (status.supervisor_pid, status.pid)
    return (*(pid for pid in own if pid), *status.engine_pids)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _gone(pid: int, seconds: float) -> bool:
    started = proc.start_time(pid)
    deadline = time.monotonic() + seconds
    while started is not None and proc.is_alive(pid, started):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL / 2)
    return True
