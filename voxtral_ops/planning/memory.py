"""The memory arithmetic: what a model takes on a GPU or a host. Every constant has its source; no GPU is named here.

Sizes are bytes on each device. ``parallel`` is the tensor-parallel size. Where vLLM counts (the cache's blocks, the
encoder's profile), this counts as its source does; where only a GPU could tell, an upper estimate stands, and says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from voxtral_ops.catalog import CatalogModel

Precision = Literal["16-bit", "fp8"]

GIB = 1 << 30
MIB = 1 << 20
BLOCK = 16
"""Tokens of a cache block: vLLM's default on CUDA (config/cache.py)."""
FRAMES = 4
"""Encoder frames that become one token of the language model: 50 Hz to 12.5 Hz."""
MEL_BINS = 128
"""Of the spectrum, which has two frames for each of the encoder's."""
SPECTRUM_BYTES = 4460
"""What making a frame of the spectrum takes, in 32 bit: the peak of a model as small as nano (bench/memory.py)."""
SAMPLER_BYTES = 40
"""A logit's copies while vLLM warms its sampler up (_dummy_sampler_run): 16 and 32 bit, sorted with its indices and
the sort's own buffers, softmax, cumulated, scattered back. Counted from the code, not measured."""
GRAPHS_BASE = 256 * MIB
GRAPHS_PER_SEQUENCE = 3 * MIB
GRAPHS_MOST = 256
"""vLLM captures batches up to twice max-num-seqs and never above 512. Published logs of models of this size show 0.3
to 1.0 GiB for all of them; an upper estimate."""
CONTEXT_BYTES = 5 * GIB // 4
"""CUDA context, loaded kernels, cuBLAS and cuDNN workspaces, fragments; an upper estimate."""
COLLECTIVES = 3 * GIB // 4
"""NCCL's and the custom all-reduce's buffers where several GPUs work together; an upper estimate."""
FILE_SECONDS = 600
"""The longest file that a live model's transcription route takes: the whole recording passes the encoder's
convolutions at once, outside what vLLM profiles (voxtral_realtime.py, embed_multimodal)."""
CLIP_SECONDS, LONG_SECONDS = 30, 1800
WORDS_PER_SECOND = 4.0
"""Tokens that speech becomes, at the most."""
PROMPT = 16
"""The tokens of a transcription's prompt beside the audio (9), rounded up."""
LIVE_PROMPT = 49
"""A live session's: start, 32 of padding, 6 of delay, the end."""


@dataclass(frozen=True)
class Shape:
    """One way to serve a model."""

    precision: Precision
    parallel: int
    context: int
    batch: int
    """max-num-batched-tokens."""
    seqs: int
    """max-num-seqs; at the most, before it is fitted."""
    fewest: int = 1
    """Requests at once without which a shorter context would be the better plan."""
    pooled: bool = True
    """Whether the engine counts a live encoder's window in tokens of the language model; vLLM 0.19 counts frames."""


@dataclass(frozen=True)
class Need:
    """What an instance takes of each device before its cache."""

    weights: int
    encoder: int
    graphs: int
    runtime: int

    @property
    def total(self) -> int:
        """Their sum."""
        return self.weights + self.encoder + self.graphs + self.runtime


def is_live(model: CatalogModel) -> bool:
    """Tell whether the model serves live sessions."""
    return "realtime" in model.tasks


def need(model: CatalogModel, shape: Shape) -> Need:
    """Count everything but the cache."""
    collectives = COLLECTIVES if shape.parallel > 1 else 0
    return Need(
        weights=weights(model, shape.precision, shape.parallel),
        encoder=encoder(model, shape.context, shape.batch, shape.parallel, pooled=shape.pooled),
        graphs=GRAPHS_BASE + GRAPHS_PER_SEQUENCE * min(shape.seqs, GRAPHS_MOST),
        runtime=CONTEXT_BYTES + collectives + activations(model, shape.batch, shape.seqs, shape.parallel),
    )


def sequence_bytes(model: CatalogModel) -> int:
    """Count what one more of max-num-seqs costs beside cache: its rows in the sampler and its share of graphs."""
    return SAMPLER_BYTES * model.vocabulary + GRAPHS_PER_SEQUENCE


def weights(model: CatalogModel, precision: Precision, parallel: int) -> int:
    """Count the weights: everything is divided but the projector, which every GPU holds whole (a plain nn.Linear)."""
    size = model.weight_bytes if precision == "16-bit" else model.fp8_bytes or model.weight_bytes
    projector = 2 * (FRAMES * model.encoder.dim * model.dim + model.dim * model.dim)
    return projector + math.ceil((size - projector) / parallel) if parallel > 1 else size


