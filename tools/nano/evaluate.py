"""Measures a served checkpoint over HTTP: speech made with the espeak-ng program, answers compared."""

from __future__ import annotations

import base64
import io
import json
import random
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import requests
import soundfile
import soxr
from numpy.typing import NDArray

from tools.nano.phrases import COMMANDS, UNSEEN, Command, random_sentence, written
from tools.nano.synthesis import RATE, Voice, held_out_voice
from tools.nano.tasks import ABSENT, FUNCTION_NAMES, FUNCTIONS, NO_COMMAND, answer, calls, question

Wave = NDArray[np.float32]

# Worded unlike anything in the training.
NEW_WORDINGS = {
    "summary": "I recorded something; a summary of it would be nice, thanks!",
    "room": "Could I have the room that this note is about?",
    "topic": "In one word, what kind of topic did the person have in mind?",
    "act": "Go ahead and make that happen for me.",
}


def spoken(text: str, voice: Voice) -> bytes:
    """A WAV file from the espeak-ng program, as a user would make it: 22,050 Hz, silence left in."""
    accent = "en-gb" if voice.accent == "en" else voice.accent  # the program names this one differently
    name = f"{accent}+{voice.variant}" if voice.variant else accent
    command = ["espeak-ng", "-v", name, "-s", str(voice.speed), "-p", str(voice.pitch), "--stdout", text]
    return subprocess.run(command, capture_output=True, check=True).stdout


def at_16k(wav: bytes) -> Wave:
    """The samples of a WAV file at 16 kHz."""
    samples, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    return np.asarray(soxr.resample(samples, rate, RATE), dtype=np.float32)


