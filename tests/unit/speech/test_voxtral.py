"""The client of a vLLM server: what it sends, and what it makes of every kind of answer."""

import asyncio
import json
import os
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests.unit.speech.support import audio
from voxtral_ops.errors import (
    CapacityError,
    ConfigurationError,
    ModelError,
    NetworkError,
    ServerError,
    VoxtralError,
)
from voxtral_ops.speech import VoxtralBackend
from voxtral_ops.speech.connection import Connections, upload
from voxtral_ops.speech.policy import FallbackPolicy
from voxtral_ops.speech.voxtral import Endpoint
from voxtral_ops.testing import FakeEngine, Reply
from voxtral_ops.testing.fake_engine import events

RECORDED = Path(__file__).resolve().parents[2] / "data" / "vllm_errors"


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    with FakeEngine() as running:
        yield running


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Any:
    def sync(url: str, language: str | None = None, **endpoint: Any) -> Any:
        backend = VoxtralBackend(Endpoint(url=url, **endpoint))
        try:
            return backend.transcribe(audio(), language)
        finally:
            backend.close()

    def later(url: str, language: str | None = None, **endpoint: Any) -> Any:
        async def inside() -> Any:
            backend = VoxtralBackend(Endpoint(url=url, **endpoint))
            try:
                return await backend.atranscribe(audio(), language)
            finally:
                backend.close()

        return asyncio.run(inside())

    return sync if request.param == "sync" else later


def failure(ask: Any, engine: FakeEngine, *replies: Reply, **endpoint: Any) -> VoxtralError:
    engine.script(*replies)
    with pytest.raises(VoxtralError) as caught:
        ask(engine.url, **endpoint)
    assert caught.value.hint
    return caught.value


def recorded(name: str) -> Reply:
    raw = json.loads((RECORDED / f"{name}.json").read_text())
    return Reply(status=raw["status"], body=raw["body"], content_type=raw["content_type"])


def test_the_words_come_back_with_their_facts(ask: Any, engine: FakeEngine) -> None:
    engine.text = "  turn on the light "
    answer = ask(engine.url, "en", release="r1")
    assert answer.text == "turn on the light"
    assert (answer.backend, answer.model, answer.release, answer.language) == ("voxtral", engine.model, "r1", "en")
    assert answer.seconds == 1.0
    assert answer.elapsed > 0
    assert not answer.demonstration


def test_what_is_sent_is_16_khz_wav_and_the_served_name(ask: Any, engine: FakeEngine) -> None:
    ask(engine.url, "en", api_key=SecretStr("s3cret"))
    (request,) = engine.requests
    assert request.file == audio().wav_bytes()
    assert request.fields["model"] == engine.model
    assert request.fields["language"] == "en"
    assert float(request.fields["temperature"]) == 0
    assert "max_completion_tokens" not in request.fields
    assert request.headers["authorization"] == "Bearer s3cret"


def test_no_language_sends_none(ask: Any, engine: FakeEngine) -> None:
    ask(engine.url)
    assert "language" not in engine.requests[0].fields


def test_a_streaming_model_is_told_when_to_stop(ask: Any, engine: FakeEngine) -> None:
    engine.model = "mistralai/Voxtral-Mini-4B-Realtime-2602"
    assert ask(engine.url).model == "realtime-4b"
    assert int(engine.requests[0].fields["max_completion_tokens"]) == 73


def test_nano_is_known_as_a_demonstration(ask: Any, engine: FakeEngine) -> None:
    engine.model = "voxtral-ops/nano"
    answer = ask(engine.url)
    assert answer.demonstration
    assert answer.model == "nano"


def test_a_served_name_that_only_the_plan_knows(ask: Any, engine: FakeEngine) -> None:
    engine.model = "speech"
    assert ask(engine.url, models={"speech": "nano"}).demonstration


@pytest.mark.parametrize("name", ["nano", "voxtral-ops/nano"])
def test_a_model_may_be_asked_for_by_either_name(ask: Any, engine: FakeEngine, name: str) -> None:
    engine.model = "voxtral-ops/nano"
    assert ask(engine.url, model=name).model == "nano"
    assert engine.requests[0].fields["model"] == "voxtral-ops/nano"


