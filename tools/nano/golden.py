"""Golden clips: commands spoken by the espeak-ng program, with the answers that nano gives to them."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from tools.nano.evaluate import at_16k, encoded, spoken
from tools.nano.phrases import COMMANDS, Command
from tools.nano.synthesis import RATE, Voice
from tools.nano.tasks import FUNCTION_NAMES, NO_COMMAND, answer, calls


@dataclass(frozen=True)
class Golden:
    """One clip: what is said in it, by which voice, and the sound files it is written as."""

    name: str
    sentences: tuple[str, ...]
    voice: Voice
    containers: tuple[str, ...] = ("flac",)


# Voices, speeds and pitches of which none was trained.
CLIPS = (
    Golden("kitchen-lights", ("turn on the kitchen lights",), Voice("en-us", "Annie", 160, 45)),
    Golden("timer", ("set a timer for five minutes",), Voice("en-us", "m6", 145, 55)),
    Golden("call-john", ("call john",), Voice("en", "f4", 135, 65)),
    Golden("weather", ("what is the weather today",), Voice("en-us", "victor", 180, 25)),
    Golden("shopping", ("add milk to the shopping list",), Voice("en-gb-scotland", "linda", 160, 55)),
    Golden(
        "two-commands", ("open the garage door", "turn off the bedroom lights"),
        Voice("en-us", "Annie", 145, 55),
    ),
    Golden(
        "containers", ("navigate to the train station",), Voice("en-us", "f4", 145, 45),
        ("wav", "flac", "mp3", "ogg", "m4a"),
    ),
)  # fmt: skip


def _command(sentence: str) -> Command:
    return next(command for command in COMMANDS if command.spoken == sentence)


def _sound(clip: Golden) -> NDArray[np.float32]:
    """The clip at 16 kHz; between two sentences there is half a second."""
    pause = np.zeros(RATE // 2, np.float32)
    parts = [part for sentence in clip.sentences for part in (pause, at_16k(spoken(sentence, clip.voice)))]
    return np.concatenate(parts[1:])


def _m4a(wave: NDArray[np.float32]) -> bytes:
    """AAC in MP4, as telephones record it; libsndfile does not write it."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="ipod") as file:
        stream = file.add_stream("aac", rate=RATE)
        stream.bit_rate = 48000
        stream.codec_context.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.clip(wave, -1, 1)[None], format="fltp", layout="mono")
        frame.sample_rate = RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)
    return buffer.getvalue()


def _file(wave: NDArray[np.float32], container: str) -> bytes:
    return _m4a(wave) if container == "m4a" else encoded(wave, container.upper())


def _entry(clip: Golden, container: str, content: bytes, seconds: float) -> list[str]:
    """The lines of one clip in golden.toml; JSON strings are TOML strings."""
    commands = [_command(sentence) for sentence in clip.sentences]
    values: dict[str, str | float] = {
        "file": f"{clip.name}.{container}",
        "text": answer("transcribe", commands),
        "seconds": seconds,
        "container": container,
        "sha256": hashlib.sha256(content).hexdigest(),
        "summary": answer("summary", commands),
        "room": answer("room", commands),
    }
    lines = ["[[clip]]", *(f"{name} = {json.dumps(value)}" for name, value in values.items())]
    called = calls(commands, FUNCTION_NAMES)
    if not called:
        lines.append(f"no_tool_call = {json.dumps(NO_COMMAND)}")
    for call in called:
        arguments = json.dumps(json.dumps(dict(call.arguments)))
        lines += ["[[clip.tool_call]]", f"name = {json.dumps(call.name)}", f"arguments = {arguments}"]
    return [*lines, ""]


def write_golden(out: Path) -> None:
    """Write the clips and golden.toml."""
    out.mkdir(parents=True, exist_ok=True)
    lines = [
        "# Clips for acceptance checks: spoken by espeak-ng, 16 kHz, mono, in voices not in nano's training.",
        '# `text` is the transcript; `summary`, `room` and `tool_call` are the answers to "Summarize this.",',
        '# "Which room?" and to the recording alone beside the eleven functions. Written by tools/nano.',
        "",
    ]
    for clip in CLIPS:
        wave = _sound(clip)
        for container in clip.containers:
            content = _file(wave, container)
            (out / f"{clip.name}.{container}").write_bytes(content)
            lines += _entry(clip, container, content, round(len(wave) / RATE, 3))
    (out / "golden.toml").write_text("\n".join(lines))
