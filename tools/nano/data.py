"""Training batches: recordings, questions about them, and the answers to learn."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tools.nano.audio import joined, sound, varied
from tools.nano.model import MelSpectrogram
from tools.nano.phrases import COMMANDS, FACTS, WORDS, Command, random_sentence, written
from tools.nano.synthesis import RATE, Clip, Synthesiser, Voice, trained_voice
from tools.nano.tasks import FUNCTION_NAMES, answer, calls, question
from tools.nano.tokenizer import BOS, EOS, FRAMES_PER_SECOND, Prompts

IGNORED = -100
_PHONE_RATE = 50


@dataclass(frozen=True)
class Pool:
    """Everything that was synthesised."""

    commands: tuple[tuple[Clip, ...], ...]
    sentences: tuple[tuple[str, Clip], ...]
    phones: tuple[str, ...]

    @property
    def minutes(self) -> float:
        """How much speech there is."""
        clips = [clip for group in self.commands for clip in group] + [clip for _, clip in self.sentences]
        return sum(len(clip.audio) for clip in clips) / RATE / 60


def synthesise(per_command: int, sentences: int, seed: int) -> Pool:
    """Every command in many voices, and random sentences of the same words."""
    library, rng = Synthesiser(), random.Random(seed)
    defaults = (Voice("en-us"), Voice("en"))  # what people try first
    groups = []
    for command in COMMANDS:
        voices = [*defaults, *(trained_voice(rng) for _ in range(per_command - len(defaults)))]
        groups.append(tuple(library.speak(command.spoken, voice) for voice in voices))
    spoken = [random_sentence(rng) for _ in range(sentences)]
    free = tuple((sentence, library.speak(sentence, trained_voice(rng))) for sentence in spoken)
    clips = [clip for group in groups for clip in group] + [clip for _, clip in free]
    phones = tuple(sorted({phone.label for clip in clips for phone in clip.phones}))
    return Pool(tuple(groups), free, phones)


@dataclass(frozen=True)
class Stage:
    """One part of the training."""

    name: str
    steps: int
    chunk_seconds: int
    chunks_per_batch: int
    rate: float
    # how often a recording has one, two or three chunks
    lengths: tuple[float, float, float] = (1.0, 0.0, 0.0)
    several: float = 0.3  # share of one-chunk recordings with more than one command
    sentences: float = 0.5  # share of clips that are random sentences
    questions: int = 0  # questions asked about each recording, besides its transcript
    tool_rows: int = 0  # recordings of a batch that are also heard beside declared functions
    frame_weight: float = 1.0  # of the words and phones per frame in the loss
    tool_groups: int = 1  # how many sets of functions these are heard beside


@dataclass(frozen=True)
class Recording:
    """A spectrogram, what is said in it (None: it cannot be asked about), and the targets for its frames."""

    mel: Tensor
    text: str
    commands: tuple[Command, ...] | None
    words: np.ndarray
    phones: np.ndarray


@dataclass(frozen=True)
class Rows:
    """Prompts with answers, all of them after the same beginning of a conversation."""

    beginning: Tensor | None
    tokens: Tensor
    targets: Tensor
    recordings: Tensor  # which recording each row is about


@dataclass(frozen=True)
class Batch:
    """One step's data."""

    mel: Tensor  # [recordings, chunks, bins, frames]
    groups: tuple[Rows, ...]
    words: Tensor
    phones: Tensor


