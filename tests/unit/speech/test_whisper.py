"""The worker process: kept, restarted after a crash, ended in time, never left behind. Whisper is a stub here."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.unit.speech.support import audio
from voxtral_ops.errors import ConfigurationError, HostError, ModelError, ServerError
from voxtral_ops.speech import WhisperBackend, worker_process
from voxtral_ops.speech.whisper import WhisperSetup, _Session

STUB = Path(__file__).resolve().parents[2] / "support" / "whisper_stub"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny.en"
    folder.mkdir()
    for name in ("model.bin", "tokenizer.json"):
        (folder / name).write_text("{}")
    (folder / "script").write_text("")
    return folder


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An interpreter that has "faster-whisper": ours, without isolation and with the stub on its path."""
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\nshift\nexec env PYTHONPATH={STUB} {sys.executable} "$@"\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def backend(python: Path, weights: Path) -> Iterator[WhisperBackend]:
    running = WhisperBackend(WhisperSetup(python, weights))
    yield running
    running.close()


def pid_of(text: str) -> int:
    return int(text.rsplit(" ", 1)[1])


def gone(pid: int) -> bool:
    return waited(lambda: not Path(f"/proc/{pid}/exe").exists())


def waited(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_the_samples_arrive_as_they_are(backend: WhisperBackend) -> None:
    samples = np.linspace(-0.75, 0.75, 200_000, dtype=np.float32)
    answer = backend.transcribe(audio(samples))
    assert answer.text.startswith("200000 samples, peak 0.75, pid")
    assert (answer.backend, answer.model, answer.language) == ("whisper", "tiny.en", "en")
    assert answer.seconds == 12.5


def test_one_worker_serves_many(backend: WhisperBackend) -> None:
    first, second = backend.transcribe(audio()).text, asyncio.run(backend.atranscribe(audio())).text
    assert pid_of(first) == pid_of(second)


def test_nothing_is_started_before_it_is_needed(backend: WhisperBackend) -> None:
    assert backend.served().name == "tiny.en"
    assert backend.worker_pid is None


def test_close_ends_the_worker_and_the_next_use_starts_another(backend: WhisperBackend) -> None:
    first = pid_of(backend.transcribe(audio()).text)
    backend.close()
    assert gone(first)
    assert pid_of(backend.transcribe(audio()).text) != first


def test_a_killed_worker_is_replaced(backend: WhisperBackend) -> None:
    first = pid_of(backend.transcribe(audio()).text)
    os.kill(first, signal.SIGKILL)
    time.sleep(0.1)
    assert pid_of(backend.transcribe(audio()).text) != first


def test_a_crash_is_an_error_with_last_words_and_the_next_use_works(backend: WhisperBackend, weights: Path) -> None:
    (weights / "script").write_text("crash")
    with pytest.raises(ServerError, match=r"status -6.*no more memory"):
        backend.transcribe(audio())
    (weights / "script").write_text("")
    assert "samples" in backend.transcribe(audio()).text


def test_an_error_inside_leaves_the_worker_alive(backend: WhisperBackend, weights: Path) -> None:
    first = pid_of(backend.transcribe(audio()).text)
    (weights / "script").write_text("raise")
    with pytest.raises(ServerError, match="cannot make sense of this"):
        backend.transcribe(audio())
    (weights / "script").write_text("")
    assert pid_of(backend.transcribe(audio()).text) == first


def test_a_hanging_worker_is_stopped(backend: WhisperBackend, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pid_of(backend.transcribe(audio()).text)
    (weights / "script").write_text("hang")
    monkeypatch.setattr("voxtral_ops.speech.whisper.PATIENCE", 0.3)
    monkeypatch.setattr("voxtral_ops.speech.whisper.PATIENCE_PER_SECOND", 0.0)
    with pytest.raises(ServerError, match="too long"):
        backend.transcribe(audio())
    assert gone(first)


def test_close_interrupts_a_recording(backend: WhisperBackend, weights: Path) -> None:
    backend.transcribe(audio())
    (weights / "script").write_text("hang")
    waiting = [backend._submit(_Session.transcribe, audio(), None) for _ in range(3)]
    time.sleep(0.2)
    began = time.monotonic()
    backend.close()
    assert time.monotonic() - began < 5
    assert [type(each.exception(timeout=5)) for each in waiting] == [ServerError] * 3


def test_close_interrupts_a_start(backend: WhisperBackend, weights: Path) -> None:
    (weights / "script").write_text("slow start")
    waiting = backend._submit(_Session.transcribe, audio(), None)
    assert waited(lambda: backend.worker_pid is not None)
    pid = backend.worker_pid
    began = time.monotonic()
    backend.close()
    assert time.monotonic() - began < 5
    assert pid is not None
    assert gone(pid)
    assert isinstance(waiting.exception(timeout=5), ServerError)


def test_a_thread_that_ends_does_not_take_the_worker_with_it(backend: WhisperBackend) -> None:
    texts: list[str] = []
    for _ in range(2):
        thread = threading.Thread(target=lambda: texts.append(backend.transcribe(audio()).text))
        thread.start()
        thread.join()
    assert pid_of(texts[0]) == pid_of(texts[1])


def test_weights_that_do_not_load_are_the_hosts_fault(backend: WhisperBackend, weights: Path) -> None:
    (weights / "script").write_text("broken weights")
    with pytest.raises(HostError, match=r"model\.bin is truncated"):
        backend.transcribe(audio())


def test_an_interpreter_without_whisper(weights: Path) -> None:
    backend = WhisperBackend(WhisperSetup(Path(sys.executable), weights))
    with pytest.raises(HostError, match="faster_whisper") as caught:
        backend.transcribe(audio())
    backend.close()
    assert "voxtral-ops up" in caught.value.hint


@pytest.mark.parametrize(
    ("missing", "words"),
    [("python", "not installed"), ("model.bin", "no weights"), ("tokenizer.json", "lack tokenizer")],
)
def test_what_is_missing_is_named_and_nothing_is_fetched(python: Path, weights: Path, missing: str, words: str) -> None:
    (python if missing == "python" else weights / missing).unlink()
    backend = WhisperBackend(WhisperSetup(python, weights))
    with pytest.raises(HostError, match=words):
        backend.transcribe(audio())
    with pytest.raises(HostError, match=words):
        backend.served()
    backend.close()


def test_not_installed_at_all() -> None:
    with pytest.raises(HostError, match="not installed") as caught:
        WhisperBackend(WhisperSetup(None, None)).served()
    assert caught.value.hint


def test_english_weights_refuse_other_languages(backend: WhisperBackend) -> None:
    with pytest.raises(ModelError, match="English only"):
        backend.transcribe(audio(), "de")
    with pytest.raises(ConfigurationError):
        backend.transcribe(audio(), "german")


def test_multilingual_weights_are_told_the_language(backend: WhisperBackend, weights: Path) -> None:
    (weights / "script").write_text("multilingual")
    assert backend.transcribe(audio(), "DE").language == "de"


def test_the_manifest_gives_the_revision(backend: WhisperBackend, weights: Path) -> None:
    assert backend.transcribe(audio()).release is None
    (weights / "manifest.json").write_text('{"revision": "abc"}')
    assert backend.transcribe(audio()).release == "abc"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_worker_ends_with_the_process_that_started_it(how: signal.Signals, python: Path, weights: Path) -> None:
    (weights / "script").write_text("")
    program = f"""
import sys, time, pathlib
sys.path.insert(0, {str(Path(__file__).resolve().parents[3])!r})
from tests.unit.speech.support import audio
from voxtral_ops.speech.whisper import WhisperBackend, WhisperSetup
backend = WhisperBackend(WhisperSetup(pathlib.Path({str(python)!r}), pathlib.Path({str(weights)!r})))
print(backend.transcribe(audio()).text, flush=True)
pathlib.Path({str(weights)!r}, "script").write_text("hang")
backend.transcribe(audio())
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert parent.stdout is not None
    worker = pid_of(parent.stdout.readline().strip())
    time.sleep(0.3)
    parent.send_signal(how)
    parent.wait(timeout=15)
    parent.stdout.close()
    assert waited(lambda: not Path(f"/proc/{worker}").exists())


def test_the_worker_does_not_see_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXTRAL_API_KEY", "s3cret")
    assert "s3cret" not in str(worker_process._environment())
