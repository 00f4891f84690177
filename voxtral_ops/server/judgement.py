"""Let vLLM judge plans: their servers as the role would write them, through the judge in an engine's own Python."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from voxtral_ops.catalog import CatalogModel, catalog_model
from voxtral_ops.errors import HostError
from voxtral_ops.hardware.profile import Profile
from voxtral_ops.planning.plan import Instance, Plan
from voxtral_ops.server.launch import read_instance
from voxtral_ops.server.rendering import instance_files

JUDGE = Path(__file__).with_name("engine_judge.py")
MARKER = "consolidated.safetensors"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Device(_Part):
    """What vLLM is told of a GPU."""

    name: str
    memory: int
    capability: tuple[int, int]


class Case(_Part):
    """A server that was never started: the words after ``vllm``, its whole environment, its GPUs."""

    name: str
    argv: tuple[str, ...]
    environment: dict[str, str]
    gpus: tuple[Device | None, ...] = ()
    """None is a GPU of which nothing is known."""
    cache: int | None = None
    """The bytes that were planned for the cache, on each GPU."""


class Verdict(_Part):
    """What vLLM says to one case, in its own words. ``resolved``: what it made of the most important options."""

    name: str
    accepted: bool
    platform: Literal["cuda", "cpu"]
    stage: str
    """What refused it: parser, silent (vLLM would not obey, and not say so), server or engine."""
    words: str
    resolved: dict[str, str | int | float | bool | None]


class Judgement(_Part):
    """One run of the judge."""

    vllm: str
    seconds: dict[str, float]
    unjudged: dict[str, tuple[str, ...]]
    """Platform → what only a start on the hardware itself can tell."""
    deprecated: tuple[str, ...]
    """What vLLM says of options that a later version will not know."""
    verdicts: tuple[Verdict, ...]

    @property
    def rejected(self) -> tuple[Verdict, ...]:
        """The cases that vLLM refuses, or would not obey."""
        return tuple(verdict for verdict in self.verdicts if not verdict.accepted)


def judge(engine: Path, cases: Sequence[Case], timeout: float = 900) -> Judgement:
    """Ask the vLLM that is installed in ``engine``. Raises HostError when it cannot answer."""
    python = engine / "bin" / "python"
    if not python.exists():
        raise HostError(f"there is no engine in {engine}", hint="install one: voxtral-ops up", path=str(engine))
    question = json.dumps([case.model_dump(mode="json") for case in cases])
    # A server inherits nothing from a shell: its variables are no part of a case.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_")}
    try:
        result = subprocess.run(
            [str(python), "-I", str(JUDGE)],
            input=question,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Judgement.model_validate_json(result.stdout)
    except subprocess.TimeoutExpired as error:
        raise HostError(
            f"the engine in {engine} did not judge in {timeout:.0f} s", hint="is the machine overloaded?"
        ) from error
    except ValidationError as error:
        last = (result.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise HostError(
            f"the engine in {engine} cannot judge: {last}",
            hint="does it work? voxtral-ops engine verify",
            path=str(engine),
        ) from error


@dataclass(frozen=True)
class Bench:
    """Where cases are laid out: the role's ``templates``, and an empty folder that is the caller's to remove."""

    templates: Path
    folder: Path

    def plan(self, plan: Plan, profile: Profile | None, name: str) -> list[Case]:
        """Lay out every instance of a plan; without a ``profile`` only the number of the GPUs is known."""
        return [self.instance(each, _devices(each, profile), f"{name}/{each.name}") for each in plan.instances]

    def instance(self, instance: Instance, gpus: Sequence[Device | None], name: str) -> Case:
        """Write one instance as a host would have it, and read it back the way that a supervisor does."""
        here = self.folder / hashlib.sha256(name.encode()).hexdigest()[:12] / instance.name
        here.mkdir(parents=True)
        for file, text in instance_files(instance, self.templates).items():
            (here / file).write_text(text, encoding="utf-8")
        (here / "engine").mkdir()
        (here / "model").symlink_to(describe_model(catalog_model(instance.model), self.folder / "models"))
        return _case(here, gpus, name)


def directory_case(directory: Path, profile: Profile | None) -> Case:
    """Take an instance as it lies on this host, with its real model."""
    instance = read_instance(directory).instance
    return _case(directory, _devices(instance, profile), instance.name)


def _case(directory: Path, gpus: Sequence[Device | None], name: str) -> Case:
    launch = read_instance(directory)
    serve, model, *rest = launch.argv[2:]
    return Case(
        name=name,
        # vLLM reads a tokenizer once for each path.
        argv=(serve, str(Path(model).resolve()), *rest),
        environment=launch.environment,
        gpus=tuple(gpus),
        cache=launch.instance.memory.kv_cache,
    )


def _devices(instance: Instance, profile: Profile | None) -> list[Device | None]:
    if profile is None:
        return [None] * len(instance.gpus)
    known = {gpu.index: gpu for gpu in profile.accelerators.gpus}
    return [
        Device(name=gpu.name, memory=gpu.memory_total, capability=gpu.compute_capability)
        for gpu in (known[index] for index in instance.gpus)
    ]


def describe_model(model: CatalogModel, models: Path) -> Path:
    """Write a model's directory with everything that vLLM reads before the weights, and no weights.

    The tokenizer is nano's for all: the configuration asks only whether there is one.
    """
    here = models / model.name
    if here.exists():
        return here
    here.mkdir(parents=True)
    (here / "params.json").write_text(json.dumps(params(model)), encoding="utf-8")
    (here / "tekken.json").symlink_to(catalog_model("nano").bundled_path / "tekken.json")
    # vLLM takes the type of the weights from the head of this file.
    head = json.dumps({"norm.weight": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    (here / MARKER).write_bytes(len(head).to_bytes(8, "little") + head + b"\0\0")
    return here


def params(model: CatalogModel) -> dict[str, Any]:
    """The model's ``params.json``, from the catalog's numbers."""
    encoder, causal = model.encoder, model.encoder.sliding_window is not None
    sound: dict[str, Any] = {"sampling_rate": 16_000, "num_mel_bins": 128, "hop_length": 160, "window_size": 400}
    written: dict[str, Any] = {
        "dim": model.dim,
        "n_layers": model.layers,
        "head_dim": model.head_dim,
        "hidden_dim": model.hidden_dim,
        "n_heads": model.heads,
        "n_kv_heads": model.kv_heads,
        "use_biases": False,
        "causal": True,
        "rope_theta": model.rope_theta,
        "norm_eps": 1e-5,
        "vocab_size": model.vocabulary,
        "max_seq_len": model.context,
        "max_position_embeddings": model.context,
        "tied_embeddings": model.tied_embeddings,
        "model_parallel": 1,
    }
    whisper: dict[str, Any] = {
        "audio_encoding_args": sound | ({"frame_rate": 12.5, "global_log_mel_max": 1.5} if causal else {}),
        "dim": encoder.dim,
        "n_layers": encoder.layers,
        "head_dim": encoder.head_dim,
        "hidden_dim": encoder.hidden_dim,
        "n_heads": encoder.heads,
        "n_kv_heads": encoder.heads,
        "vocab_size": model.vocabulary,
        "max_source_positions": encoder.positions,
        "use_biases": True,
    }
    if causal:
        sound |= {"transcription_format": "streaming"}
        whisper |= {"causal": True, "sliding_window": encoder.sliding_window, "pos_embed": "rope"}
        whisper |= {"norm_type": "rms_norm", "ffn_type": "swiglu"}
        written |= {"sliding_window": model.sliding_window, "ada_rms_norm_t_cond": True, "ada_rms_norm_t_cond_dim": 32}
    written["multimodal"] = {
        "whisper_model_args": {"encoder_args": whisper, "downsample_args": {"downsample_factor": 4}}
    }
    return written
