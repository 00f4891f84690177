"""The training: stages, the loss, and how the parts are put together."""

from __future__ import annotations

import math
import queue
import random
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tools.nano.data import IGNORED, Batch, Batches, Pool, Rows, Stage, synthesise
from tools.nano.model import PARAMS, MelSpectrogram, Voxtral, export, initialise
from tools.nano.phrases import COMMANDS, WORDS
from tools.nano.synthesis import RATE, Synthesiser, held_out_voice
from tools.nano.tasks import check_functions
from tools.nano.tokenizer import CHUNK_SECONDS, FRAMES_PER_SECOND, Prompts, write_tekken

Log = Callable[[str], None]
STAGES = (
    # Short recordings: what words sound like, and reading them off in order.
    Stage("words", 1300, 4, 32, 2e-3),
    # Whole chunks, several commands in one, questions and calls.
    Stage("questions", 650, CHUNK_SECONDS, 16, 1.2e-3, (0.88, 0.12, 0), 0.55, 0.3, 2, 8, 0.5),
    # Recordings of up to three chunks, mostly questions and calls.
    Stage("long", 300, CHUNK_SECONDS, 12, 1e-3, (0.55, 0.25, 0.2), 0.45, 0.12, 3, 8, 0.4),
    # Calls, one command at a time.
    Stage("calls", 160, CHUNK_SECONDS, 10, 1e-3, (1.0, 0, 0), 0.15, 0.05, 1, 10, 0.3),
    # Everything, and each recording beside several sets of functions: which call it is, and when it is none.
    Stage("balance", 500, CHUNK_SECONDS, 10, 8e-4, (0.7, 0.2, 0.1), 0.35, 0.05, 1, 6, 0.3, 3),
)
_WARMUP_STEPS = 150
_CLIPS_PER_COMMAND, _SENTENCES = 60, 6000


def frame_heads(phones: int) -> nn.ModuleDict:
    """Two classifiers that only the training has: an adapter frame's word, an encoder frame's phone."""
    encoder_dim = PARAMS["multimodal"]["whisper_model_args"]["encoder_args"]["dim"]
    return nn.ModuleDict(
        {"words": nn.Linear(PARAMS["dim"], len(WORDS) + 1), "phones": nn.Linear(encoder_dim, phones + 1)}
    )


def _answers(model: Voxtral, rows: Rows, audio: Tensor) -> tuple[Tensor, Tensor]:
    """Scores and targets at the positions of a group's answers."""
    past = None
    if rows.beginning is not None:
        _, past = model.decode(model.embed(rows.beginning))
    frames = audio[rows.recordings].flatten(0, 1)
    hidden, _ = model.decode(model.embed(rows.tokens, frames), past)
    learned = rows.targets != IGNORED
    return model.logits(hidden[learned]).float(), rows.targets[learned]


def _frame_loss(scores: Tensor, targets: Tensor) -> tuple[Tensor, float]:
    """Cross entropy with silence counted little, and the share of the other frames that is right."""
    weight = torch.ones(scores.shape[-1])
    weight[0] = 0.1
    loss = functional.cross_entropy(scores.flatten(0, -2), targets.flatten(), weight=weight)
    spoken = targets > 0
    right = (scores.argmax(-1) == targets)[spoken].float().mean().item() if spoken.any() else math.nan
    return loss, right


def step_loss(model: Voxtral, heads: nn.ModuleDict, batch: Batch, weight: float) -> tuple[Tensor, list[float]]:
    """The loss of a batch and what is reported: its answers' loss, right tokens per group, right frames."""
    count = len(batch.mel)
    with torch.autocast("cpu", torch.bfloat16):
        audio, encoded = model.encode(batch.mel.flatten(0, 1))
        audio, encoded = (
            audio.reshape(count, -1, audio.shape[-1]),
            encoded.reshape(count, -1, encoded.shape[-1]),
        )
        results = [_answers(model, rows, audio) for rows in batch.groups]
        word_scores, phone_scores = heads["words"](audio).float(), heads["phones"](encoded).float()
    scores, targets = (torch.cat(parts) for parts in zip(*results, strict=True))
    answers = functional.cross_entropy(scores, targets)
    word_loss, words_right = _frame_loss(word_scores, batch.words)
    phone_loss, phones_right = _frame_loss(phone_scores, batch.phones)
    right = [(group.argmax(-1) == wanted).float().mean().item() for group, wanted in results]
    beside = statistics.fmean(right[1:]) if len(right) > 1 else math.nan
    report = [answers.item(), right[0], beside, words_right, phones_right]
    return answers + weight * (word_loss + phone_loss), report