def encoder(model: CatalogModel, context: int, batch: int, parallel: int, *, pooled: bool = True) -> int:
    """Count the encoder's peak and its cache.

    vLLM profiles the encoder with a recording that fills the context, several where a step takes more tokens than
    one context has (MultiModalBudget); a real step may do the same. The peak is a layer's feed-forward part: its
    input, its normalised copy, the wide activations before and after GELU; its callers still hold the spectrum, the
    embedded sound and the layer's own input (bench/memory.py measures it). The results are kept, at the most
    max(context, batch) tokens of the language model's dimension.
    """
    part = model.encoder
    if is_live(model):
        # Its layers run inside a step; SwiGLU has three wide activations. A file's convolutions run at once.
        step = batch * FRAMES * 2 * (2 * part.dim + 3 * part.hidden_dim // parallel)
        # vLLM 0.19 profiles a recording that fills the context.
        file = int(FILE_SECONDS * model.tokens_per_second) if pooled else context
        return step + file * FRAMES * part.dim * 2 * (2 * 2 + 1)
    items = max(batch, context) // context
    chunk = int((model.chunk_seconds or 1) * model.tokens_per_second)
    tokens = items * math.ceil(context / chunk) * chunk
    peak = FRAMES * 2 * max(SPECTRUM_BYTES, 2 * MEL_BINS + 4 * part.dim + 2 * part.hidden_dim // parallel)
    return tokens * peak + max(context, batch) * 2 * model.dim


def activations(model: CatalogModel, batch: int, seqs: int, parallel: int) -> int:
    """Count the language model's: a step through one layer, then the sampler over every sequence."""
    attention = (model.heads + 2 * model.kv_heads) * model.head_dim
    step = batch * 2 * (3 * model.dim + (3 * model.hidden_dim + attention) // parallel)
    return step + seqs * SAMPLER_BYTES * model.vocabulary


def block_bytes(model: CatalogModel, parallel: int) -> int:
    """Count the bytes of one block of the cache's pool.

    A live model has two caches, of the language model and of the encoder, which share one pool: its blocks have the
    size that the encoder needs, and the cache with fewer layers is filled up with unused ones (kv_cache_utils.py,
    _get_kv_cache_groups_uniform_page_size).
    """
    if model.encoder.sliding_window is None:
        return BLOCK * model.kv_bytes_per_token // parallel
    layers = max(model.layers, model.encoder.layers)
    return layers * BLOCK * _encoder_layer_bytes(model) // parallel


def blocks(model: CatalogModel, tokens: int, in_flight: int, *, pooled: bool = True) -> int:
    """Count the blocks that a request of so many tokens holds, with so many tokens of running steps."""
    window, frames = model.sliding_window, model.encoder.sliding_window
    if window is None or frames is None:
        return math.ceil(tokens / BLOCK)
    language = BLOCK * _encoder_layer_bytes(model) // (model.kv_bytes_per_token // model.layers)
    frames = math.ceil(frames / FRAMES) + 1 if pooled else frames
    # One more of each: a window need not begin where a block does (SlidingWindowSpec).
    held = math.ceil(min(window - 1 + in_flight, tokens) / language) + 1
    return held + math.ceil(min(frames - 1 + in_flight, tokens) / BLOCK) + 1


def request_bytes(model: CatalogModel, shape: Shape) -> int:
    """Count the cache without which vLLM does not start: one request that fills the context, and the null block."""
    # Two steps are in flight: asynchronous scheduling is the default on CUDA.
    count = blocks(model, shape.context, 2 * shape.batch, pooled=shape.pooled) + 1
    size = count * block_bytes(model, shape.parallel)
    return math.ceil(size / MIB) * MIB


def unit_bytes(model: CatalogModel, shape: Shape) -> int:
    """Count the cache of what is served most: a clip of 30 seconds, or a live session that has run for long."""
    tokens = shape.context if is_live(model) else clip_tokens(model, CLIP_SECONDS)
    return blocks(model, tokens, 2, pooled=shape.pooled) * block_bytes(model, shape.parallel)


def clip_tokens(model: CatalogModel, seconds: int) -> int:
    """Count the tokens of a recording with the words in it. A live model's words and sounds share their places."""
    if is_live(model):
        return math.ceil(seconds * model.tokens_per_second) + LIVE_PROMPT
    chunk = model.chunk_seconds or 1
    audio = math.ceil(seconds / chunk) * chunk * model.tokens_per_second
    return math.ceil(audio + seconds * WORDS_PER_SECOND) + PROMPT


def audio_seconds(model: CatalogModel, context: int) -> int:
    """Count the seconds of audio that a context holds, with room for the words."""
    if is_live(model):
        return max(0, int((context - LIVE_PROMPT) / model.tokens_per_second))
    chunk = model.chunk_seconds or 1
    return max(0, int((context - PROMPT) / (model.tokens_per_second + WORDS_PER_SECOND) / chunk) * chunk)


def gib(size: int) -> str:
    """Write a size as people compare it."""
    return f"{size / GIB:.1f} GiB" if abs(size) >= GIB else f"{size / MIB:.0f} MiB"


def _encoder_layer_bytes(model: CatalogModel) -> int:
    # Keys and values of the frames of one token, 16 bit.
    return FRAMES * 2 * model.encoder.heads * model.encoder.head_dim * 2
