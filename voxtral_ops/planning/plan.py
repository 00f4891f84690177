"""What a host should run, and why: the one object that units, manager, CLI and reports all read."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Build = Literal["cpu", "cuda13", "cuda12"]
Goal = Literal["latency", "throughput", "balanced", "longest-audio"]
Setting = str | int | float | bool | dict[str, int]

PARTS = ("weights", "kv_cache", "encoder", "graphs", "runtime", "others", "neighbours", "spare")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Memory(_Part):
    """The predicted budget, in bytes, of each device of an instance, or of the host. Its parts sum to ``limit``."""

    weights: int
    kv_cache: int
    encoder: int
    """The audio encoder's peak and its cache of encoded audio."""
    graphs: int
    """Captured CUDA graphs."""
    runtime: int
    """Context, libraries, processes, and the language model's activations."""
    others: int
    """Held by processes that are not this installation's."""
    neighbours: int
    """The plan's other instances on the same device."""
    spare: int
    """What nobody is promised. Negative only in a forced plan: by so much it is too large."""
    limit: int
    """What the device gives, or the host has."""

    @property
    def total(self) -> int:
        """What this instance takes."""
        return self.weights + self.kv_cache + self.encoder + self.graphs + self.runtime


class Capacity(_Part):
    """How much an instance serves at once, computed and never measured. The reasons name the formulas."""

    clips: int
    """Recordings of 30 seconds."""
    files: int
    """Recordings of 30 minutes."""
    sessions: int
    """Live sessions; 0 for a model that has none."""
    longest_audio: int
    """Seconds of one recording, or of one session."""


class Instance(_Part):
    """One vLLM server: a model on some GPUs (none on a CPU host) behind a port."""

    name: str
    """The model's short name; replicas are ``mini-3b-2`` and so on."""
    model: str
    """The catalog's short name."""
    repository: str
    revision: str
    """Empty where the model is not pinned yet."""
    served_name: str
    gpus: tuple[int, ...] = ()
    host: str = "127.0.0.1"
    port: int
    arguments: dict[str, Setting]
    """vLLM's long options without dashes; ``True`` is a flag. Never ``False``: vLLM drops it silently."""
    environment: dict[str, str]
    reasons: dict[str, str]
    """For every argument, variable and figure of the capacity, and for ``model``, ``gpus``, ``port``, ``encoder``."""
    memory: Memory
    capacity: Capacity

    @property
    def url(self) -> str:
        """The base of the OpenAI-compatible API, without ``/v1``."""
        return f"http://{self.host}:{self.port}"


class Plan(_Part):
    """What one host should run. ``release`` is the release id that it serves."""

    schema_version: Literal[1] = 1
    release: str
    goal: Goal
    engine: str
    """The build's version of vLLM; an older driver runs an older one than the release names."""
    build: Build
    """Which lock the engine is installed from."""
    instances: tuple[Instance, ...] = Field(min_length=1)
    reasons: dict[str, str]
    """For ``build``, ``model`` and ``goal``: why."""
    warnings: tuple[str, ...] = ()
