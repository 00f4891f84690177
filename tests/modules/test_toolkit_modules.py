"""The modules that run with the toolkit's interpreter: weights, whisper's weights, verify, gate, server."""

from __future__ import annotations

import builtins
import hashlib
from pathlib import Path

import pytest

from voxtral_ops.errors import HostError, ServerError


@pytest.fixture
def model(tmp_path: Path) -> dict[str, object]:
    source = tmp_path / "source"
    source.mkdir()
    (source / "params.json").write_text("{}")
    digest = hashlib.sha256(b"{}").hexdigest()
    files = [{"path": "params.json", "size": 2, "sha256": digest}]
    return {"name": "nano", "repository": "voxtral-ops/nano", "revision": "a" * 40, "files": files}


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that nobody has touched: the system's Python, without voxtral_ops."""
    real = builtins.__import__

    def refuse(name, *rest, **more):
        if name.startswith("voxtral_ops"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_weights_come_once(run_module, tmp_path, model):
    arguments = {"root": str(tmp_path / "models"), "models": [model]}
    arguments |= {"strategy": "path", "source": str(tmp_path / "source")}
    told = run_module("voxtral_weights", _check=True, _diff=True, **arguments)
    assert told["changed"] is True
    assert not (tmp_path / "models").exists()
    assert run_module("voxtral_weights", **arguments)["changed"] is True
    assert (tmp_path / "models/voxtral-ops/nano" / ("a" * 40) / "manifest.json").is_file()
    assert run_module("voxtral_weights", **arguments)["changed"] is False


def test_wrong_bytes_are_refused_with_a_hint(run_module, tmp_path, model):
    (tmp_path / "source" / "params.json").write_text("[]")
    failed = run_module(
        "voxtral_weights",
        root=str(tmp_path / "models"),
        models=[model],
        strategy="path",
        source=str(tmp_path / "source"),
    )
    assert failed["failed"] is True
    assert "params.json" in failed["msg"]


@pytest.mark.usefixtures("no_package")
def test_on_an_untouched_host_check_mode_tells_what_would_come(run_module, tmp_path, model):
    told = run_module("voxtral_weights", _check=True, root=str(tmp_path), models=[model])
    assert told["changed"] is True
    assert "nano" in told["msg"]
    told = run_module(
        "voxtral_whisper_weights", _check=True, root=str(tmp_path), uv="/u/uv", link="/w/current", venv="/w/1"
    )
    assert told["changed"] is True


def test_whispers_link_follows_the_weights(run_module, tmp_path, monkeypatch):
    import voxtral_ops.weights

    came = iter([True, False])
    monkeypatch.setattr(voxtral_ops.weights, "install_whisper", lambda root, directory: next(came))
    (tmp_path / "whisper" / "1").mkdir(parents=True)
    arguments = {
        "root": str(tmp_path),
        "uv": "/u/uv",
        "link": str(tmp_path / "whisper/current"),
        "venv": str(tmp_path / "whisper/1"),
    }
    assert run_module("voxtral_whisper_weights", **arguments)["changed"] is True
    assert (tmp_path / "whisper" / "current").readlink() == Path("1")
    assert run_module("voxtral_whisper_weights", **arguments)["changed"] is False


def test_an_engine_is_verified_once_and_its_record_kept(run_module, tmp_path, monkeypatch):
    from voxtral_ops.server import engine_verify

    asked = []

    def verify(venv, clips):
        asked.append(clips)
        return engine_verify.EngineReport(
            engine="e", python="3.11", versions={"vllm": "0.32.0+cpu"}, broken={}, decoded={"a.mp3": 1.0}, undecoded={}
        )

    monkeypatch.setattr(engine_verify, "verify_engine", verify)
    first = run_module("voxtral_engine_verify", path=str(tmp_path), version="0.32.0")
    assert first["changed"] is False
    assert first["voxtral_engine"]["decoded"] == {"a.mp3": 1.0}
    assert {clip.suffix for clip in asked[0]} == {".wav", ".mp3", ".m4a", ".flac", ".ogg"}
    assert run_module("voxtral_engine_verify", path=str(tmp_path), version="0.32.0")["msg"] == "verified before"
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ({"broken": {"soxr": "gone"}}, "soxr does not import: gone"),
        ({"undecoded": {"a.mp3": "no"}}, "a.mp3 does not decode"),
        ({"versions": {"vllm": "0.31.0"}}, "holds vLLM 0.31.0, and the release wants 0.32.0"),
    ],
)
def test_an_engine_that_does_not_work_is_refused_and_not_recorded(run_module, tmp_path, monkeypatch, report, message):
    from voxtral_ops.server import engine_verify

    whole = {
        "engine": "e",
        "python": "3.11",
        "versions": {"vllm": "0.32.0"},
        "broken": {},
        "decoded": {},
        "undecoded": {},
    }
    found = engine_verify.EngineReport(**{**whole, **report})
    monkeypatch.setattr(engine_verify, "verify_engine", lambda venv, clips: found)
    failed = run_module("voxtral_engine_verify", path=str(tmp_path), version="0.32.0")
    assert failed["failed"] is True
    assert message in failed["msg"]
    assert not (tmp_path / "voxtral-verified.json").exists()


