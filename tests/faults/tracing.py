"""Run a function in a process of its own under strace, and let one of its system calls fail or kill it."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CHANGES = (
    "openat,open,creat,write,pwrite64,writev,pwritev,copy_file_range,sendfile,ftruncate,truncate,fallocate,"
    "fsync,fdatasync,sync_file_range,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,"
    "mkdir,mkdirat,rmdir,chmod,fchmod,fchmodat,chown,fchown,fchownat,utimensat,ioctl"
)
"""Every call that changes what lies on a disk; of ``openat`` and ``ioctl`` only those that do."""
KINDS = ("KILL", "ENOSPC", "EIO")
LINE = re.compile(r"^(\d+) +(\w+)\((.*)$")
WRITES = re.compile(r"O_CREAT|O_WRONLY|O_RDWR|O_TRUNC|O_TMPFILE")
CLONES = re.compile(r"FICLONE")
SET_PTRACER, ANYBODY = 0x59616D61, ctypes.c_ulong(-1)
LIBC = ctypes.CDLL(None)
HANGS = 60.0
"""Seconds after which a call that never came back is taken for one that never will."""


@dataclass(frozen=True, order=True)
class Fault:
    """The ``when``-th call of one name, in any thread, and what becomes of it. ``FULL`` is ENOSPC from there on."""

    call: str
    when: int
    kind: str

    @property
    def options(self) -> list[str]:
        """How strace is told."""
        if self.kind == "KILL":
            return ["-e", f"inject={self.call}:signal=KILL:when={self.when}"]
        if self.kind == "FULL":
            return ["-e", f"inject={self.call}:error=ENOSPC:when={self.when}+"]
        return ["-e", f"inject={self.call}:error={self.kind}:when={self.when}"]


@dataclass(frozen=True)
class Ended:
    """How the process ended: what the function returned (None when it did not), and what the trace holds."""

    answer: str | None
    killed: bool
    log: tuple[str, ...]

    def struck(self, root: Path) -> bool:
        """Whether the fault hit a call that changes something below ``root``."""
        if self.killed:
            return True
        return any("(INJECTED)" in line and str(root) in line for line in self.log)


def forked(function: Callable[[], str], fault: Fault | None = None, log: Path | None = None) -> Ended:
    """Call ``function`` in a child, traced into ``log`` where one is named; without both it simply runs."""
    board = mmap.mmap(-1, 1 << 16)
    child = os.fork()
    if child == 0:
        _child(function, board, waits=log is not None)
    try:
        tracer = _attach(child, fault, log) if log else None
        status = _wait(child)
        if tracer is not None:
            tracer.wait()
        text = board[:].rstrip(b"\0").decode()
    finally:
        board.close()
    lines = tuple(log.read_text(encoding="utf-8", errors="replace").splitlines()) if log else ()
    return Ended(json.loads(text) if text else None, os.WIFSIGNALED(status), lines)


def _child(function: Callable[[], str], board: mmap.mmap, *, waits: bool) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    if waits:
        # Some distributions let only a parent trace; strace is our sibling.
        LIBC.prctl(SET_PTRACER, ANYBODY, 0, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
    try:
        text = json.dumps(function()).encode()
        # Shared memory: an answer through a pipe would be one more call that may fail.
        board[: len(text)] = text
    finally:
        os._exit(0)


def _attach(child: int, fault: Fault | None, log: Path) -> subprocess.Popen[bytes]:
    os.waitpid(child, os.WUNTRACED)
    command = ["strace", "-f", "-y", "-qq", "-s", "8", "-o", str(log), "-e", "signal=none", "-e", f"trace={CHANGES}"]
    command += [*(fault.options if fault else ()), "-p", str(child)]
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    while "TracerPid:\t0\n" in Path(f"/proc/{child}/status").read_text(encoding="ascii"):
        if tracer.poll() is not None:
            os.kill(child, signal.SIGKILL)
            raise RuntimeError(f"strace could not attach: {tracer.returncode}")
        time.sleep(0.0005)
    os.kill(child, signal.SIGCONT)
    return tracer


def _wait(child: int) -> int:
    until = time.monotonic() + HANGS
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return 0
        time.sleep(0.001)


def places(log: tuple[str, ...], root: Path) -> list[tuple[str, int]]:
    """Every call of a clean run that changes something below ``root``: its name and its number in its thread."""
    counts: Counter[tuple[str, str]] = Counter()
    found: set[tuple[str, int]] = set()
    for line in log:
        match = LINE.match(line)
        if not match:
            continue
        thread, call, arguments = match.groups()
        counts[thread, call] += 1
        if str(root) not in arguments or (call in {"openat", "open"} and not WRITES.search(arguments)):
            continue
        if call != "ioctl" or CLONES.search(arguments):
            found.add((call, counts[thread, call]))
    return sorted(found)
