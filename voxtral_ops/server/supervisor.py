"""Keeps one vLLM server running: ``python -m voxtral_ops.server.supervisor INSTANCE --status FILE …``.

It starts the server through the guardian, waits until it answers, watches it, starts it anew when it dies,
drains it on SIGTERM, and leaves nothing behind. All that it knows is in the status file.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from voxtral_ops.errors import VoxtralError
from voxtral_ops.server import proc
from voxtral_ops.server.diagnosis import explain, last_words
from voxtral_ops.server.engine import Engine
from voxtral_ops.server.guardian import PR_SET_CHILD_SUBREAPER, end_all, prctl
from voxtral_ops.server.launch import Launch, read_instance
from voxtral_ops.server.logfile import LogFile
from voxtral_ops.server.pidfile import PidFile
from voxtral_ops.server.ready import health
from voxtral_ops.server.status import ServerStatus, read_status, write_status

_TICK = 0.2


@dataclass(frozen=True)
class Policy:
    """How patient the supervisor is. Seconds."""

    ready: float = 1800.0
    """A start that takes longer is given up."""
    health_interval: float = 5.0
    sick: float = 10.0
    """How long ``/health`` may say 503 (the engine is dead) before the server is started anew."""
    silent: float = 120.0
    """How long nothing at all may be answered."""
    first_backoff: float = 1.0
    longest_backoff: float = 60.0
    restarts: int = 5
    window: float = 600.0
    """More than ``restarts`` deaths in this time, and it is given up."""
    kill_margin: float = 10.0
    """After vLLM's own drain time, before everything is killed."""
    teardown: float = 3.0
    """After its last request is done: long enough to send the answers, and for workers to leave."""


class Supervisor:
    """One server's life. Made in the main thread, for it listens to signals.

    ``run`` returns the exit status: 0 stopped as asked, 1 given up.
    """

    def __init__(self, launch: Launch, status: Path, log: LogFile, policy: Policy | None = None) -> None:
        self._launch = launch
        self._status_path = status
        self._log = log
        self._policy = policy or Policy()
        self._signals = 0
        self._deaths: deque[float] = deque()
        self._served = False
        self._written = 0.0
        before = read_status(status)
        self._known = before.start_phases if before else {}
        self._status = ServerStatus(
            name=launch.instance.name,
            state="starting",
            url=launch.url,
            model=launch.instance.model,
            served_name=launch.instance.served_name,
            release=launch.directory.parents[1].name,
            directory=str(launch.directory),
            digest=launch.digest,
            supervisor_pid=os.getpid(),
            supervisor_started=proc.start_time(os.getpid()),
            since=time.time(),
            start_phases=self._known,
        )
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self._tell()

    def run(self) -> int:
        """Start, watch, start anew, until stopped or given up."""
        while not self._signals:
            engine = Engine(self._launch, self._log, self._known)
            try:
                reason = self._live(engine)
            finally:
                engine.kill()
            if self._signals:
                break
            words = (*engine.lines, f"[supervisor] {reason}")
            self._log.write(words[-1])
            if not self._try_again(words):
                return 1
        self._tell(state="stopped", pid=None, engine_pids=(), phase="", fraction=None)
        return 0

    def _live(self, engine: Engine) -> str:
        """One life of the server, until it has ended. Returns how."""
        reason = self._start(engine)
        if not reason and not self._signals:
            reason = self._watch(engine)
        if self._signals:
            self._drain(engine)
        return reason or engine.ending()

    def _start(self, engine: Engine) -> str:
        deadline = time.monotonic() + self._policy.ready
        while not self._signals:
            if engine.ended:
                return engine.ending()
            if health(self._launch.url, 2.0) == 200 and not engine.ended:
                self._known = engine.progress.finish()
                self._served = True
                self._tell(
                    state="serving",
                    pid=engine.server_pid,
                    engine_pids=engine.engine_pids,
                    phase="ready",
                    fraction=1.0,
                    start_seconds=round(engine.age, 1),
                    start_phases={name: round(seconds, 2) for name, seconds in self._known.items()},
                )
                return ""
            if time.monotonic() > deadline:
                return f"not ready after {self._policy.ready:.0f} s"
            self._show_progress(engine)
            time.sleep(_TICK)
        return ""

    def _show_progress(self, engine: Engine) -> None:
        changed = engine.progress.phase.name != self._status.phase
        if changed or time.monotonic() - self._written >= 1.0:
            self._tell(
                phase=engine.progress.phase.name,
                fraction=round(engine.progress.fraction(), 3),
                pid=engine.server_pid,
                engine_pids=engine.engine_pids,
            )

    def _watch(self, engine: Engine) -> str:
        healthy = asked = time.monotonic()
        silent = self._policy.silent
        while not self._signals:
            if engine.ended:
                return engine.ending()
            now = time.monotonic()
            if now - asked >= self._policy.health_interval:
                answer = health(self._launch.url, 5.0)
                asked = time.monotonic()
                if answer == 200:
                    healthy, silent = asked, self._policy.silent
                elif answer is not None:
                    silent = self._policy.sick
                self._note_processes(engine)
            if now - healthy > silent + self._policy.health_interval:
                return f"no answer for {now - healthy:.0f} s"
            time.sleep(_TICK)
        return ""

    def _note_processes(self, engine: Engine) -> None:
        processes = engine.engine_pids
        if processes != self._status.engine_pids:
            self._tell(engine_pids=processes)

    def _drain(self, engine: Engine) -> None:
        """Let vLLM finish what it has begun; a second signal, or its time over, ends it at once."""
        served = self._status.state == "serving"
        self._tell(state="draining")
        margin = self._policy.kill_margin
        # While it starts there is nothing to drain.
        limit = self._launch.drain_seconds + margin if served else margin / 3
        deadline = time.monotonic() + limit
        engine.terminate()
        while not engine.ended and self._signals < 2 and time.monotonic() < deadline:
            if engine.drained:
                # What follows is teardown, in which vLLM 0.32 waits for itself until its whole time is over.
                deadline = min(deadline, time.monotonic() + self._policy.teardown)
                engine.drained = False
            time.sleep(_TICK / 4)
        if not engine.ended:
            self._log.write("[supervisor] its time is over: killed")

    def _try_again(self, words: tuple[str, ...]) -> bool:
        cause, hint = explain(words)
        now = time.monotonic()
        self._deaths.append(now)
        while now - self._deaths[0] > self._policy.window:
            self._deaths.popleft()
        gone: dict[str, Any] = {
            "pid": None,
            "engine_pids": (),
            "fraction": None,
            "last_words": last_words(words),
            "cause": cause or words[-1].removeprefix("[supervisor] "),
            "hint": hint,
        }
        # What has never served will not serve the next time: its configuration or its host is wrong.
        if not self._served or len(self._deaths) > self._policy.restarts:
            self._tell(state="failed", **gone)
            return False
        backoff = min(self._policy.first_backoff * 2 ** (len(self._deaths) - 1), self._policy.longest_backoff)
        self._log.write(f"[supervisor] starting it again in {backoff:g} s")
        self._tell(state="restarting", restarts=self._status.restarts + 1, phase="", **gone)
        deadline = time.monotonic() + backoff
        while not self._signals and time.monotonic() < deadline:
            time.sleep(min(_TICK, backoff))
        return True

    def _tell(self, **changes: Any) -> None:
        if changes.get("state", self._status.state) != self._status.state:
            changes["since"] = time.time()
        self._status = self._status.model_copy(update=changes)
        self._written = time.monotonic()
        try:
            write_status(self._status_path, self._status)
        except OSError as error:
            self._log.write(f"[supervisor] the status could not be written: {error}")

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1


