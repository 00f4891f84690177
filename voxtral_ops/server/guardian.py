"""Stands between the supervisor and vLLM so that nothing outlives either of them. Standard library only.

``guardian.py SUPERVISOR_PID COMMAND…`` starts the command and ends when it ends, with its exit status.

vLLM's engine processes do not notice when their API server is killed, so somebody must. The guardian is a
"child subreaper": whatever vLLM starts, and loses, becomes the guardian's child. When the command ends it
ends all of them. When the supervisor dies, even by SIGKILL, the kernel sends the guardian SIGUSR1 (its parent
death signal). When the guardian itself is killed, the kernel kills the API server, and the rest falls to
the supervisor, which is a subreaper too and does the same.

SIGTERM and SIGINT are passed on to the command (vLLM drains). SIGUSR1 kills everything at once.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from types import FrameType

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
GRACE_S = 5.0
"""How long vLLM's own children may take to leave after the API server has ended of its own will."""
TRACKER_S = 2.0


def prctl(option: int, value: int) -> None:
    """Set one of the kernel's settings of this process. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def children_of(root: int) -> list[int]:
    """Everything that descends from a process and is not a zombie."""
    table: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - nothing but os is imported here, to start fast
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as stream:  # noqa: PTH123
                fields = stream.read().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in "ZX":
            table.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    queue = [root]
    while queue:
        below = table.get(queue.pop(), [])
        found += below
        queue += below
    return found


def end_all(root: int, grace: float) -> None:
    """Wait for a process's descendants to leave, kill those that stay, collect them all."""
    deadline = time.monotonic() + grace
    while left := children_of(root):
        over = time.monotonic() - deadline
        for pid in left:
            # Python's resource tracker removes shared memory that the dead have left, then ends by itself.
            if over >= TRACKER_S or (over >= 0 and not _is_tracker(pid)):
                _send(pid, signal.SIGKILL)
        _reap()
        time.sleep(0.02)
    _reap()


def _is_tracker(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:  # noqa: PTH123
            return b"resource_tracker" in stream.read()
    except OSError:
        return False


def main(arguments: list[str]) -> int:
    """Start the command, watch it, leave nothing behind."""
    supervisor, command = int(arguments[0]), arguments[1:]
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    state = {"child": 0, "kill": 0}

    def on_pass(number: int, _frame: FrameType | None) -> None:
        if state["child"]:
            _send(state["child"], number)
        else:
            state["kill"] = 1

    def on_kill(_number: int, _frame: FrameType | None) -> None:
        state["kill"] = 1
        if state["child"]:
            _send(state["child"], signal.SIGKILL)

    signal.signal(signal.SIGTERM, on_pass)
    signal.signal(signal.SIGINT, on_pass)
    signal.signal(signal.SIGUSR1, on_kill)
    prctl(PR_SET_PDEATHSIG, signal.SIGUSR1)
    if os.getppid() != supervisor or state["kill"]:
        return 1  # it died, or changed its mind, while we started
    state["child"] = _start(command)
    if state["kill"]:
        _send(state["child"], signal.SIGKILL)
    status = _wait_for(state["child"])
    code = os.waitstatus_to_exitcode(status)
    end_all(os.getpid(), 0.0 if state["kill"] or code < 0 else GRACE_S)
    return code


def _start(command: list[str]) -> int:
    guardian = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == guardian:
            os.execv(command[0], command)  # noqa: S606 - a list, never a shell
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    os._exit(127)


def _wait_for(child: int) -> int:
    """Collect orphans too, until the command itself ends."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            return status


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    ended = main(sys.argv[1:])
    # As shells say it: 128 + n for a command that a signal ended.
    sys.exit(ended if ended >= 0 else 128 - ended)