@pytest.fixture
def gate(tmp_path, monkeypatch):
    """A release with one instance, and a gate that answers what the test says."""
    import voxtral_ops.server
    from voxtral_ops.server.gate import ClipVerdict, GateReport

    (tmp_path / "instances" / "main").mkdir(parents=True)

    class Launch:
        class instance:
            name, url, served_name = "main", "http://127.0.0.1:1", "m"

    def answer(ok):
        clip = ClipVerdict(file="a", container="wav", expected="yes", text="no", wer=1.0, seconds=0.1, ok=ok)
        return GateReport(
            ok=ok,
            url="u",
            model="m",
            clips=(clip,),
            wer=1.0,
            audio_seconds=1,
            seconds=1,
            slowest=1,
            containers=("wav",),
        )

    monkeypatch.setattr(voxtral_ops.server, "read_instance", lambda path: Launch, raising=False)
    return lambda ok: monkeypatch.setattr(voxtral_ops.server, "run_gate", lambda url, model: answer(ok), raising=False)


def test_the_gate_says_what_was_heard_and_changes_nothing(run_module, tmp_path, gate):
    gate(True)
    done = run_module("voxtral_gate", release=str(tmp_path))
    assert done["changed"] is False
    assert done["voxtral_gate"]["clips"][0]["text"] == "no"


def test_the_gate_fails_with_its_report(run_module, tmp_path, gate):
    gate(False)
    failed = run_module("voxtral_gate", release=str(tmp_path))
    assert failed["failed"] is True
    assert "0 of 1 clips right" in failed["msg"]
    assert failed["voxtral_gate"]["ok"] is False


def test_the_gate_asks_nobody_in_check_mode(run_module):
    assert run_module("voxtral_gate", _check=True, release="/nowhere")["changed"] is False


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """VLLMServerManager with a memory instead of processes: instances by name, whether they run."""
    import voxtral_ops.server
    from voxtral_ops.server.status import ServerStatus

    class Manager:
        running: dict[str, int] = {}
        error: Exception | None = None

        def __init__(self, directory, layout):
            self.name = directory.name

        def status(self):
            pid = self.running.get(self.name)
            return ServerStatus(name=self.name, state="serving" if pid else "stopped", supervisor_pid=pid)

        def start(self, timeout):
            if self.error:
                raise self.error
            self.running.setdefault(self.name, 100)
            return self.status()

        def stop(self):
            self.running.pop(self.name)

    Manager.running = {}
    monkeypatch.setattr(voxtral_ops.server, "VLLMServerManager", Manager, raising=False)
    (tmp_path / "release" / "instances" / "main").mkdir(parents=True)
    return Manager


@pytest.fixture
def layout(tmp_path):
    names = ("home", "models", "config", "state", "cache", "runtime")
    return {"scope": "user", **{name: str(tmp_path / name) for name in names}}


def test_a_server_is_started_once(run_module, tmp_path, manager, layout):
    arguments = {"release": str(tmp_path / "release"), "layout": layout}
    assert run_module("voxtral_server", _check=True, **arguments)["changed"] is True
    assert manager.running == {}
    assert run_module("voxtral_server", **arguments)["changed"] is True
    assert run_module("voxtral_server", **arguments)["changed"] is False


def test_an_instance_that_the_release_does_not_have_is_stopped(run_module, tmp_path, manager, layout):
    manager.running = {"main": 1, "old": 2}
    (tmp_path / "state" / "instances" / "old").mkdir(parents=True)
    assert run_module("voxtral_server", release=str(tmp_path / "release"), layout=layout)["changed"] is True
    assert manager.running == {"main": 1}


@pytest.mark.parametrize(
    "error", [ServerError("it died", hint="do this", last_words=["boom"]), HostError("port taken")]
)
def test_a_start_that_fails_says_why(run_module, tmp_path, manager, layout, error):
    manager.error = error
    failed = run_module("voxtral_server", release=str(tmp_path / "release"), layout=layout)
    assert failed["failed"] is True
    assert failed["msg"] == error.message
    assert failed["hint"] == error.hint
