"""What is known of each model: the open Voxtrals and nano, the checkpoint that this package ships."""

from __future__ import annotations

import difflib
import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from voxtral_ops.errors import ConfigurationError

Task = Literal["transcription", "chat", "tools", "realtime"]

DATA = Path(str(files("voxtral_ops"))) / "data"


class Encoder(BaseModel):
    """The audio encoder: Whisper's, or with a sliding window the causal one of Realtime."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: int
    dim: int
    heads: int
    head_dim: int
    hidden_dim: int
    positions: int | None = None
    """Frames of a chunk; None where a window slides instead."""
    sliding_window: int | None = None


class CatalogModel(BaseModel):
    """One servable model. Sizes in bytes, times in seconds; architecture as in its ``params.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    repository: str
    license: str
    demonstration: bool = False
    """Understands a closed set of commands only: a person's own recording is not for it."""
    bundled: bool = False
    """Shipped with this package, in ``data/<name>``."""
    tasks: tuple[Task, ...]
    languages: tuple[str, ...]
    files: tuple[str, ...]
    """The allow-list: every Voxtral repository holds its weights twice."""
    weight_bytes: int
    fp8_bytes: int | None = None
    """The weights with the language model's linear layers in fp8; None where that is of no use."""
    parameters: int
    context: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    dim: int
    hidden_dim: int
    vocabulary: int
    rope_theta: float
    tied_embeddings: bool = False
    """Whether the output layer is the embedding, and its bytes are counted once."""
    sliding_window: int | None = None
    encoder: Encoder
    kv_bytes_per_token: int
    tokens_per_second: float
    chunk_seconds: int | None = None
    """Audio is padded to a multiple of this; None where it is not padded."""
    tokenizer: str

    @property
    def bundled_path(self) -> Path:
        """Where the shipped checkpoint lies. Raises ConfigurationError for a model that is not shipped."""
        if not self.bundled:
            raise ConfigurationError(f"{self.name} is not shipped with voxtral_ops", hint="fetch it from the hub")
        return DATA / self.name


@cache
def catalog() -> dict[str, CatalogModel]:
    """Every model by its short name, in the order of the data file."""
    raw: dict[str, dict[str, Any]] = tomllib.loads((DATA / "catalog.toml").read_text(encoding="utf-8"))
    return {name: CatalogModel(name=name, **fields) for name, fields in raw.items()}


def catalog_model(name: str) -> CatalogModel:
    """Find the model of that short name or repository. Raises ConfigurationError with the nearest right name."""
    models = catalog()
    if name in models:
        return models[name]
    for model in models.values():
        if model.repository.lower() == name.lower():
            return model
    close = difflib.get_close_matches(name, models, n=1, cutoff=0.4)
    nearest = f"did you mean {close[0]}? " if close else ""
    raise ConfigurationError(
        f"unknown model {name!r}", hint=f"{nearest}known: {', '.join(models)}", model=name, known=list(models)
    )
