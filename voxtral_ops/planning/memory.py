"""The memory arithmetic: what a model needs on a GPU or a host, and the largest context that fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from voxtral_ops.catalog import CatalogModel
from voxtral_ops.planning.plan import Memory

Precision = Literal["16-bit", "fp8"]

GIB = 1 << 30
MIB = 1 << 20
UTILISATION = 0.92
"""vLLM's own default share of a GPU."""
GPU_RUNTIME = 5 * GIB // 2
"""CUDA context and libraries, graphs, the language model's activations and sampling: an upper estimate."""
ENCODER_BYTES_PER_TOKEN = 102_000
"""vLLM profiles the audio encoder with a recording that fills the context; computed for dimension 1280."""
CPU_RUNTIME = {"nano": 1_700_000_000}
"""Three processes that import vLLM, measured with nano."""
CPU_RUNTIME_LARGE = 4_000_000_000
CONTEXTS = (32768, 24576, 16384, 12288, 8192)
BATCHES = (2048, 1024, 512)
FLOOR = {"mini-3b": 8192, "small-24b": 32768}
"""The smallest context worth 16-bit weights; fp8 serves smaller cards and never promises more than this, so
that a larger card never gets a smaller context."""
REALTIME_CONTEXT = 45_056
"""One hour of 12.5 tokens a second. Attention slides over 8192 tokens, so more would cost no memory, but
every minute of a session makes its steps slower."""
REALTIME_WINDOW = 8_191
REALTIME_ENCODER_WINDOW = 188
REALTIME_ENCODER_BYTES = MIB
"""The encoder's own key-value cache, a text token: 4 frames x 32 layers x 32 heads x 64 x 2 x 2 bytes."""


@dataclass(frozen=True)
class Wishes:
    """What the operator fixed; None leaves it to the arithmetic."""

    context: int | None = None
    utilisation: float | None = None
    precision: Precision | None = None
    tensor_parallel: int | None = None
    batch: int | None = None


@dataclass(frozen=True)
class Fit:
    """One way to put a model on GPUs. ``memory`` is that of each GPU."""

    precision: Precision
    tensor_parallel: int
    context: int
    batch: int | None
    """max-num-batched-tokens, where it decides the memory."""
    memory: Memory


def gpu_fits(
    model: CatalogModel, memory: int, count: int, wishes: Wishes | None = None, *, fp8: bool = True
) -> Fit | None:
    """Find the best way to serve on ``count`` equal GPUs of ``memory`` bytes each, or None.

    16-bit weights before fp8, then the largest context, then the fewest GPUs.
    """
    wishes = wishes or Wishes()
    precisions: Sequence[Precision] = [wishes.precision] if wishes.precision else ["16-bit", "fp8"]
    for precision in precisions:
        if precision == "fp8" and (not fp8 or model.fp8_bytes is None):
            continue
        options = [
            fit
            for parallel in parallels(model, count, wishes)
            for context in contexts(model, precision, wishes)
            for batch in batches(model, wishes)
            if (fit := try_fit(model, memory, precision, parallel, context, batch, wishes)) is not None
        ]
        if options:
            return max(options, key=lambda fit: (fit.context, -fit.tensor_parallel, fit.batch or 0))
    return None


def parallels(model: CatalogModel, count: int, wishes: Wishes) -> tuple[int, ...]:
    """List the tensor-parallel sizes to try: they divide both kinds of heads."""
    if wishes.tensor_parallel:
        return (wishes.tensor_parallel,)
    if model.name != "small-24b":
        return (1,)
    return tuple(n for n in (1, 2, 4, 8) if n <= count and model.heads % n == 0 and model.kv_heads % n == 0)


def contexts(model: CatalogModel, precision: Precision, wishes: Wishes) -> tuple[int, ...]:
    """List the contexts to try, largest first."""
    if wishes.context:
        return (wishes.context,)
    if "realtime" in model.tasks:
        return (REALTIME_CONTEXT,)
    floor = FLOOR.get(model.name, CONTEXTS[-1])
    allowed = [tokens for tokens in CONTEXTS if tokens <= model.context]
    if precision == "16-bit":
        return tuple(tokens for tokens in allowed if tokens >= floor)
    return tuple(tokens for tokens in allowed if tokens <= floor)


def batches(model: CatalogModel, wishes: Wishes) -> tuple[int | None, ...]:
    """List the max-num-batched-tokens to try: for Realtime they decide what a session needs."""
    if wishes.batch:
        return (wishes.batch,)
    return BATCHES if "realtime" in model.tasks else (None,)


def try_fit(  # noqa: PLR0913, PLR0917 - the numbers of one line of arithmetic
    model: CatalogModel,
    memory: int,
    precision: Precision,
    parallel: int,
    context: int,
    batch: int | None,
    wishes: Wishes,
) -> Fit | None:
    """Do the arithmetic for one choice. None when one full-length request does not fit."""
    need = needed(model, precision, parallel, context, batch)
    usable = int(memory * (wishes.utilisation or UTILISATION))
    if need.total > usable:
        return None
    cache = usable - need.weights - need.encoder - need.runtime
    budget = need.model_copy(update={"kv_cache": cache, "total": usable, "limit": memory})
    return Fit(precision, parallel, context, batch, budget)


def needed(model: CatalogModel, precision: Precision, parallel: int, context: int, batch: int | None) -> Memory:
    """Count what each GPU needs at the least, with a cache for one request of full length."""
    bits = model.weight_bytes if precision == "16-bit" else model.fp8_bytes or model.weight_bytes
    weights = -(-bits // parallel)
    if "realtime" in model.tasks:
        encoder = ENCODER_BYTES_PER_TOKEN * (batch or BATCHES[0])
        cache = realtime_session(model, batch or BATCHES[0], context)
    else:
        encoder = (ENCODER_BYTES_PER_TOKEN + 2 * model.dim) * context
        cache = -(-model.kv_bytes_per_token * context // parallel)
    total = weights + encoder + cache + GPU_RUNTIME
    return Memory(weights=weights, kv_cache=cache, encoder=encoder, runtime=GPU_RUNTIME, total=total, limit=total)


def realtime_session(model: CatalogModel, batch: int, context: int) -> int:
    """Count what vLLM wants free before it admits one live session: two caches, with two steps in flight."""
    flight = 2 * batch
    language = min(REALTIME_WINDOW + flight, context) * model.kv_bytes_per_token
    encoder = min(REALTIME_ENCODER_WINDOW + flight, context) * REALTIME_ENCODER_BYTES
    return language + encoder


def host_memory(model: CatalogModel, context: int, cache: int, limit: int) -> Memory:
    """Count what the CPU build needs: weights, cache, encoder, and its processes."""
    encoder = (ENCODER_BYTES_PER_TOKEN * min(model.dim, 1280) // 1280 + 2 * model.dim) * context
    runtime = CPU_RUNTIME.get(model.name, CPU_RUNTIME_LARGE)
    total = model.weight_bytes + cache + encoder + runtime
    return Memory(
        weights=model.weight_bytes, kv_cache=cache, encoder=encoder, runtime=runtime, total=total, limit=limit
    )


def audio_seconds(model: CatalogModel, context: int) -> int:
    """Count the seconds of audio that a context holds, with room for the words (4 tokens a second)."""
    if "realtime" in model.tasks:
        return int((context - 49) / model.tokens_per_second)
    chunk = model.chunk_seconds or 1
    return int((context - 16) / (model.tokens_per_second + 4) / chunk) * chunk


def gib(size: int) -> str:
    """Write a size as people compare it."""
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / MIB:.0f} MiB"
