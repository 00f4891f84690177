"""The one object an application holds: it finds what is installed, answers, and leaves nothing behind."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import voxtral_ops.manager as module
from tests.unit.audio.sounds import encoded, tone, wav
from tests.unit.speech.support import Voice
from voxtral_ops.audio import Audio, VoxtralAudioProcessor
from voxtral_ops.config import VoxtralConfig
from voxtral_ops.errors import AudioError, NetworkError, ReleaseError
from voxtral_ops.manager import VoxtralManager, installed_plan, whisper_setup
from voxtral_ops.paths import Layout, user_layout
from voxtral_ops.planning.plan import PARTS
from voxtral_ops.testing import FakeEngine, Reply

INSTANCE: dict[str, Any] = {
    "name": "main",
    "model": "nano",
    "repository": "voxtral-ops/nano",
    "revision": "0" * 40,
    "served_name": "speech",
    "port": 8123,
    "arguments": {},
    "environment": {},
    "reasons": {},
    "memory": dict.fromkeys((*PARTS, "limit"), 1),
    "capacity": {"clips": 1, "files": 0, "sessions": 0, "longest_audio": 60},
}
PLAN = {
    "release": "r-1",
    "goal": "balanced",
    "engine": "0.32.0",
    "build": "cpu",
    "instances": [INSTANCE],
    "reasons": {},
}


@pytest.fixture(autouse=True)
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A machine on which nothing is installed."""
    here = replace(user_layout(), home=tmp_path / "home", models=tmp_path / "models")
    monkeypatch.setattr(module, "_layouts", lambda: (here,))
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    return here


def install(layout: Layout, plan: dict[str, Any] | str) -> None:
    release = layout.releases / "r-1"
    release.mkdir(parents=True)
    (release / "plan.json").write_text(plan if isinstance(plan, str) else json.dumps(plan))
    layout.current.symlink_to(release)


def test_bytes_a_path_a_stream_and_audio_are_transcribed(tmp_path: Path) -> None:
    path = tmp_path / "talk.mp3"
    path.write_bytes(encoded("mp3"))
    with FakeEngine() as engine, VoxtralManager(VoxtralConfig(server=engine.url)) as manager, path.open("rb") as stream:
        for source in (path, str(path), path.read_bytes(), stream, manager.processor.load(path)):
            assert manager.transcribe(source).text == engine.text


def test_asyncio_gets_the_same() -> None:
    async def inside(url: str) -> str:
        async with VoxtralManager(VoxtralConfig(server=url)) as manager:
            one, two = await asyncio.gather(manager.atranscribe(encoded("ogg")), manager.atranscribe(encoded("flac")))
            return f"{one.text}, {two.text}"

    with FakeEngine(text="yes") as engine:
        assert asyncio.run(inside(engine.url)) == "yes, yes"


def test_asyncio_hears_words_as_they_come() -> None:
    async def inside(url: str) -> list[str]:
        async with VoxtralManager(VoxtralConfig(server=url)) as manager:
            return [each.text async for each in manager.atranscribe_stream(wav(tone(0.2)))]

    with FakeEngine(text="turn on the light") as engine:
        assert asyncio.run(inside(engine.url))[-2:] == ["turn on the light"] * 2
    assert len(engine.requests) == 1


def test_closing_gets_through_while_all_of_asyncios_threads_wait() -> None:
    async def inside(engine: FakeEngine) -> list[object]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        async with VoxtralManager(VoxtralConfig(server=engine.url, backend="voxtral")) as manager:
            tasks = [asyncio.create_task(manager.atranscribe(wav(tone(0.2)))) for _ in range(2)]
            while not engine.requests:
                await asyncio.sleep(0.01)
        return await asyncio.gather(*tasks, return_exceptions=True)

    with FakeEngine() as engine:
        engine.script(Reply(delay=60))
        first, second = asyncio.run(inside(engine))
    assert isinstance(first, NetworkError)
    assert first.details["code"] == "closed"
    assert getattr(second, "text", None) == engine.text


def test_what_was_begun_before_close_is_not_carried_on() -> None:
    with FakeEngine() as engine:
        manager = VoxtralManager(VoxtralConfig(server=engine.url))

        class Closing(VoxtralAudioProcessor):
            def load(self, source: Any, name: str = "") -> Audio:
                manager.close()
                return super().load(source, name)

        manager.processor = Closing()
        with pytest.raises(NetworkError, match="was closed"):
            manager.transcribe(wav(tone(0.2)))
        with pytest.raises(NetworkError, match="was closed"):
            list(manager.transcribe_stream(wav(tone(0.2))))
        manager.processor = VoxtralAudioProcessor()
        assert manager.transcribe(wav(tone(0.2))).text == engine.text
        manager.close()


def test_what_is_no_recording_reaches_nobody() -> None:
    with FakeEngine() as engine, VoxtralManager(VoxtralConfig(server=engine.url)) as manager:
        with pytest.raises(AudioError):
            manager.transcribe(b"not sound")
        assert engine.requests == []


