"""Who answers, and what the answer says about it; synchronous and asynchronous callers get the same."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.speech.support import SILENCE, Voice, audio
from voxtral_ops.audio import Audio
from voxtral_ops.errors import (
    AudioError,
    CapacityError,
    ConfigurationError,
    HostError,
    ModelError,
    NetworkError,
    PrivacyError,
    ServerError,
    VoxtralError,
)
from voxtral_ops.speech import ServedModel, SpeechRecognitionRouter, Transcript

NANO = ServedModel("nano", demonstration=True)


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Any:
    def sync(router: SpeechRecognitionRouter, *args: Any, **options: Any) -> Transcript:
        return router.transcribe(*args, **options)

    def later(router: SpeechRecognitionRouter, *args: Any, **options: Any) -> Transcript:
        return asyncio.run(router.atranscribe(*args, **options))

    return sync if request.param == "sync" else later


def pair(voxtral: Voice, whisper: Voice | None = None) -> tuple[SpeechRecognitionRouter, Voice, Voice]:
    second = whisper or Voice("whisper", text="whispered", model=ServedModel("tiny.en"))
    return SpeechRecognitionRouter({"voxtral": voxtral, "whisper": second}), voxtral, second


def test_voxtral_answers_when_it_can(ask: Any) -> None:
    router, _, whisper = pair(Voice("voxtral"))
    answer = ask(router, audio())
    assert (answer.backend, answer.text, answer.fallback_reason) == ("voxtral", "words", None)
    assert whisper.asked == []


@pytest.mark.parametrize(
    "error",
    [
        NetworkError("nobody listens"),
        CapacityError("full"),
        ServerError("failed"),
        ModelError("too long for mini-3b", code="too_long"),
    ],
)
def test_whisper_answers_when_voxtral_cannot_and_says_why(ask: Any, error: VoxtralError) -> None:
    router, _, _ = pair(Voice("voxtral", error=error))
    answer = ask(router, audio())
    assert (answer.backend, answer.text) == ("whisper", "whispered")
    assert error.message in answer.fallback_reason


@pytest.mark.parametrize(
    "error",
    [
        AudioError("bad"),
        ConfigurationError("bad"),
        PrivacyError("no"),
        ModelError("not its language"),
        VoxtralError("?"),
    ],
)
def test_whisper_never_hides_these(ask: Any, error: VoxtralError) -> None:
    router, _, whisper = pair(Voice("voxtral", error=error))
    with pytest.raises(type(error)) as caught:
        ask(router, audio())
    assert caught.value is error
    assert whisper.asked == []


def test_a_demonstration_model_is_not_asked_for_a_persons_recording(ask: Any) -> None:
    router, voxtral, _ = pair(Voice("voxtral", model=NANO))
    answer = ask(router, audio())
    assert answer.backend == "whisper"
    assert "nano is a demonstration model" in answer.fallback_reason
    assert voxtral.asked == []


def test_a_demonstration_model_answers_when_it_is_asked_for(ask: Any) -> None:
    router, _, whisper = pair(Voice("voxtral", model=NANO))
    answer = ask(router, audio(), backend="voxtral")
    assert (answer.backend, answer.demonstration, answer.fallback_reason) == ("voxtral", True, None)
    assert whisper.asked == []


def test_without_whisper_a_demonstration_model_still_does_not_guess(ask: Any) -> None:
    router, voxtral, _ = pair(Voice("voxtral", model=NANO), Voice("whisper", error=HostError("not there", hint="up")))
    with pytest.raises(HostError) as caught:
        ask(router, audio())
    assert "nano" in caught.value.message
    assert "--backend voxtral" in caught.value.hint
    assert voxtral.asked == []


def test_an_empty_answer_to_speech_is_heard_again_by_whisper(ask: Any) -> None:
    router, _, _ = pair(Voice("voxtral", text=""))
    answer = ask(router, audio())
    assert answer.text == "whispered"
    assert "heard no words" in answer.fallback_reason


@pytest.mark.parametrize(
    "whisper",
    [Voice("whisper", text=""), Voice("whisper", error=HostError("not there"))],
    ids=["deaf too", "not there"],
)
def test_an_empty_answer_stays_when_whisper_has_no_better(ask: Any, whisper: Voice) -> None:
    router, _, _ = pair(Voice("voxtral", text=""), whisper)
    answer = ask(router, audio())
    assert (answer.backend, answer.text, answer.fallback_reason) == ("voxtral", "", None)


def test_an_empty_answer_to_silence_is_right(ask: Any) -> None:
    router, _, whisper = pair(Voice("voxtral", text=""))
    assert ask(router, SILENCE).text == ""
    assert whisper.asked == []


def test_when_nobody_can_answer_the_error_says_all(ask: Any) -> None:
    router, _, _ = pair(
        Voice("voxtral", error=NetworkError("nobody listens at :8000", hint="start it")),
        Voice("whisper", error=HostError("Whisper is not installed", hint="install it")),
    )
    with pytest.raises(NetworkError) as caught:
        ask(router, audio())
    error = caught.value
    assert "nobody listens at :8000" in error.message
    assert "Whisper is not installed" in error.message
    assert error.hint == "start it; or install it"
    assert error.as_dict()["details"]["tried"]["whisper"]["type"] == "HostError"


@pytest.mark.parametrize("name", ["voxtral", "whisper"])
def test_a_backend_that_was_asked_for_stands_alone(ask: Any, name: str) -> None:
    router, voxtral, whisper = pair(
        Voice("voxtral", error=NetworkError("down")), Voice("whisper", error=ServerError("x"))
    )
    with pytest.raises(NetworkError if name == "voxtral" else ServerError):
        ask(router, audio(), backend=name)
    assert len(voxtral.asked) + len(whisper.asked) == 1


def test_a_language_is_checked_before_anybody_is_asked(ask: Any) -> None:
    router, voxtral, _ = pair(Voice("voxtral"))
    with pytest.raises(ConfigurationError) as caught:
        ask(router, audio(), language="en-US")
    assert "did you mean en?" in caught.value.hint
    assert voxtral.asked == []
    ask(router, audio(), language="EN")
    assert voxtral.asked == ["en"]


def test_an_unknown_backend_is_named(ask: Any) -> None:
    router, _, _ = pair(Voice("voxtral"))
    with pytest.raises(ConfigurationError, match="kaldi"):
        ask(router, audio(), backend="kaldi")


def test_recognize_is_audio_in_text_out() -> None:
    router, _, _ = pair(Voice("voxtral"))
    assert router.recognize(audio()) == "words"


def test_close_reaches_every_backend() -> None:
    router, voxtral, whisper = pair(Voice("voxtral"))
    router.close()
    assert voxtral.closed
    assert whisper.closed


def said(router: SpeechRecognitionRouter, **options: Any) -> list[tuple[str, str]]:
    return [(each.backend, each.text) for each in router.stream(audio(), **options)]


class Breaking(Voice):
    """Says a word, then the line breaks."""

    def stream(self, audio: Audio, language: str | None = None) -> Iterator[Transcript]:
        yield self.transcribe(audio, language)
        raise NetworkError("the line broke")


@pytest.mark.parametrize(
    ("voxtral", "wanted", "asked"),
    [
        (Voice("voxtral"), [("voxtral", "words")], 1),
        (Breaking("voxtral"), [("voxtral", "words"), ("whisper", "whispered")], 1),
        (Voice("voxtral", error=CapacityError("full")), [("whisper", "whispered")], 0),
        (Voice("voxtral", text=""), [("voxtral", ""), ("whisper", "whispered")], 1),
        (Voice("voxtral", model=NANO), [("whisper", "whispered")], 0),
    ],
    ids=["well", "breaks off", "full", "silent", "demonstration"],
)
def test_aloud_whisper_takes_over_and_nothing_is_sent_twice(voxtral: Voice, wanted: Any, asked: int) -> None:
    router, _, whisper = pair(voxtral)
    assert said(router) == wanted
    assert (len(voxtral.asked), len(whisper.asked)) == (asked, wanted[-1][0] == "whisper")


def test_aloud_a_backend_that_was_asked_for_stands_alone() -> None:
    router, _, whisper = pair(Breaking("voxtral"))
    with pytest.raises(NetworkError):
        said(router, backend="voxtral")
    assert whisper.asked == []
    assert said(router, backend="whisper") == [("whisper", "whispered")]