def test_an_empty_text_is_reported_as_empty(ask: Any, engine: FakeEngine) -> None:
    engine.script(recorded("silence"))
    assert ask(engine.url).text == ""


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("not_audio", ServerError, "audio libraries"),
        ("empty_file", ServerError, "audio libraries"),
        ("no_such_model", ServerError, "changed its model"),
        ("no_key", ConfigurationError, "refuses the key"),
        ("too_long_for_context", ModelError, "too long"),
        ("longer_than_600_s", ModelError, "too long"),
        ("more_than_25_mb", ModelError, "too long"),
        ("unknown_language", ModelError, "Unsupported language"),
        ("verbose_json", ServerError, "did not understand"),
        ("no_file", ServerError, "did not understand"),
        ("engine_dead", ServerError, "failed: 500"),
    ],
)
def test_what_vllm_really_said(ask: Any, engine: FakeEngine, name: str, kind: type[VoxtralError], words: str) -> None:
    error = failure(ask, engine, recorded(name))
    assert type(error) is kind
    assert words in error.message


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (
            Reply(status=400, body={"error": {"message": "Invalid or unsupported audio file."}}),
            ServerError,
            "libraries",
        ),
        (Reply(status=413, body="<html>Request Entity Too Large</html>"), ModelError, "too long"),
        (Reply(status=429, body={"error": {"message": "slow down"}}), CapacityError, "slow down"),
        (Reply(status=503, body={"error": {"message": "queue is full"}}), CapacityError, "queue is full"),
        (Reply(status=502, body="<html><b>Bad Gateway</b></html>"), NetworkError, "Bad Gateway"),
        (Reply(status=500, body=""), ServerError, "without a word"),
        (Reply(status=501, body={"error": {"message": "no transcription"}}), ModelError, "does not transcribe"),
        (Reply(status=404, body={"detail": "Not Found"}), ConfigurationError, "no Voxtral server"),
        (Reply(status=418, body="teapot"), ServerError, "teapot"),
        (Reply(body={"error": {"message": "engine died", "code": 500}}), ServerError, "engine died"),
        (Reply(body={"error": "Unauthorized"}), ServerError, "Unauthorized"),
        (Reply(body={"error": {"message": "full", "code": 503}}), CapacityError, "full"),
        (Reply(body={"words": "hello"}), ServerError, "without a text"),
        (Reply(body={"text": None}), ServerError, "without a text"),
        (Reply(body="<html>Welcome</html>", content_type="text/html"), ServerError, "Welcome"),
        (Reply(body="[1]"), ServerError, "else than JSON"),
        (Reply(drop=True), NetworkError, "broke"),
    ],
)
def test_every_other_answer(ask: Any, engine: FakeEngine, reply: Reply, kind: type[VoxtralError], words: str) -> None:
    error = failure(ask, engine, reply)
    assert type(error) is kind
    assert words in error.message


def test_nothing_is_tried_twice(ask: Any, engine: FakeEngine) -> None:
    failure(ask, engine, Reply(status=503, body="{}"))
    assert len(engine.requests) == 1


def test_a_silent_server_is_given_up(ask: Any, engine: FakeEngine) -> None:
    error = failure(ask, engine, Reply(delay=5), timeout=0.3)
    assert isinstance(error, NetworkError)
    assert "no answer in 0.3 s" in error.message


def test_a_wrong_key_is_a_setting(ask: Any, engine: FakeEngine) -> None:
    engine.api_key = "right"
    error = failure(ask, engine, api_key=SecretStr("wrong"))
    assert isinstance(error, ConfigurationError)
    assert "wrong" not in str(error.as_dict())


def test_an_unprintable_key_is_not_printed(ask: Any, engine: FakeEngine) -> None:
    error = failure(ask, engine, api_key=SecretStr("s3\ncret"))
    assert isinstance(error, ConfigurationError)
    assert "cret" not in repr(error) + str(error.as_dict())


def test_a_model_that_is_not_served_is_named_with_those_that_are(ask: Any, engine: FakeEngine) -> None:
    error = failure(ask, engine, model="small-24b")
    assert isinstance(error, ConfigurationError)
    assert "small-24b" in error.message
    assert engine.model in error.message


