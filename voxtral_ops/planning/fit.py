"""Whether a model fits on a device, and with how many requests at once; what it can serve then."""

from __future__ import annotations

from dataclasses import dataclass, replace

from voxtral_ops.catalog import CatalogModel
from voxtral_ops.planning.memory import (
    CLIP_SECONDS,
    FILE_SECONDS,
    LONG_SECONDS,
    MIB,
    Need,
    Precision,
    Shape,
    audio_seconds,
    block_bytes,
    blocks,
    clip_tokens,
    is_live,
    need,
    request_bytes,
    sequence_bytes,
    unit_bytes,
)
from voxtral_ops.planning.plan import Capacity

STEP_SECONDS = 0.080
"""A live session brings a token every 80 ms, and a step must not take longer."""
STEP_FIXED = 0.0025
STEP_PER_SESSION = 0.0002
STEP_BANDWIDTH = 0.8
"""A step's time: this much, and this much a session, and the bytes read at this part of the memory's bandwidth. Fitted
to two published measurements on an H200 (vLLM pull request 51167: 191 steps a second for one session, 164 for four)."""
STEP_COLLECTIVE = 0.000012
"""An all-reduce of one token over NVLink; two a layer. A usual figure, not measured here."""


@dataclass(frozen=True)
class Wishes:
    """What the operator fixed; None leaves it to the arithmetic."""

    context: int | None = None
    utilisation: float | None = None
    precision: Precision | None = None
    parallel: int | None = None
    batch: int | None = None
    seqs: int | None = None
    cache: int | None = None
    pooled: bool = True
    """See Shape: the engine's version decides it, nobody wishes it."""


@dataclass(frozen=True)
class Fit:
    """A model in memory: ``shape.seqs`` and ``cache`` are what came out."""

    shape: Shape
    need: Need
    cache: int

    @property
    def total(self) -> int:
        """What it takes of each device."""
        return self.need.total + self.cache


def least(model: CatalogModel, shape: Shape, wishes: Wishes) -> int:
    """Count the least that a device must give: cache for one request of full length, and for the fewest short ones."""
    short = 0 if wishes.seqs else shape.fewest * unit_bytes(model, shape) + block_bytes(model, shape.parallel) + MIB
    cache = wishes.cache or max(request_bytes(model, shape), short)
    return need(model, replace(shape, seqs=shape.fewest)).total + cache


def fit(model: CatalogModel, shape: Shape, usable: int, wishes: Wishes) -> Fit | None:
    """Fit a model into so many bytes, with at most ``shape.seqs`` requests at once; None where not even one fits.

    Below that many, cache is given in whole clips (or sessions), so that more memory never gives less of anything.
    """
    if usable < least(model, shape, wishes):
        return None
    request, block = request_bytes(model, shape), block_bytes(model, shape.parallel)
    available = usable - need(model, replace(shape, seqs=0)).total
    unit = unit_bytes(model, shape)
    # vLLM keeps one block for itself, and the cache is a whole number of MiB.
    most = _most(available - block - MIB, sequence_bytes(model), unit, request)
    seqs = max(shape.fewest, min(shape.seqs, most))
    chosen = replace(shape, seqs=seqs)
    needed = need(model, chosen)
    cache = wishes.cache or usable - needed.total
    if not wishes.cache and not wishes.seqs and seqs < shape.seqs:
        cache = min(cache, max(seqs * unit + block + MIB, request))
    return Fit(chosen, needed, cache // MIB * MIB)


def _most(available: int, row: int, unit: int, request: int) -> int:
    together = available // (unit + row)
    return together if together * unit >= request else min(together, (available - request) // row)


def capacity(model: CatalogModel, fitted: Fit, bandwidth: int | None) -> Capacity:
    """Count what it serves at once: whole requests in the cache, at most max-num-seqs of them."""
    shape = fitted.shape
    pool = fitted.cache // block_bytes(model, shape.parallel) - 1
    longest = audio_seconds(model, shape.context)
    whole = min(longest, FILE_SECONDS) if is_live(model) else longest

    def at_once(tokens: int) -> int:
        return max(0, min(shape.seqs, pool // blocks(model, tokens, 2, pooled=shape.pooled)))

    clips = at_once(clip_tokens(model, CLIP_SECONDS)) if whole >= CLIP_SECONDS else 0
    files = at_once(clip_tokens(model, LONG_SECONDS)) if whole >= LONG_SECONDS else 0
    sessions = 0
    if is_live(model):
        sessions = at_once(shape.context)
        if bandwidth:
            sessions = min(sessions, live_limit(model, shape, bandwidth))
    return Capacity(clips=clips, files=files, sessions=sessions, longest_audio=longest)


def step_seconds(model: CatalogModel, shape: Shape, bandwidth: int, sessions: int = 1) -> float:
    """Estimate one step of ``sessions`` requests: what is read of memory, and what every step costs besides."""
    read = need(model, shape).weights + sessions * _read_of_cache(model, shape)
    waits = 2 * model.layers * STEP_COLLECTIVE if shape.parallel > 1 else 0.0
    return STEP_FIXED + waits + sessions * STEP_PER_SESSION + read / (STEP_BANDWIDTH * bandwidth)


def live_limit(model: CatalogModel, shape: Shape, bandwidth: int) -> int:
    """Count the sessions whose step still takes no longer than 80 ms."""
    none = step_seconds(model, shape, bandwidth, 0)
    one = step_seconds(model, shape, bandwidth, 1) - none
    return max(0, int((STEP_SECONDS - none) / one))


def _read_of_cache(model: CatalogModel, shape: Shape) -> int:
    return blocks(model, shape.context, 2, pooled=shape.pooled) * block_bytes(model, shape.parallel)