def encoded(wave: Wave, container: str = "WAV", subtype: str | None = None) -> bytes:
    """A sound file with these samples."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(wave, -1, 1), RATE, format=container, subtype=subtype)
    return buffer.getvalue()


def words(text: str) -> list[str]:
    """The words of a text, without case and punctuation."""
    return re.sub(r"[^a-z0-9 ]", "", text.lower()).split()


def word_errors(expected: str, heard: str) -> tuple[int, int]:
    """How many words were added, lost or changed, and how many there should be."""
    wanted, got = words(expected), words(heard)
    row = list(range(len(got) + 1))
    for i, word in enumerate(wanted, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(got, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1], len(wanted)


@dataclass
class Row:
    """One line of the result."""

    name: str
    errors: int = 0
    words: int = 0
    exact: int = 0
    count: int = 0
    seconds: list[float] = field(default_factory=list)
    misses: list[str] = field(default_factory=list)

    def add(self, expected: str, heard: str, seconds: float) -> None:
        """Count one answer."""
        errors, total = word_errors(expected, heard)
        self.errors += errors
        self.words += total
        self.exact += expected == heard
        self.count += 1
        self.seconds.append(seconds)
        if expected != heard:
            self.misses.append(f"{expected!r} -> {heard!r}")

    def as_json(self) -> dict[str, Any]:
        """The line as data."""
        return {
            "name": self.name,
            "word_error_rate": round(100 * self.errors / max(1, self.words), 2),
            "exact": self.exact,
            "count": self.count,
            "median_ms": round(1000 * statistics.median(self.seconds)),
        }


class Server:
    """The two endpoints of a vLLM server."""

    def __init__(self, url: str, model: str) -> None:
        self._url, self._model, self._session = url.rstrip("/"), model, requests.Session()

    def transcribe(self, audio: bytes, language: str | None = "en", name: str = "a.wav") -> tuple[str, float]:
        """The transcript of a file and how long it took."""
        form = {"model": self._model, "temperature": "0"} | ({"language": language} if language else {})
        started = time.monotonic()
        reply = self._session.post(
            f"{self._url}/v1/audio/transcriptions", files={"file": (name, audio)}, data=form, timeout=300
        )
        took = time.monotonic() - started
        return (reply.json()["text"] if reply.ok else f"HTTP {reply.status_code}"), took

    def chat(
        self, audio: bytes, text: str, *, text_first: bool = False, functions: Sequence[str] | None = None
    ) -> tuple[str, float]:
        """The answer to a recording with a text beside it; tool calls as name and JSON, one a line."""
        recording = {"data": base64.b64encode(audio).decode(), "format": "wav"}
        content: list[dict[str, Any]] = [{"type": "input_audio", "input_audio": recording}]
        if text:
            content.insert(0 if text_first else 1, {"type": "text", "text": text})
        body: dict[str, Any] = {
            "model": self._model,
            "temperature": 0,
            "max_tokens": 160,
            "messages": [{"role": "user", "content": content}],
        }
        if functions is not None:
            body["tools"] = [function.declaration() for function in FUNCTIONS if function.name in functions]
        started = time.monotonic()
        reply = self._session.post(f"{self._url}/v1/chat/completions", json=body, timeout=300)
        took = time.monotonic() - started
        if not reply.ok:
            return f"HTTP {reply.status_code}", took
        message = reply.json()["choices"][0]["message"]
        if message.get("tool_calls"):
            called = [entry["function"] for entry in message["tool_calls"]]
            return "\n".join(f"{entry['name']} {_normal_json(entry['arguments'])}" for entry in called), took
        return message["content"] or "", took


def _normal_json(text: str) -> str:
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except ValueError:
        return f"not JSON: {text}"


def expected_calls(commands: Sequence[Command], functions: Sequence[str]) -> str:
    """What `Server.chat` returns when these commands are carried out with these functions."""
    called = calls(commands, functions)
    lines = [f"{call.name} {json.dumps(dict(call.arguments), sort_keys=True)}" for call in called]
    return "\n".join(lines) or NO_COMMAND


class Evaluation:
    """All the measurements of one server."""

    def __init__(self, url: str, model: str, stride: int, seed: int = 1) -> None:
        self._server = Server(url, model)
        self._random, self._numpy = random.Random(seed), np.random.default_rng(seed)
        self._rows: dict[str, Row] = {}
        self._commands = COMMANDS[::stride]
        self._stride = stride
        self._wavs = {command: spoken(command.spoken, held_out_voice(self._random)) for command in self._commands}

    def _add(self, name: str, expected: str, result: tuple[str, float]) -> None:
        self._rows.setdefault(name, Row(name)).add(expected, *result)

    def run(self) -> Iterable[Row]:
        """Measure everything."""
        parts: tuple[Callable[[], None], ...] = (
            self._transcripts, self._questions, self._functions,
            self._other_words, self._several, self._sounds,
        )  # fmt: skip
        self._server.transcribe(next(iter(self._wavs.values())))
        for part in parts:
            part()
        self._at_once()
        return self._rows.values()

    def _noisy(self, wave: Wave, decibels: float) -> Wave:
        noise = self._numpy.standard_normal(len(wave)) * np.sqrt((wave**2).mean()) * 10 ** (-decibels / 20)
        return np.asarray(wave + noise, dtype=np.float32)

    def _transcripts(self) -> None:
        ask = self._server.transcribe
        for command, wav in self._wavs.items():
            wave, text = at_16k(wav), command.text
            for language in ("en", "fr", None):
                self._add(f"transcript, 22 kHz WAV, language {language}", text, ask(wav, language))
            self._add("transcript, 16 kHz WAV", text, ask(encoded(wave)))
            self._add("transcript, FLAC", text, ask(encoded(wave, "FLAC"), name="a.flac"))
            self._add("transcript, MP3", text, ask(encoded(wave, "MP3"), name="a.mp3"))
            self._add("transcript, Ogg Vorbis", text, ask(encoded(wave, "OGG"), name="a.ogg"))
            self._add("transcript, Ogg Opus", text, ask(encoded(wave, "OGG", "OPUS"), name="a.ogg"))
            self._add("transcript, 26 dB quieter", text, ask(encoded(wave * 0.05)))
            silence = np.zeros(int(RATE * self._random.uniform(1, 5)), np.float32)
            self._add("transcript, 1-5 s of silence first", text, ask(encoded(np.concatenate([silence, wave]))))
            for decibels in (20, 10):
                name = f"transcript, white noise at {decibels} dB"
                self._add(name, text, ask(encoded(self._noisy(wave, decibels))))

    def _questions(self) -> None:
        for command, wav in self._wavs.items():
            clip = encoded(at_16k(wav))
            for task in ("transcribe", "summary", "topic", "room", "never said"):
                asked = question(self._random, task)
                self._add(f"chat: {task}", answer(task, [command]), self._server.chat(clip, asked))
            for fact in ("person", "time", "duration", "place", "item"):
                asked, kind = question(self._random, fact), "stated" if fact in command.facts else "absent"
                if kind == "stated" or self._random.random() < 0.2:
                    result = self._server.chat(clip, asked)
                    self._add(f"chat: person, time, duration, place, item: {kind}", answer(fact, [command]), result)
            kind = "stated" if "room" in command.facts else "absent"
            self._add(
                f"chat: Which room? ({kind})",
                answer("room", [command]),
                self._server.chat(clip, "Which room?"),
            )
            first = self._server.chat(clip, question(self._random, "summary"), text_first=True)
            self._add("chat: summary, text before audio", answer("summary", [command]), first)
            for task in ("summary", "room", "topic"):
                result = self._server.chat(clip, NEW_WORDINGS[task])
                self._add(f"chat: {task}, a new wording", answer(task, [command]), result)

    def _functions(self) -> None:
        for command, wav in self._wavs.items():
            clip = encoded(at_16k(wav))
            wanted = expected_calls([command], FUNCTION_NAMES)
            kind = "call" if command.call else "no function fits"
            for name, text in (
                ("no text", ""),
                ("trained wordings", question(self._random, "act") or "Do it."),
            ):
                result = self._server.chat(clip, text, functions=FUNCTION_NAMES)
                self._add(f"functions, all 11, {name}: {kind}", wanted, result)
            result = self._server.chat(clip, NEW_WORDINGS["act"], functions=FUNCTION_NAMES)
            self._add(f"functions, all 11, a new wording: {kind}", wanted, result)
            if command.call:
                name = command.call.name
                others = [other for other in FUNCTION_NAMES if other != name]
                few = [name, *self._random.sample(others, 2)]
                self._add("functions, 3 declared: call", wanted, self._server.chat(clip, "Do it.", functions=few))
                result = self._server.chat(clip, "Do it.", functions=self._random.sample(others, 4))
                self._add("functions, 4 declared, not the right one", NO_COMMAND, result)
            result = self._server.chat(clip, "Summarize this.", functions=FUNCTION_NAMES[:4])
            self._add("functions declared, a summary asked", answer("summary", [command]), result)

    def _other_words(self) -> None:
        for text in UNSEEN:
            wav = spoken(text, held_out_voice(self._random, known_variant=True))
            self._add("transcript, known words recombined", written(text) + ".", self._server.transcribe(wav))
        for _ in range(60 // self._stride):
            text = random_sentence(self._random)
            wav = spoken(text, held_out_voice(self._random))
            self._add("transcript, known words in any order", written(text) + ".", self._server.transcribe(wav))

    def _several(self) -> None:
        for name, seconds, count in (("under 10 s", 9, 30), ("10-20 s", 18, 30), ("20-30 s", 28, 20)):
            for _ in range(max(1, count // self._stride)):
                chosen: list[Command] = []
                parts: list[Wave] = []
                while True:
                    command = self._random.choice(COMMANDS)
                    wave = at_16k(spoken(command.spoken, held_out_voice(self._random)))
                    gap = np.zeros(int(RATE * self._random.uniform(0.3, 0.9)), np.float32)
                    if sum(map(len, parts)) + len(wave) + len(gap) > seconds * RATE:
                        break
                    chosen.append(command)
                    parts += [wave, gap]
                clip = encoded(np.concatenate(parts))
                self._add(
                    f"several, {name}: transcript",
                    answer("transcribe", chosen),
                    self._server.transcribe(clip),
                )
                result = self._server.chat(clip, "Summarize this audio.")
                self._add(f"several, {name}: summary", answer("summary", chosen), result)
                result = self._server.chat(clip, "Which room?")
                self._add(f"several, {name}: rooms", answer("room", chosen), result)
                if seconds < 10:
                    result = self._server.chat(clip, "", functions=FUNCTION_NAMES)
                    self._add(f"several, {name}: calls", expected_calls(chosen, FUNCTION_NAMES), result)

    def _sounds(self) -> None:
        times = np.arange(3 * RATE) / RATE
        chord = np.sin(2 * np.pi * np.outer((261.6, 329.6, 392.0), times)).sum(0) * np.exp(-times)
        hum = np.sin(2 * np.pi * 50 * np.outer(range(1, 9), times)).sum(0)
        click = np.zeros(RATE // 10)
        click[800] = 1
        sounds = {
            "silence 1 s": np.zeros(RATE),
            "silence 12 s": np.zeros(12 * RATE),
            "white noise": 0.05 * self._numpy.standard_normal(3 * RATE),
            "tone 440 Hz": 0.3 * np.sin(2 * np.pi * 440 * times),
            "chirp": 0.3 * np.sin(2 * np.pi * 1000 * times**2),
            "chord": 0.2 * chord,
            "hum": 0.05 * hum,
            "click": click,
        }
        for name, wave in sounds.items():
            clip = encoded(wave.astype(np.float32))
            self._add("no speech: transcript", "", _named(name, self._server.transcribe(clip)))
            self._add("no speech: summary", "No speech.", _named(name, self._server.chat(clip, "Summarize this.")))
            self._add("no speech: Which room?", ABSENT, _named(name, self._server.chat(clip, "Which room?")))
            called = self._server.chat(clip, "", functions=FUNCTION_NAMES)
            self._add("no speech: functions", NO_COMMAND, _named(name, called))

    def _at_once(self) -> None:
        jobs = list(self._wavs.items())[:48]
        started = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            texts = list(pool.map(lambda job: self._server.transcribe(job[1])[0], jobs))
        name = f"{len(jobs)} transcripts, 8 at a time, in {time.monotonic() - started:.1f} s"
        for (command, _), text in zip(jobs, texts, strict=True):
            self._add(name, command.text, (text, 0.0))


def _named(name: str, result: tuple[str, float]) -> tuple[str, float]:
    """A wrong answer says which sound it was given for."""
    heard, took = result
    return (heard if heard in ("", "No speech.", ABSENT, NO_COMMAND) else f"{heard} [{name}]"), took


def table(rows: Iterable[Row]) -> str:
    """The result as a Markdown table."""
    lines = ["| | word error rate | exact | median |", "|---|---|---|---|"]
    for row in map(Row.as_json, rows):
        rate = f"{row['word_error_rate']:.2f} %"
        lines.append(f"| {row['name']} | {rate} | {row['exact']}/{row['count']} | {row['median_ms']} ms |")
    return "\n".join(lines)