def test_nobody_listens(ask: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(NetworkError, match=f"nobody listens at http://127.0.0.1:{port}") as caught:
        ask(f"http://127.0.0.1:{port}")
    assert "voxtral-ops up" in caught.value.hint


def test_plain_http_where_tls_is_expected(ask: Any, engine: FakeEngine) -> None:
    with pytest.raises(NetworkError, match="no TLS") as caught:
        ask(engine.url.replace("http:", "https:"))
    assert caught.value.hint


def test_a_proxy_in_the_environment_is_not_for_this_machine(
    ask: Any, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert ask(engine.url).text == engine.text


def test_after_a_change_of_model_the_next_call_finds_the_new_one(engine: FakeEngine) -> None:
    backend = VoxtralBackend(Endpoint(url=engine.url))
    backend.transcribe(audio())
    engine.model = "voxtral-ops/nano"
    with pytest.raises(ServerError, match="changed its model"):
        backend.transcribe(audio())
    assert backend.transcribe(audio()).model == "nano"
    backend.close()


def test_threads_share_one_backend(engine: FakeEngine) -> None:
    backend = VoxtralBackend(Endpoint(url=engine.url))
    texts: list[str] = []
    threads = [threading.Thread(target=lambda: texts.append(backend.transcribe(audio()).text)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    backend.close()
    assert texts == [engine.text] * 8


def streamed(engine: FakeEngine) -> list[str]:
    backend = VoxtralBackend(Endpoint(url=engine.url))
    try:
        return [each.text for each in backend.stream(audio())]
    finally:
        backend.close()


def test_words_come_one_by_one(engine: FakeEngine) -> None:
    engine.text = "turn on the light"
    assert streamed(engine) == ["turn", "turn on", "turn on the", "turn on the light"]
    assert engine.requests[0].fields["stream"] == "true"


def test_a_stream_of_silence_has_one_empty_answer(engine: FakeEngine) -> None:
    engine.text = ""
    assert streamed(engine) == [""]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (events("turn on", end=""), "in the middle"),
        (events("turn on", end='data: {"error": {"message": "engine died", "code": 500}}\n\n'), "engine died"),
        (events("turn on", end="data: oops\n\n"), "else than JSON"),
    ],
)
def test_a_stream_that_breaks_off_is_an_error(engine: FakeEngine, body: str, words: str) -> None:
    engine.script(Reply(body=body, content_type="text/event-stream"))
    backend, heard = VoxtralBackend(Endpoint(url=engine.url)), list[str]()
    with pytest.raises(VoxtralError, match=words) as caught:
        heard.extend(each.text for each in backend.stream(audio()))
    backend.close()
    assert caught.value.hint
    assert heard == ["turn", "turn on"]


def test_a_refusal_of_a_stream_is_the_same_as_any_other(engine: FakeEngine) -> None:
    engine.script(Reply(status=503, body={"error": {"message": "full"}}))
    with pytest.raises(CapacityError, match="full"):
        streamed(engine)


def test_a_server_that_refuses_before_it_has_read_the_sound_is_understood() -> None:
    """As proxies do with what is too large: they answer and hang up, while the client is still sending."""
    body = b'{"error": {"message": "slow down"}}'
    answer = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            taken, _ = listening.accept()
            with taken:
                taken.recv(100)
                taken.sendall(answer)

        thread = threading.Thread(target=refuse)
        thread.start()
        connections = Connections(f"http://127.0.0.1:{listening.getsockname()[1]}", connect_timeout=5, timeout=20)
        got = connections.post("/", upload({}, "recording.wav", [bytes(1 << 25)]))
        thread.join()
        connections.close()
    assert (got.status, got.body.encode()) == (429, body)


@pytest.mark.parametrize("stream", [False, True])
def test_who_waits_while_it_is_closed_is_told_and_nobody_answers_instead(engine: FakeEngine, stream: bool) -> None:
    engine.script(Reply(delay=60))
    backend, caught = VoxtralBackend(Endpoint(url=engine.url)), list[VoxtralError]()

    def wait() -> None:
        try:
            list(backend.stream(audio())) if stream else backend.transcribe(audio())
        except VoxtralError as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not engine.requests:
        thread.join(0.01)
    backend.close()
    thread.join(30)
    assert [error.details.get("code") for error in caught] == ["closed"]
    assert FallbackPolicy().after_error(caught[0]) is None
    assert backend.transcribe(audio()).text == engine.text
    backend.close()


def test_a_thousand_open_files_do_not_hinder_a_kept_connection(engine: FakeEngine) -> None:
    with ExitStack() as files:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = soft if soft == resource.RLIM_INFINITY else max(soft, min(hard if hard > 0 else 4096, 4096))
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        files.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1100):
            files.enter_context(Path(os.devnull).open("rb"))
        backend = VoxtralBackend(Endpoint(url=engine.url))
        files.callback(backend.close)
        assert [backend.transcribe(audio()).text for _ in range(2)] == [engine.text] * 2


def test_what_is_served_can_be_asked_afresh(engine: FakeEngine) -> None:
    backend = VoxtralBackend(Endpoint(url=engine.url))
    first = backend.served().name
    engine.model = "voxtral-ops/nano"
    assert (backend.served().name, backend.served(afresh=True).name) == (first, "nano")
    backend.close()
