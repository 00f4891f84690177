"""The shipped nano checkpoint and the golden clips fit together and are what they say they are."""

from __future__ import annotations

import hashlib
import json
import struct
import tomllib
import wave
from pathlib import Path
from typing import Any

import pytest

from tools.nano.phrases import COMMANDS, UNSEEN, WORDS
from tools.nano.tasks import FUNCTIONS, answer, calls, check_functions

ROOT = Path(__file__).resolve().parents[2]
NANO = ROOT / "voxtral_ops" / "data" / "nano"
GOLDEN = ROOT / "voxtral_ops" / "data" / "golden"
CLIPS: list[dict[str, Any]] = tomllib.loads((GOLDEN / "golden.toml").read_text())["clip"]
FUNCTION_NAMES = [function.name for function in FUNCTIONS]


def tensors() -> dict[str, dict[str, Any]]:
    """The header of the weights file: names, types and shapes."""
    with (NANO / "consolidated.safetensors").open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header: dict[str, dict[str, Any]] = json.loads(file.read(size))
    return {name: entry for name, entry in header.items() if name != "__metadata__"}


def commands_of(text: str) -> list[Any]:
    """The commands of a transcript that is made of whole commands."""
    found = []
    while text:
        command = next(command for command in COMMANDS if text.startswith(command.text))
        found.append(command)
        text = text.removeprefix(command.text).strip()
    return found


def test_checkpoint_is_small_and_readable_by_a_service_user() -> None:
    assert sum(file.stat().st_size for file in NANO.iterdir()) < 5_000_000
    assert {file.name for file in NANO.iterdir()} == {"consolidated.safetensors", "params.json", "tekken.json"}
    for file in NANO.iterdir():
        assert file.stat().st_mode & 0o004, file.name


def test_weights_have_the_shapes_that_params_declare() -> None:
    params, shapes = json.loads((NANO / "params.json").read_text()), tensors()
    audio = params["multimodal"]["whisper_model_args"]
    encoder, factor = audio["encoder_args"], audio["downsample_args"]["downsample_factor"]
    root = "mm_whisper_embeddings"
    expected = {
        f"{root}.tok_embeddings.weight": [params["vocab_size"], params["dim"]],
        f"{root}.audio_language_projection.0.weight": [params["dim"], encoder["dim"] * factor],
        f"{root}.whisper_encoder.conv_layers.0.weight": [
            encoder["dim"],
            encoder["audio_encoding_args"]["num_mel_bins"],
            3,
        ],
        "layers.0.attention.wk.weight": [params["n_kv_heads"] * params["head_dim"], params["dim"]],
        "layers.0.feed_forward.w1.weight": [params["hidden_dim"], params["dim"]],
    }
    assert {name: shapes[name]["shape"] for name in expected} == expected
    assert {entry["dtype"] for entry in shapes.values()} == {"BF16"}
    layers = {int(name.split(".")[1]) for name in shapes if name.startswith("layers.")}
    assert layers == set(range(params["n_layers"]))
    assert params["head_dim"] >= 32  # attention on a CPU refuses less


def test_tokenizer_fits_the_network() -> None:
    params, tekken = json.loads((NANO / "params.json").read_text()), json.loads((NANO / "tekken.json").read_text())
    encoder = params["multimodal"]["whisper_model_args"]["encoder_args"]
    config = tekken["config"]
    assert config["version"] == "v11"
    assert config["default_vocab_size"] == params["vocab_size"]
    assert len(tekken["vocab"]) == config["num_vocab_tokens"]
    assert tekken["audio"]["chunk_length_s"] * 50 == encoder["max_source_positions"]


def test_golden_clips_are_the_files_that_golden_toml_names() -> None:
    assert {clip["file"] for clip in CLIPS} | {"golden.toml"} == {file.name for file in GOLDEN.iterdir()}
    assert sum(file.stat().st_size for file in GOLDEN.iterdir()) < 600_000
    assert {clip["container"] for clip in CLIPS} == {"wav", "flac", "mp3", "ogg", "m4a"}


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip["file"])
def test_golden_clip(clip: dict[str, Any]) -> None:
    content = (GOLDEN / clip["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == clip["sha256"]
    assert clip["file"].endswith(f".{clip['container']}")
    said = commands_of(clip["text"])
    assert clip["summary"] == answer("summary", said)
    assert clip["room"] == answer("room", said)
    wanted = [(call.name, dict(call.arguments)) for call in calls(said, FUNCTION_NAMES)]
    assert [(call["name"], json.loads(call["arguments"])) for call in clip.get("tool_call", [])] == wanted
    assert ("no_tool_call" in clip) == (not wanted)


def test_golden_wave_file_is_16_khz_mono_and_as_long_as_it_says() -> None:
    clip = next(clip for clip in CLIPS if clip["container"] == "wav")
    with wave.open(str(GOLDEN / clip["file"])) as file:
        assert (file.getframerate(), file.getnchannels()) == (16000, 1)
        assert file.getnframes() / 16000 == pytest.approx(clip["seconds"], abs=0.001)


def test_commands_are_a_closed_set() -> None:
    texts = [command.text for command in COMMANDS]
    assert len(set(texts)) == len(texts)
    assert not set(UNSEEN) & {command.spoken for command in COMMANDS}
    assert {word for sentence in UNSEEN for word in sentence.split()} <= set(WORDS)
    check_functions()


def test_the_documented_commands_are_the_ones_that_were_trained() -> None:
    page = (ROOT / "docs" / "nano.md").read_text()
    listed = page.split("<!-- commands -->")[1].split("<!-- /commands -->")[0]
    assert [line.removeprefix("- ") for line in listed.splitlines() if line.startswith("- ")] == [
        command.text for command in COMMANDS
    ]
