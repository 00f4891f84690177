"""One real vLLM on this machine for the length of a measurement: started as a host would, watched in /proc, stopped."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from voxtral_ops.catalog import catalog_model
from voxtral_ops.hardware import look
from voxtral_ops.planning import PlanOverrides, make_plan
from voxtral_ops.planning.plan import Instance
from voxtral_ops.release import default_release
from voxtral_ops.server import proc
from voxtral_ops.server.launch import read_instance
from voxtral_ops.server.rendering import instance_files

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ROOT / "roles" / "voxtral_server" / "templates"
READY_S = 600


@dataclass(frozen=True)
class Server:
    """A server that answers. ``log``: everything that it has said."""

    url: str
    model: str
    pid: int
    log: Path

    def pids(self) -> tuple[int, ...]:
        """Its processes."""
        return (self.pid, *proc.descendants(self.pid))

    def cpu_seconds(self) -> float:
        """Processor time that its processes have used."""
        ticks = os.sysconf("SC_CLK_TCK")
        return sum(sum(map(int, _stat(pid)[11:13])) / ticks for pid in self.pids())

    def memory(self) -> dict[str, int]:
        """Resident bytes: ``rss`` counts what processes share once for each, ``pss`` once."""
        found = {"rss": 0, "pss": 0}
        for pid in self.pids():
            text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
            for name in found:
                found[name] += int(re.search(rf"(?im)^{name}:\s+(\d+)", text)[1]) * 1024  # type: ignore[index]
        return found


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except FileNotFoundError:
        return ["0"] * 20


def nano_plan() -> Instance:
    """What the planner says for nano on this machine."""
    profile, release = look([]), default_release(("nano",))
    (instance,) = make_plan(profile, release, overrides=PlanOverrides(models=("nano",))).instances
    return instance


@contextmanager
def serving(engine: Path, instance: Instance, folder: Path) -> Iterator[Server]:
    """Start an instance on a free port, wait until it is healthy, and end it with all its processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    instance = instance.model_copy(update={"port": port, "arguments": {**instance.arguments, "port": port}})
    folder.mkdir(parents=True)
    for name, text in instance_files(instance, TEMPLATES).items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "engine").symlink_to(engine)
    (folder / "model").symlink_to(catalog_model(instance.model).bundled_path)
    launch = read_instance(folder, folder / "cache")
    Path(launch.environment["HOME"]).mkdir(parents=True)
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            launch.argv, env=launch.environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=folder
        )
    server = Server(launch.url, instance.served_name, process.pid, log)
    try:
        _wait(server, process)
        yield server
    finally:
        _end(server, process)


def _wait(server: Server, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            last = server.log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RuntimeError(f"vLLM ended with {process.returncode}:\n{last}")
        try:
            with urllib.request.urlopen(f"{server.url}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise RuntimeError(f"vLLM was not ready after {READY_S} s")


def _end(server: Server, process: subprocess.Popen[bytes]) -> None:
    pids = server.pids()
    process.terminate()
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in pids[1:]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