def main(argv: list[str] | None = None) -> int:
    """Supervise until stopped."""
    parser = argparse.ArgumentParser(prog="voxtral-supervisor", description="Keep one vLLM server running.")
    parser.add_argument("instance", type=Path)
    parser.add_argument("--status", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--pid-file", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--echo", action="store_true", help="write the server's lines to stdout too")
    parser.add_argument("--detach", action="store_true", help="go on in the background once it has begun")
    args = parser.parse_args(argv)
    os.umask(0o077)
    begun = _detach(args.log) if args.detach else (lambda _error: None)
    try:
        launch = read_instance(args.instance, args.cache)
        with PidFile(args.pid_file):
            log = LogFile(args.log, echo=args.echo)
            try:
                supervisor = Supervisor(launch, args.status, log)
                begun("")
                return supervisor.run()
            finally:
                end_all(os.getpid(), 0.0)
                log.close()
    except VoxtralError as error:
        begun(error.message)
        sys.stderr.write(f"{error.message}\n")
        return 2


def _detach(log: Path) -> Callable[[str], None]:
    """Go on in a child. The parent waits for its word: nothing is well, anything else is why not.

    When the parent is killed meanwhile, the word cannot be given and the child ends: nobody waits for it.
    """
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        with os.fdopen(reader, encoding="utf-8") as stream:
            word = stream.read()
        if word != _WELL:
            os.write(2, (word or f"the supervisor died; see {log}").encode())
        os._exit(0 if word == _WELL else 2)
    os.close(reader)
    os.setsid()
    os.chdir("/")
    for target, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY)):
        descriptor = os.open(os.devnull, flags)
        os.dup2(descriptor, target)
        os.close(descriptor)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    return partial(_say_once, writer)


def _say_once(writer: int, error: str) -> None:
    try:
        os.write(writer, (error or _WELL).encode())
    finally:
        os.close(writer)


_WELL = "well"


if __name__ == "__main__":
    sys.exit(main())