def test_the_plan_of_this_host_says_where_and_what(layout: Layout) -> None:
    install(layout, PLAN)
    endpoint = VoxtralManager(VoxtralConfig()).endpoint
    assert (endpoint.url, endpoint.release) == ("http://127.0.0.1:8123", "r-1")
    assert endpoint.models == {"speech": "nano"}


def instance(name: str, model: str, port: int) -> dict[str, Any]:
    return {**INSTANCE, "name": name, "model": model, "served_name": f"mistralai/{model}", "port": port}


@pytest.mark.parametrize(
    ("asked", "process", "port"),
    [
        (None, 0, 8001),
        (None, 1, 8002),
        ("realtime-4b", 1, 8000),
        ("mistralai/mini-3b", 3, 8002),
        ("unheard-of", 2, 8001),
    ],
)
def test_of_several_servers_the_right_one(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, asked: str | None, process: int, port: int
) -> None:
    several = [("realtime-4b", "realtime-4b"), ("mini-3b", "mini-3b"), ("mini-3b-2", "mini-3b")]
    found = [instance(name, model, 8000 + number) for number, (name, model) in enumerate(several)]
    install(layout, {**PLAN, "instances": found})
    monkeypatch.setattr(module.os, "getpid", lambda: process)
    endpoint = VoxtralManager(VoxtralConfig(model=asked)).endpoint
    assert endpoint.url == f"http://127.0.0.1:{port}"
    assert endpoint.models == {"mistralai/realtime-4b": "realtime-4b", "mistralai/mini-3b": "mini-3b"}


def test_a_configured_server_beats_the_plan(layout: Layout) -> None:
    install(layout, "broken")
    endpoint = VoxtralManager(VoxtralConfig(server="http://elsewhere:1")).endpoint
    assert (endpoint.url, endpoint.release) == ("http://elsewhere:1", None)


def test_without_anything_it_is_port_8000() -> None:
    assert VoxtralManager(VoxtralConfig()).endpoint.url == "http://127.0.0.1:8000"


@pytest.mark.parametrize("plan", ["", "{", json.dumps({**PLAN, "schema_version": 9})])
def test_a_plan_that_cannot_be_read_is_named(layout: Layout, plan: str) -> None:
    install(layout, plan)
    with pytest.raises(ReleaseError, match=r"plan\.json") as caught:
        installed_plan()
    assert caught.value.hint


def test_installed_whisper_is_found(layout: Layout) -> None:
    assert whisper_setup(VoxtralConfig()).python is None
    (layout.whisper / "current" / "bin").mkdir(parents=True)
    (layout.whisper / "current" / "bin" / "python").touch()
    (layout.models / "whisper" / "small").mkdir(parents=True)
    found = whisper_setup(VoxtralConfig(whisper_size="small", whisper_threads=3))
    assert found.python == layout.whisper / "current" / "bin" / "python"
    assert found.weights == layout.models / "whisper" / "small"
    assert found.threads == 3
    assert whisper_setup(VoxtralConfig(whisper_python=Path("/x"), whisper_weights=Path("/y"))).weights == Path("/y")


def test_whisper_in_the_applications_own_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: name)
    python = whisper_setup(VoxtralConfig()).python
    assert python is not None
    assert python.exists()


def test_check_says_who_could_answer() -> None:
    with FakeEngine(model="voxtral-ops/nano") as engine, VoxtralManager(VoxtralConfig(server=engine.url)) as manager:
        result = manager.check()
    assert (result.model, result.demonstration, result.voxtral_problem) == ("nano", True, "")
    assert "not installed" in result.whisper_problem
    assert result.ok
    with VoxtralManager(VoxtralConfig(server="http://127.0.0.1:9")) as manager:
        result = manager.check()
    assert "nobody listens" in result.voxtral_problem
    assert not result.ok


def test_check_does_not_tell_what_it_once_heard() -> None:
    with FakeEngine() as engine, VoxtralManager(VoxtralConfig(server=engine.url)) as manager:
        assert manager.check().voxtral_problem == ""
        engine.api_key = "changed"
        assert "refuses the key" in manager.check().voxtral_problem


def test_a_broken_plan_is_told_by_check_and_does_not_stop_close(layout: Layout) -> None:
    install(layout, "broken")
    with VoxtralManager(VoxtralConfig()) as manager:
        assert "plan.json" in manager.check().voxtral_problem


def test_nobody_there_is_one_error_with_both_stories() -> None:
    with (
        VoxtralManager(VoxtralConfig(server="http://127.0.0.1:9")) as manager,
        pytest.raises(NetworkError, match=r"nobody listens.*Whisper is not installed"),
    ):
        manager.transcribe(wav(tone(0.2)))


def test_leaving_the_block_closes_the_backends() -> None:
    with VoxtralManager(VoxtralConfig()) as manager:
        voices = {"voxtral": Voice("voxtral"), "whisper": Voice("whisper")}
        manager.__dict__.update(voices)
    assert all(voice.closed for voice in voices.values())


def test_a_broken_plan_is_no_concern_of_whispers(layout: Layout) -> None:
    install(layout, "broken")
    with VoxtralManager(VoxtralConfig(backend="whisper")) as manager:
        manager.__dict__["whisper"] = Voice("whisper", text="words")
        assert manager.transcribe(wav(tone(0.2))).text == "words"
