"""The manager with the real engine and nano: start, right words, engine killed, back again, gone without a trace."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from voxtral_ops.catalog import catalog_model
from voxtral_ops.paths import Layout
from voxtral_ops.planning.plan import PARTS
from voxtral_ops.server import VLLMServerManager, proc, run_gate
from voxtral_ops.server.engine import MARK
from voxtral_ops.server.manager import ServerEvent
from voxtral_ops.server.phases import PHASES

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]
START_S = 420.0
ARGUMENTS = {
    "tokenizer-mode": "mistral",
    "config-format": "mistral",
    "load-format": "mistral",
    "served-model-name": "nano",
    "host": "127.0.0.1",
    "max-model-len": 2048,
    "enforce-eager": True,
    "kv-cache-memory-bytes": "64M",
    "shutdown-timeout": 10,
}
ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


@pytest.fixture
def manager(tmp_path: Path, engine: Path) -> Iterator[VLLMServerManager]:
    layout = Layout("user", *(tmp_path / name for name in ("home", "models", "config", "state", "cache", "run")))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    directory = layout.releases / "test-nano" / "instances" / "main"
    directory.mkdir(parents=True)
    (directory / "engine").symlink_to(engine)
    (directory / "model").symlink_to(catalog_model("nano").bundled_path)
    arguments = ARGUMENTS | {"port": port}
    lines = [f"{key}: {str(value).lower() if value is True else value}\n" for key, value in arguments.items()]
    (directory / "server.yaml").write_text("".join(lines), encoding="utf-8")
    (directory / "env").write_text("".join(f"{key}={value}\n" for key, value in ENVIRONMENT.items()))
    instance = {
        "name": "main",
        "model": "nano",
        "repository": "voxtral-ops/nano",
        "revision": "0" * 40,
        "served_name": "nano",
        "port": port,
        "arguments": arguments,
        "environment": ENVIRONMENT,
        "reasons": {},
        "memory": dict.fromkeys((*PARTS, "limit"), 0),
        "capacity": dict.fromkeys(("clips", "files", "sessions", "longest_audio"), 0),
    }
    (directory / "instance.json").write_text(json.dumps(instance), encoding="utf-8")
    made = VLLMServerManager(directory, layout)
    yield made
    made.stop(timeout=20)


def test_serves_comes_back_and_leaves_nothing(manager: VLLMServerManager) -> None:
    events: list[ServerEvent] = []
    first = manager.start(events.append, timeout=START_S)
    # Events are samples: loading nano may be over between two of them. What each phase took is kept whole.
    assert {event.phase for event in events} >= {phase.name for phase in PHASES[:4]}
    assert set(first.start_phases) == {phase.name for phase in PHASES}
    gate = run_gate(first.url, first.served_name)
    assert gate.ok, gate.model_dump_json(indent=1)
    core = next(pid for pid in first.engine_pids if "EngineCore" in proc.command(pid))

    os.kill(core, signal.SIGKILL)
    deadline = time.monotonic() + START_S
    while not ((status := manager.status()).is_serving and status.restarts == 1):
        assert status.state != "failed", status
        assert time.monotonic() < deadline, status
        time.sleep(0.5)
    assert status.cause == "the engine process died"
    assert run_gate(status.url, status.served_name).ok

    directory = status.directory
    manager.stop()
    assert proc.marked(MARK, directory) == ()
    assert proc.port_is_free("127.0.0.1", int(first.url.rpartition(":")[2]))
