"""SpeechRecognitionRouter: audio in, text out, by whichever backend can answer, saying which and why."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, cast

from voxtral_ops.audio import Audio
from voxtral_ops.errors import ConfigurationError, VoxtralError
from voxtral_ops.speech.backend import Backend, ServedModel
from voxtral_ops.speech.language import checked_language
from voxtral_ops.speech.policy import FallbackPolicy
from voxtral_ops.speech.transcript import Transcript

BackendChoice = Literal["auto", "voxtral", "whisper"]
CHOICES: tuple[BackendChoice, ...] = ("auto", "voxtral", "whisper")


class _Call(Protocol):
    """One thing to ask of a backend; sync and async callers drive the same steps."""

    def now(self) -> Any: ...

    async def later(self) -> Any: ...


@dataclass(frozen=True)
class _Served:
    backend: Backend

    def now(self) -> ServedModel:
        return self.backend.served()

    async def later(self) -> ServedModel:
        return await self.backend.aserved()


@dataclass(frozen=True)
class _Transcribe:
    backend: Backend
    audio: Audio
    language: str | None

    def now(self) -> Transcript:
        return self.backend.transcribe(self.audio, self.language)

    async def later(self) -> Transcript:
        return await self.backend.atranscribe(self.audio, self.language)


_Steps = Generator[_Call, Any, Transcript]


@dataclass(frozen=True)
class SpeechRecognitionRouter:
    """Asks Voxtral, and Whisper when the policy says so. ``backends`` holds them by name."""

    backends: Mapping[str, Backend]
    policy: FallbackPolicy = field(default_factory=FallbackPolicy)

    def recognize(self, audio: Audio) -> str:
        """Audio in, text out."""
        return self.transcribe(audio).text

    def transcribe(self, audio: Audio, backend: BackendChoice = "auto", language: str | None = None) -> Transcript:
        """The words, from the backend asked for, or from whoever answers. Raises VoxtralError."""
        return _driven(self._steps(audio, backend, checked_language(language)))

    async def atranscribe(
        self, audio: Audio, backend: BackendChoice = "auto", language: str | None = None
    ) -> Transcript:
        """The same, for asyncio."""
        steps = self._steps(audio, backend, checked_language(language))
        try:
            call = next(steps)
            while True:
                try:
                    answer = await call.later()
                except VoxtralError as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(answer)
        except StopIteration as done:
            return cast(Transcript, done.value)

    def stream(
        self, audio: Audio, backend: BackendChoice = "auto", language: str | None = None
    ) -> Iterator[Transcript]:
        """The words as they come: each transcript holds all of them so far, the last one is the answer.

        Whisper gives its words all at once. Where it takes over in the middle, its words replace the others.
        """
        code = checked_language(language)
        if backend != "auto":
            yield from self._backend(backend).stream(audio, code)
            return
        voxtral = self._backend("voxtral")
        heard: Transcript | None = None
        try:
            served = voxtral.served()
            if not served.demonstration:
                for heard in voxtral.stream(audio, code):
                    yield heard
        except VoxtralError as error:
            reason = self.policy.after_error(error)
            if reason is None:
                raise
            yield _driven(self._fallback(audio, code, reason, error))
            return
        if heard is None:
            yield _driven(self._fallback(audio, code, self.policy.for_demonstration(served.name), None))
        elif not heard.text:
            yield _driven(self._after_silence(audio, code, heard))

    def served(self, backend: BackendChoice = "auto") -> ServedModel:
        """The model that will answer, as far as it can be known before. Raises VoxtralError when nobody can."""
        if backend == "whisper":
            return self._backend("whisper").served()
        try:
            served = self._backend("voxtral").served()
        except VoxtralError as error:
            if backend == "voxtral" or self.policy.after_error(error) is None:
                raise
            return self._backend("whisper").served()
        return self._backend("whisper").served() if backend == "auto" and served.demonstration else served

    def close(self) -> None:
        """Let go of every backend's connections and processes."""
        for backend in self.backends.values():
            backend.close()

    def _steps(self, audio: Audio, choice: BackendChoice, language: str | None) -> _Steps:
        """The whole decision. Yields what to ask, gets the answer or the error, returns the transcript."""
        if choice != "auto":
            transcript: Transcript = yield _Transcribe(self._backend(choice), audio, language)
            return transcript
        voxtral = self._backend("voxtral")
        refusal: VoxtralError | None = None
        try:
            served: ServedModel = yield _Served(voxtral)
            if served.demonstration:
                reason = self.policy.for_demonstration(served.name)
            else:
                transcript = yield _Transcribe(voxtral, audio, language)
                return transcript if transcript.text else (yield from self._after_silence(audio, language, transcript))
        except VoxtralError as error:
            because = self.policy.after_error(error)
            if because is None:
                raise
            reason, refusal = because, error
        return (yield from self._fallback(audio, language, reason, refusal))

    def _after_silence(self, audio: Audio, language: str | None, first: Transcript) -> _Steps:
        """Voxtral heard nothing. Whisper's words are taken when it has some; its failure changes nothing."""
        reason = self.policy.after_silence(audio, first.model)
        if reason is None:
            return first
        try:
            second: Transcript = yield _Transcribe(self._backend("whisper"), audio, language)
        except VoxtralError:
            return first
        return second.model_copy(update={"fallback_reason": reason}) if second.text else first

    def _fallback(self, audio: Audio, language: str | None, reason: str, refusal: VoxtralError | None) -> _Steps:
        try:
            transcript: Transcript = yield _Transcribe(self._backend("whisper"), audio, language)
        except VoxtralError as error:
            raise nobody_answered(reason, refusal, error) from error
        return transcript.model_copy(update={"fallback_reason": reason})

    def _backend(self, name: str) -> Backend:
        try:
            return self.backends[name]
        except KeyError:
            raise ConfigurationError(
                f"no backend {name!r}", hint=f"known: auto, {', '.join(self.backends)}", value=name
            ) from None


def _driven(steps: _Steps) -> Transcript:
    """Take the steps one after the other, waiting for each."""
    try:
        call = next(steps)
        while True:
            try:
                answer = call.now()
            except VoxtralError as error:
                call = steps.throw(error)
            else:
                call = steps.send(answer)
    except StopIteration as done:
        return cast(Transcript, done.value)


def nobody_answered(reason: str, refusal: VoxtralError | None, whisper: VoxtralError) -> VoxtralError:
    """One error with what was tried, what each said and how to mend either. Its kind is that of Voxtral's failure."""
    ask_anyway = "" if refusal else "to hear what the demonstration model makes of it: --backend voxtral"
    hints = [refusal.hint if refusal else ask_anyway, whisper.hint]
    kind = type(refusal or whisper)
    return kind(
        f"nobody could transcribe this. Voxtral: {reason}. Whisper: {whisper.message}",
        hint="; or ".join(hint for hint in hints if hint),
        tried={
            "voxtral": refusal.as_dict() if refusal else {"message": reason},
            "whisper": whisper.as_dict(),
        },
    )
