"""An instance on disk whose engine is the stub, and a layout for it in a temporary directory."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from voxtral_ops.paths import Layout
from voxtral_ops.planning.plan import PARTS
from voxtral_ops.server import proc
from voxtral_ops.server.engine import MARK
from voxtral_ops.server.manager import VLLMServerManager

STUB = Path(__file__).parents[2] / "fakes" / "engine_stub" / "vllm.py"


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class World:
    """One instance, one layout."""

    directory: Path
    layout: Layout
    port: int

    def manager(self) -> VLLMServerManager:
        """A manager that knows nothing but what is on disk."""
        return VLLMServerManager(self.directory, self.layout)

    def configure(self, **environment: str) -> None:
        """Write the env file anew."""
        lines = {"HF_HUB_OFFLINE": "1", **environment}
        text = "".join(f"{key}={value}\n" for key, value in lines.items())
        (self.directory / "env").write_text(text, encoding="utf-8")

    @staticmethod
    def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
        """Wait for it, or fail."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not come to pass"
            time.sleep(0.02)

    def processes(self) -> tuple[int, ...]:
        """Every process of this instance's engine, found by their environment, whoever their parent is."""
        return proc.marked(MARK, str(self.directory))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A layout of its own."""
    return Layout(
        scope="user",
        home=tmp_path / "home",
        models=tmp_path / "models",
        config=tmp_path / "config",
        state=tmp_path / "state",
        cache=tmp_path / "cache",
        runtime=tmp_path / "run",
    )


@pytest.fixture
def world(layout: Layout) -> Iterator[World]:
    """An instance that starts the stub; whatever it has left running is ended."""
    directory = layout.releases / "0.32.0-nano-0badcafe" / "instances" / "main"
    engine = layout.engines / "stub" / "bin"
    model = layout.models / "voxtral-ops" / "nano" / ("0" * 40)
    for folder in (directory, engine, model):
        folder.mkdir(parents=True)
    (engine / "python").symlink_to(sys.executable)
    shutil.copy(STUB, engine / "vllm")
    (directory / "engine").symlink_to(engine.parent)
    (directory / "model").symlink_to(model)
    port = free_port()
    (directory / "server.yaml").write_text(f"host: 127.0.0.1\nport: {port}\n", encoding="utf-8")
    instance = {
        "name": "main",
        "model": "nano",
        "repository": "voxtral-ops/nano",
        "revision": "0" * 40,
        "served_name": "voxtral",
        "port": port,
        "arguments": {"port": port, "shutdown-timeout": 2},
        "environment": {},
        "reasons": {},
        "memory": dict.fromkeys((*PARTS, "limit"), 0),
        "capacity": dict.fromkeys(("clips", "files", "sessions", "longest_audio"), 0),
    }
    (directory / "instance.json").write_text(json.dumps(instance), encoding="utf-8")
    made = World(directory, layout, port)
    made.configure()
    yield made
    made.manager().stop(timeout=0.1)
    for pid in made.processes():
        os.kill(pid, signal.SIGKILL)
