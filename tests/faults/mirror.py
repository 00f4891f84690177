"""olah, a real mirror of the hub, in an environment of its own from a locked list, in front of a hub of ours."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = Path(__file__).with_name("olah.txt")
READY_SECONDS = 60


def install(place: Path) -> Path:
    """Make the environment; its olah-cli."""
    uv = Path(sys.executable).parent / "uv"
    quiet = {**os.environ, "UV_SYSTEM_CERTS": "1"}
    subprocess.run([str(uv), "venv", "--quiet", "--python", sys.executable, str(place)], check=True, env=quiet)
    command = [str(uv), "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--compile-bytecode"]
    subprocess.run([*command, "--python", str(place / "bin" / "python"), "-r", str(LOCK)], check=True, env=quiet)
    return place / "bin" / "olah-cli"


@contextmanager
def mirror(program: Path, upstream: str, folder: Path) -> Iterator[str]:
    """Run it in front of ``upstream`` until the block ends; its address."""
    port, behind = free_port(), upstream.removeprefix("http://")
    here = f"127.0.0.1:{port}"
    command = [str(program), "--host", "127.0.0.1", "--port", str(port), "--repos-path", str(folder / "repos")]
    command += ["--hf-scheme", "http", "--hf-netloc", behind, "--hf-lfs-netloc", behind]
    command += ["--mirror-scheme", "http", "--mirror-netloc", here, "--mirror-lfs-netloc", here]
    folder.mkdir(parents=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            _wait(process, f"http://{here}/", folder / "log")
            yield f"http://{here}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"olah ended: {log.read_text(errors='replace')[-2000:]}")
        try:
            urllib.request.urlopen(url, timeout=2)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"olah does not answer: {log.read_text(errors='replace')[-2000:]}")