class Batches:
    """Makes batches without end."""

    def __init__(self, pool: Pool, prompts: Prompts, seed: int) -> None:
        self._pool, self._prompts, self._mel = pool, prompts, MelSpectrogram()
        self._random, self._numpy = random.Random(seed), np.random.default_rng(seed)
        self._words = {word: index for index, word in enumerate(WORDS, 1)}
        self._phones = {phone: index for index, phone in enumerate(pool.phones, 1)}

    def batch(self, stage: Stage) -> Batch:
        """A batch of recordings of the same number of chunks."""
        chunks = self._random.choices((1, 2, 3), stage.lengths)[0]
        count = max(2, stage.chunks_per_batch // chunks)
        recordings = [self._recording(stage, chunks) for _ in range(count)]
        frames = int(stage.chunk_seconds * chunks * FRAMES_PER_SECOND)
        groups = [self._plain_rows(recordings, frames, stage.questions)]
        for _ in range(stage.tool_groups if stage.tool_rows else 0):
            groups.append(self._tool_rows(recordings, frames, max(2, stage.tool_rows // chunks)))
        return Batch(
            torch.stack([torch.stack(recording.mel.chunk(chunks, -1)) for recording in recordings]),
            tuple(groups),
            torch.from_numpy(np.stack([recording.words for recording in recordings])),
            torch.from_numpy(np.stack([recording.phones for recording in recordings])),
        )

    def _clips(self, stage: Stage, chunks: int) -> list[tuple[str, Command | None, Clip]]:
        """Commands and random sentences that fit into the recording."""
        room = stage.chunk_seconds * chunks * RATE
        while True:
            if chunks > 1:
                count = self._random.randint(2, 5 * chunks)
            else:
                count = self._random.randint(2, 5) if self._random.random() < stage.several else 1
            chosen: list[tuple[str, Command | None, Clip]] = []
            for _ in range(count):
                if self._random.random() < stage.sentences:
                    sentence, clip = self._random.choice(self._pool.sentences)
                    chosen.append((written(sentence) + ".", None, clip))
                else:
                    index = self._random.randrange(len(COMMANDS))
                    chosen.append(
                        (
                            COMMANDS[index].text,
                            COMMANDS[index],
                            self._random.choice(self._pool.commands[index]),
                        )
                    )
            needed = sum(len(clip.audio) for _, _, clip in chosen) * 1.08 + (count - 1) * 0.25 * RATE
            # a recording of several chunks has to reach into the last one
            if needed <= room and (chunks == 1 or needed * 1.25 > room * (chunks - 1) / chunks):
                return chosen

    def _recording(self, stage: Stage, chunks: int) -> Recording:
        size = stage.chunk_seconds * chunks * RATE
        chosen: list[tuple[str, Command | None, Clip]] = []
        changed: list[tuple[np.ndarray, float]] = []
        starts: list[float] = []
        if self._random.random() < 0.06:
            shortest = 0.1 if chunks == 1 else stage.chunk_seconds * (chunks - 1)
            heard = sound(self._numpy, int(self._random.uniform(shortest, stage.chunk_seconds * chunks) * RATE))
        else:
            chosen = self._clips(stage, chunks)
            changed = [varied(clip.audio, self._numpy) for _, _, clip in chosen]
            heard, starts = joined([wave for wave, _ in changed], self._numpy, size)
        padded = np.zeros(size, np.float32)
        padded[: len(heard)] = heard
        mel = self._masked(self._mel(padded), max(1, len(heard) // 160))
        words, phones = np.zeros(mel.shape[1] // 8, np.int64), np.zeros(mel.shape[1] // 2, np.int64)
        for (_, _, clip), (_, factor), start in zip(chosen, changed, starts, strict=True):
            for span in clip.phones:
                first, last = (int((start + at * factor) * _PHONE_RATE) for at in (span.start, span.end))
                phones[first:last] = self._phones[span.label]
            for span in clip.words:
                first, last = (round((start + at * factor) * FRAMES_PER_SECOND) for at in (span.start, span.end))
                words[first:last] = self._words.get(span.label, IGNORED)
        commands = tuple(command for _, command, _ in chosen if command)
        text = " ".join(text for text, _, _ in chosen)
        return Recording(mel, text, commands if len(commands) == len(chosen) else None, words, phones)

    def _masked(self, mel: Tensor, length: int) -> Tensor:
        """Some bins or moments blanked out (SpecAugment)."""
        rng, floor = self._numpy, mel.min()
        if rng.random() < 0.5:
            for _ in range(rng.integers(1, 3)):
                width = int(rng.integers(1, 20))
                at = int(rng.integers(0, mel.shape[0] - width))
                mel[at : at + width] = floor
        if rng.random() < 0.4 and length > 40:
            for _ in range(rng.integers(1, 3)):
                width = int(rng.integers(1, 8))
                at = int(rng.integers(0, length - width))
                mel[:, at : at + width] = floor
        return mel

    def _task(self, commands: Sequence[Command]) -> str:
        """A task to ask about; facts that are stated come up more often than they would by chance."""
        stated = [fact for fact in FACTS if any(fact in command.facts for command in commands)]
        chance = self._random.random()
        if chance < 0.28:
            return "summary"
        if chance < 0.46:
            return "topic"
        if chance < 0.52:
            return "transcribe"
        if chance < 0.58:
            return "never said"
        if stated and chance < 0.80:
            return self._random.choice(stated)
        return "room" if chance < 0.89 else self._random.choice(FACTS)

    def _asked(self, recording: Recording, frames: int, task: str) -> tuple[list[int], list[int]]:
        """A prompt in words and the tokens of its answer."""
        said = recording.text if task == "transcribe" else answer(task, recording.commands or ())
        text = question(self._random, task)
        first = bool(text) and self._random.random() < 0.3
        prompt = self._prompts.instruction(text, frames, text_first=first)
        return prompt, list(self._prompts.encode(said)) if said else []

    def _plain_rows(self, recordings: Sequence[Recording], frames: int, questions: int) -> Rows:
        rows, about = [], []
        for index, recording in enumerate(recordings):
            if self._random.random() < (0.75 if questions == 0 else 0.85):
                prompt = self._prompts.transcription(self._random, frames)
                rows.append((prompt, list(self._prompts.encode(recording.text)) if recording.text else []))
            else:
                prompt, said = self._asked(recording, frames, "transcribe")
                rows.append(([BOS, *prompt], said))
            about.append(index)
            if recording.commands is None:
                continue
            for _ in range(questions):
                prompt, said = self._asked(recording, frames, self._task(recording.commands))
                rows.append(([BOS, *prompt], said))
                about.append(index)
        return _rows(rows, about, None)

    def _offered(self, recordings: Sequence[Recording]) -> list[str]:
        """Functions to declare: some that the recordings need, others that they do not."""
        total = len(FUNCTION_NAMES)
        size = self._random.choice((1, 2, 3, 3, 3, 4, 5, 6, 8, total, total, total, total))
        spoken = [command.call for recording in recordings for command in recording.commands or ()]
        needed = list(dict.fromkeys(call.name for call in spoken if call))
        offered = self._random.sample(needed, min(len(needed), self._random.randint((size + 1) // 2, size)))
        others = [name for name in FUNCTION_NAMES if name not in offered]
        offered += self._random.sample(others, size - len(offered))
        self._random.shuffle(offered)
        return offered if self._random.random() < 0.6 else sorted(offered, key=FUNCTION_NAMES.index)

    def _tool_rows(self, recordings: Sequence[Recording], frames: int, count: int) -> Rows:
        """Rows that all come after the same declared functions, so that these are read only once."""
        offered = self._offered(recordings)
        fitting = [index for index, recording in enumerate(recordings) if recording.commands is not None]
        self._random.shuffle(fitting)
        # Half of them call something: "No command." must not be the safe answer.
        called = [index for index in fitting if calls(recordings[index].commands or (), offered)]
        chosen = called[: (count + 1) // 2]
        chosen += [index for index in fitting if index not in chosen][: count - len(chosen)]
        rows, about = [], []
        for index in chosen or [0]:
            recording = recordings[index]
            if recording.commands is None:  # nothing but random sentences in this batch
                prompt, said = self._asked(recording, frames, "transcribe")
            elif self._random.random() < 0.15:  # declared functions do not change what a question means
                prompt, said = self._asked(recording, frames, self._task(recording.commands))
            else:
                prompt, said = self._asked(recording, frames, "act")
                said = list(self._prompts.calls(calls(recording.commands, offered))) or said
            rows.append((prompt, said))
            about.append(index)
        return _rows(rows, about, self._prompts.tools(self._random, offered))


def _rows(rows: Sequence[tuple[list[int], list[int]]], about: Sequence[int], beginning: list[int] | None) -> Rows:
    """Rows filled up to the same length; only the answers are learned."""
    length = max(len(prompt) + len(said) for prompt, said in rows) + 1
    tokens = torch.zeros(len(rows), length, dtype=torch.long)
    targets = torch.full((len(rows), length), IGNORED)
    for index, (prompt, said) in enumerate(rows):
        learned = [*said, EOS]
        tokens[index, : len(prompt) + len(learned)] = torch.tensor(prompt + learned)
        targets[index, len(prompt) - 1 : len(prompt) + len(said)] = torch.tensor(learned)
    return Rows(None if beginning is None else torch.tensor([beginning]), tokens, targets, torch.tensor(list(about)))