def _feed(batches: Batches, stage: Stage, steps: int) -> queue.Queue[Batch]:
    """Batches made in a thread; a forked process would hang, since torch has started its threads by now."""
    filled: queue.Queue[Batch] = queue.Queue(6)

    def work() -> None:
        for _ in range(steps):
            filled.put(batches.batch(stage))

    threading.Thread(target=work, daemon=True).start()
    return filled


def run_stage(
    model: Voxtral,
    heads: nn.ModuleDict,
    batches: Batches,
    stage: Stage,
    *,
    steps: int,
    minutes: float,
    log: Log,
) -> None:
    """Train for one stage, which ends after its steps or its time; the rate falls to its end either way."""
    parameters = [*model.parameters(), *heads.parameters()]
    groups = [
        {"params": [value for value in parameters if value.ndim > 1], "weight_decay": 0.05},
        {"params": [value for value in parameters if value.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=stage.rate, betas=(0.9, 0.98))
    filled, started, reports = _feed(batches, stage, steps), time.monotonic(), []
    model.train()
    warmup = min(_WARMUP_STEPS, steps / 5)
    for step in range(1, steps + 1):
        done = min(1.0, max(step / steps, (time.monotonic() - started) / 60 / minutes))
        cosine = 0.5 * (1 + math.cos(math.pi * done)) * 0.97 + 0.03
        for group in optimiser.param_groups:
            group["lr"] = stage.rate * min(1.0, step / warmup) * cosine
        loss, report = step_loss(model, heads, filled.get(), stage.frame_weight)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        reports.append(report)
        if step % 50 == 0 or done == 1:
            mean = [
                statistics.fmean([v for v in column if v == v] or [math.nan]) for column in zip(*reports, strict=True)
            ]
            seconds = time.monotonic() - started
            log(
                f"  {stage.name} {step}/{steps}, {seconds / 60:.1f} min, {seconds / step:.2f} s a step: loss"
                f" {mean[0]:.3f}, tokens right {mean[1]:.3f}, beside functions {mean[2]:.3f},"
                f" frames' words {mean[3]:.3f}, phones {mean[4]:.3f}"
            )
            reports = []
        if done == 1:
            break
    model.eval()


def check(model: Voxtral, prompts: Prompts, every: int = 2) -> str:
    """A quick look at transcripts in voices that were never trained; the real measurement is `evaluate`."""
    library, rng, mel = Synthesiser(), random.Random(1), MelSpectrogram()
    right, seconds = 0, []
    chosen = COMMANDS[::every]
    for command in chosen:
        audio = np.zeros(CHUNK_SECONDS * RATE, np.float32)
        clip = library.speak(command.spoken, held_out_voice(rng)).audio
        audio[: len(clip)] = clip / 32768
        started = time.monotonic()
        prompt = prompts.transcription(rng, int(CHUNK_SECONDS * FRAMES_PER_SECOND))
        right += prompts.decode(model.generate(prompt, mel(audio))) == command.text
        seconds.append(time.monotonic() - started)
    return f"{right} of {len(chosen)} commands exact in unseen voices, {statistics.median(seconds):.2f} s each"


def build(
    out: Path,
    *,
    state: Path,
    seed: int,
    threads: int,
    scale: float,
    minutes: float,
    resume: bool,
    log: Log,
) -> None:
    """Synthesise, train every stage, and export after each of them."""
    check_functions()
    for folder in (out, state):
        folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    write_tekken(out / "tekken.json")
    prompts = Prompts(out / "tekken.json")
    pool: Pool = synthesise(max(3, int(_CLIPS_PER_COMMAND * min(1, scale))), int(_SENTENCES * min(1, scale)), seed)
    log(f"{len(COMMANDS)} commands, {len(WORDS)} words, {pool.minutes:.0f} minutes of speech")
    model, heads = Voxtral(PARAMS), frame_heads(len(pool.phones))
    initialise(model)
    log(f"{sum(value.numel() for value in model.parameters())} parameters")
    for number, stage in enumerate(STAGES, 1):
        saved = state / f"stage-{number}.pt"
        if resume and saved.exists():
            content = torch.load(saved, weights_only=True)
            model.load_state_dict(content["model"])
            heads.load_state_dict(content["heads"])
            log(f"stage {number} ({stage.name}) taken from {saved}")
            continue
        log(f"stage {number}: {stage}")
        steps, batches = max(2, int(stage.steps * scale)), Batches(pool, prompts, seed + number)
        run_stage(model, heads, batches, stage, steps=steps, minutes=minutes, log=log)
        torch.save({"model": model.state_dict(), "heads": heads.state_dict()}, saved)
        export(model, out)
        log(f"stage {number} done: {check(model, prompts)}")
    log(", ".join(f"{file.name} {file.stat().st_size} bytes" for file in sorted(out.iterdir())))
