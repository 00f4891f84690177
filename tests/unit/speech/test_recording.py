"""Recordings of any length: every piece heard once, in order, resumed after any interruption."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.unit.speech.support import audio
from voxtral_ops.audio import RATE, Audio, Span
from voxtral_ops.errors import HostError, NetworkError, VoxtralError
from voxtral_ops.speech.batch import heard_of
from voxtral_ops.speech.journal import KEPT_DAYS, Journal
from voxtral_ops.speech.recording import Listening, Progress, listen, listen_aloud
from voxtral_ops.speech.transcript import Signals, Transcript, Word

LENGTHS = (1.3, 2.1, 0.9, 2.6, 1.7, 1.1)
"""Seconds of each sentence; half a second of silence is between two."""


def syllables(seconds: float, level: float) -> NDArray[np.float32]:
    noise = np.random.default_rng(7).uniform(-level, level, round(RATE * seconds)).astype(np.float32)
    return noise * (np.arange(len(noise)) % 2400 < 1900).astype(np.float32)


@pytest.fixture
def talk() -> Audio:
    """Six sentences; the first sample of each tells which it is."""
    quiet = np.zeros(RATE // 2, np.float32)
    parts = [quiet]
    for length in LENGTHS:
        parts += [syllables(length, 0.4), quiet]
    return audio(np.concatenate(parts))


def sentence(piece: Audio) -> str:
    """Says how much sound it heard, which tells pieces apart and shows whether one was lost or doubled."""
    return f"{np.abs(piece.read()).sum():.0f}"


def transcript(text: str, piece: Audio, **facts: object) -> Transcript:
    return Transcript.model_validate(
        {"text": text, "language": "en", "backend": "voxtral", "model": "m", "seconds": piece.seconds, "elapsed": 0.1}
        | facts
    )


class Ear:
    """Hears pieces, and fails at those it is told to."""

    def __init__(self, failing: tuple[int, ...] = ()) -> None:
        self.heard: list[float] = []
        self.failing = failing
        self.lock = threading.Lock()

    def __call__(self, piece: Audio) -> Transcript:
        with self.lock:
            self.heard.append(piece.seconds)
            number = len(self.heard)
        if number in self.failing:
            raise NetworkError("the line broke", hint="try again")
        return transcript(sentence(piece), piece)


def total(text: str) -> int:
    return sum(int(word) for word in text.split())


@pytest.mark.parametrize("concurrency", [1, 3, 8])
def test_no_sound_is_lost_or_heard_twice(talk: Audio, concurrency: int) -> None:
    ear, told = Ear(), list[Progress]()
    answer = listen(talk, Listening(ear, longest=4.0, concurrency=concurrency, report=told.append))
    assert len(ear.heard) >= 3
    assert total(answer.text) == pytest.approx(int(sentence(talk)), abs=len(ear.heard))
    assert answer.seconds == pytest.approx(talk.seconds, abs=0.001)
    assert told[-1].pieces == told[-1].of_pieces == len(ear.heard)
    assert told[-1].seconds == pytest.approx(told[-1].of)
    assert max(ear.heard) <= 4.0


def test_the_order_is_that_of_the_recording_whoever_answers_first(talk: Audio) -> None:
    first = threading.Event()

    def hear(piece: Audio) -> Transcript:
        if not first.is_set() and threading.current_thread().name.endswith("_0"):
            first.wait(2)
        first.set()
        return transcript(f"{piece.first}", piece)

    answer = listen(talk, Listening(hear, longest=4.0, concurrency=2))
    places = [int(word) for word in answer.text.split()]
    assert places == sorted(places)


def test_an_interrupted_job_goes_on_where_it_was(talk: Audio, tmp_path: Path) -> None:
    whole = listen(talk, Listening(Ear(), longest=4.0))
    sent: list[float] = []
    for failing in (1, 2):
        ear = Ear(failing=(failing,))
        with Journal(tmp_path, job=1) as journal, pytest.raises(NetworkError, match="0:00:0.* of talk.wav: the line"):
            listen(talk, Listening(ear, longest=4.0, concurrency=1), journal)
        sent += ear.heard[: failing - 1]
    ear = Ear()
    with Journal(tmp_path, job=1) as journal:
        answer = listen(talk, Listening(ear, longest=4.0, concurrency=1), journal)
        journal.forget()
    assert answer.text == whole.text
    assert sorted(sent + ear.heard) == sorted(pieces_of(talk))
    assert list(tmp_path.iterdir()) == []


def pieces_of(talk: Audio) -> list[float]:
    ear = Ear()
    listen(talk, Listening(ear, longest=4.0, concurrency=1))
    return ear.heard


def test_a_torn_last_line_costs_that_piece_only(talk: Audio, tmp_path: Path) -> None:
    with Journal(tmp_path, job=1) as journal:
        listen(talk, Listening(Ear(), longest=4.0, concurrency=1), journal)
    assert journal.path.stat().st_mode & 0o777 == 0o600
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    ear = Ear()
    with Journal(tmp_path, job=1) as again:
        listen(talk, Listening(ear, longest=4.0, concurrency=1), again)
    assert len(ear.heard) == 1


def test_two_jobs_do_not_write_one_journal(tmp_path: Path) -> None:
    with Journal(tmp_path, job=1):
        with pytest.raises(HostError, match="another job") as caught, Journal(tmp_path, job=1):
            pass
        with Journal(tmp_path, job=2):
            pass
    assert caught.value.hint
    with Journal(tmp_path, job=1):
        pass


def test_a_full_disk_is_told_and_told_once(talk: Audio, tmp_path: Path) -> None:
    """/dev/full refuses what is written to it, also when it is closed."""
    with Journal(tmp_path, job=1) as journal, Path("/dev/full").open("r+b", buffering=0) as full:
        assert journal._stream is not None
        os.dup2(full.fileno(), journal._stream.fileno())
        with pytest.raises(HostError, match="No space left") as caught:
            journal.add(Span(0, 1), transcript("a", talk))
    assert "free some space" in caught.value.hint


def test_an_abandoned_journal_is_erased(tmp_path: Path) -> None:
    for number, days in ((1, KEPT_DAYS + 1), (2, KEPT_DAYS - 1)):
        with Journal(tmp_path, job=number) as journal:
            pass
        then = time.time() - days * 86_400
        os.utime(journal.path, (then, then))
    with Journal(tmp_path, job=3) as last:
        assert set(tmp_path.iterdir()) == {journal.path, last.path}


def test_pieces_of_a_language_without_spaces_are_joined_without(talk: Audio) -> None:
    answer = listen(talk, Listening(lambda piece: transcript("你好。", piece, language=None), longest=4.0))
    assert set(answer.text.split("。")) == {"你好", ""}
    assert " " not in answer.text
    assert answer.signals.words_per_second is None


def test_another_job_has_another_journal(tmp_path: Path) -> None:
    assert Journal(tmp_path, language="en").path != Journal(tmp_path, language="fr").path


def test_after_a_failure_nothing_new_is_begun(talk: Audio) -> None:
    ear = Ear(failing=(1,))
    with pytest.raises(NetworkError):
        listen(talk, Listening(ear, longest=1.5, concurrency=1))
    assert len(ear.heard) == 1


@pytest.mark.parametrize("aligned", [False, True])
def test_times_are_those_of_the_whole_recording(talk: Audio, aligned: bool) -> None:
    def align(piece: Audio, text: str, language: str | None) -> tuple[Word, ...]:
        step = piece.seconds / len(text.split())
        return tuple(
            Word(text=word, start=number * step, end=(number + 1) * step, confidence=0.7)
            for number, word in enumerate(text.split())
        )

    how = Listening(
        lambda piece: transcript("one two three.", piece), longest=4.0, times=True, align=align if aligned else None
    )
    answer = listen(talk, how)
    edges = [edge for segment in answer.segments for edge in (segment.start, segment.end)]
    assert edges == sorted(edges)
    assert edges[-1] <= talk.seconds
    assert edges[-1] > talk.seconds - 2
    assert {segment.timing for segment in answer.segments} == {"aligned" if aligned else "estimated"}
    assert " ".join(segment.text for segment in answer.segments) == answer.text


def test_an_aligner_that_fails_leaves_an_estimate(talk: Audio) -> None:
    def align(piece: Audio, text: str, language: str | None) -> tuple[Word, ...]:
        raise NetworkError("gone")

    answer = listen(talk, Listening(lambda piece: transcript("one", piece), longest=4.0, times=True, align=align))
    assert {segment.timing for segment in answer.segments} == {"estimated"}


def test_words_that_the_aligner_does_not_recognise_are_estimated(talk: Audio) -> None:
    def align(piece: Audio, text: str, language: str | None) -> tuple[Word, ...]:
        return (Word(text=text, start=0.0, end=piece.seconds, confidence=0.1),)

    answer = listen(talk, Listening(lambda piece: transcript("un", piece), longest=4.0, times=True, align=align))
    assert {segment.timing for segment in answer.segments} == {"estimated"}


def test_where_no_speech_is_found_all_of_it_is_heard() -> None:
    noise = np.random.default_rng(3).uniform(-0.001, 0.001, round(RATE * 9.5)).astype(np.float32)
    music, ear = audio(noise), Ear()  # too quiet for a detector, not for a model
    assert music.speech == ()
    answer = listen(music, Listening(ear, longest=4.0))
    assert len(ear.heard) == 3
    assert total(answer.text) == pytest.approx(int(sentence(music)), abs=3)


def test_who_answered_is_told_for_the_whole(talk: Audio) -> None:
    def hear(piece: Audio) -> Transcript:
        if piece.first == 0 or piece.first > talk.count // 2:
            facts = {"backend": "whisper", "model": "tiny.en", "fallback_reason": "the server is full"}
            return transcript("w", piece, signals=Signals(confidence=0.5), **facts)
        return transcript("v", piece)

    answer = listen(talk, Listening(hear, longest=2.0, concurrency=1))
    assert answer.fallback_reason is not None
    assert " parts: the server is full" in answer.fallback_reason
    assert answer.signals.confidence == 0.5
    assert answer.signals.speech_seconds == pytest.approx(sum(LENGTHS), abs=2)


def test_aloud_says_more_and_more(talk: Audio) -> None:
    def stream(piece: Audio):  # type: ignore[no-untyped-def]
        yield transcript("a", piece)
        yield transcript("a b", piece)

    said = list(listen_aloud(talk, 4.0, stream))
    pieces = len(pieces_of(talk))
    wanted = [" ".join(["a b"] * done + last) for done in range(pieces) for last in (["a"], ["a b"])]
    assert [each.text for each in said] == [*wanted, wanted[-1]]
    assert said[-1].signals.compression is not None


def test_a_batch_gives_each_its_own_answer() -> None:
    def hear(source: object) -> Transcript:
        if source == "bad":
            raise NetworkError("gone")
        return transcript(str(source), audio())

    found = {each.name: each for each in heard_of(["a", "bad", "b"], hear, at_once=2)}
    assert {name: each.transcript and each.transcript.text for name, each in found.items()} == {
        "a": "a",
        "bad": None,
        "b": "b",
    }
    assert isinstance(found["bad"].error, VoxtralError)
