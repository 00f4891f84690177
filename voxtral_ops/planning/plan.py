"""What a host should run, and why: the one object that units, manager, CLI and reports all read."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Build = Literal["cpu", "cuda13", "cuda12"]
Setting = str | int | float | bool | dict[str, int]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Memory(_Part):
    """The predicted budget in bytes. The parts sum to ``total``; ``limit`` is what the device or host has."""

    weights: int
    kv_cache: int
    encoder: int
    runtime: int
    """Processes, libraries, CUDA context and graphs."""
    total: int
    limit: int


class Instance(_Part):
    """One vLLM server: a model on some GPUs (none on a CPU host) behind a port."""

    name: str
    model: str
    """The catalog's short name."""
    repository: str
    revision: str
    served_name: str
    gpus: tuple[int, ...] = ()
    host: str = "127.0.0.1"
    port: int
    arguments: dict[str, Setting]
    """vLLM's long options without dashes; ``True`` is a flag. Never ``False``: vLLM drops it silently."""
    environment: dict[str, str]
    reasons: dict[str, str]
    """For every argument, environment variable and for ``model``, ``gpus``, ``port``: why this value."""
    memory: Memory

    @property
    def url(self) -> str:
        """The base of the OpenAI-compatible API, without ``/v1``."""
        return f"http://{self.host}:{self.port}"


class Plan(_Part):
    """What one host should run. ``release`` is the release id that it serves."""

    schema_version: Literal[1] = 1
    release: str
    engine: str
    """The version of vLLM."""
    build: Build
    """Which lock the engine is installed from."""
    instances: tuple[Instance, ...] = Field(min_length=1)
    reasons: dict[str, str]
    """For ``build`` and ``model``: why."""
    warnings: tuple[str, ...] = ()
