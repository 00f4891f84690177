"""Real Whisper on real human speech: the words, the fallback when the server is down, and no process left behind."""

import time
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.recordings import WORDS, jfk
from voxtral_ops.config import VoxtralConfig
from voxtral_ops.manager import VoxtralManager
from voxtral_ops.speech import word_error_rate
from voxtral_ops.testing import FakeEngine, Reply

pytestmark = pytest.mark.integration


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    """A server that can be made to fail."""
    with FakeEngine() as running:
        yield running


@pytest.fixture
def manager(python: Path, weights: Path, engine: FakeEngine) -> Iterator[VoxtralManager]:
    config = VoxtralConfig(server=engine.url, whisper_python=python, whisper_weights=weights)
    with VoxtralManager(config) as running:
        yield running


def test_the_words_of_a_human_being(manager: VoxtralManager) -> None:
    answer = manager.transcribe(jfk(), backend="whisper")
    assert word_error_rate(WORDS, answer.text) <= 0.05
    assert (answer.backend, answer.model, answer.language) == ("whisper", "tiny.en", "en")
    assert answer.release
    assert answer.seconds == 11.0


def test_when_the_server_fails_whisper_answers_and_says_why(manager: VoxtralManager, engine: FakeEngine) -> None:
    engine.script(Reply(status=500, body={"error": {"message": "EngineCore encountered an issue."}}))
    answer = manager.transcribe(jfk())
    assert word_error_rate(WORDS, answer.text) <= 0.05
    assert answer.fallback_reason is not None
    assert "EngineCore encountered an issue" in answer.fallback_reason


def test_silence_stays_silent(manager: VoxtralManager, tmp_path: Path) -> None:
    path = tmp_path / "silence.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(64_000))
    assert len(manager.transcribe(path, backend="whisper").text.split()) <= 1


def test_the_second_recording_needs_no_second_start(manager: VoxtralManager) -> None:
    first = manager.transcribe(jfk(), backend="whisper").elapsed
    second = manager.transcribe(jfk(), backend="whisper").elapsed
    print(f"first {first} s with start, then {second} s for 11 s of speech")
    assert second < first


def test_closing_leaves_no_process(manager: VoxtralManager) -> None:
    manager.transcribe(jfk(), backend="whisper")
    pid = manager.whisper.worker_pid
    assert pid
    manager.close()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{pid}").exists()
