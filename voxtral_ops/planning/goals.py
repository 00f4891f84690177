"""The goals that an operator can state, and what each of them changes."""

from __future__ import annotations

from dataclasses import dataclass

from voxtral_ops.catalog import CatalogModel
from voxtral_ops.planning.memory import Precision, is_live
from voxtral_ops.planning.plan import Goal

CONTEXTS = (32768, 28672, 24576, 20480, 16384, 12288, 8192)
FLOOR = {"small-24b": 32768}
"""The smallest context worth 16-bit weights, where it is not the smallest at all; fp8 promises no more than this, so
that a larger card never gets a smaller context."""
FEWEST = 8
"""Recordings at once that a server should at least take."""
LIVE_BATCH = 512
"""A live session brings one token a step. A larger step would only make vLLM hold cache for tokens in flight."""


@dataclass(frozen=True)
class Rules:
    """What a goal asks for."""

    seqs: int
    batch: int
    context: int | None
    """The largest worth having; None takes what the model holds."""
    live_context: int | None
    why: str
    why_seqs: str
    why_batch: str


RULES: dict[Goal, Rules] = {
    "latency": Rules(
        seqs=8,
        batch=2048,
        context=16384,
        live_context=12288,
        why="few requests at once, so that each is fast; tensor parallelism where NVLink makes a step faster by it",
        why_seqs="more at once would make every answer slower; the others wait",
        why_batch="a long recording that comes in holds a running answer up for no more than this many tokens",
    ),
    "throughput": Rules(
        seqs=256,
        batch=8192,
        context=32768,
        live_context=45_056,
        why="as many requests at once as the cache holds, in large steps; a further GPU is a further server",
        why_seqs="every step reads the weights once, for however many requests; vLLM's own default on cards of 24 GB",
        why_batch="large steps keep the GPU busy; a single answer waits longer for its next word",
    ),
    "balanced": Rules(
        seqs=64,
        batch=4096,
        context=32768,
        live_context=45_056,
        why="recordings of half an hour, many clips at once, none of them slow",
        why_seqs="between 8 for latency and 256 for throughput: a compromise that nobody has measured yet",
        why_batch="ten clips of 30 seconds in one step, and a long recording in a few",
    ),
    "longest-audio": Rules(
        seqs=16,
        batch=2048,
        context=None,
        live_context=None,
        why="the longest recording that memory allows comes first, before 16-bit weights and before many at once",
        why_seqs="long recordings fill the cache: more would only wait for it",
        why_batch="small steps leave memory for the context",
    ),
}


def batch_of(model: CatalogModel, goal: Goal) -> int:
    """Choose max-num-batched-tokens."""
    return LIVE_BATCH if is_live(model) else RULES[goal].batch


def fewest(model: CatalogModel, goal: Goal, *, shortest: bool) -> int:
    """Count the requests at once that a context must leave room for: the shortest few, a longer one all of the goal's.

    So more memory first serves more at once, then longer recordings, and never less of anything.
    """
    if is_live(model):
        return 1
    return min(FEWEST, RULES[goal].seqs) if shortest or goal == "longest-audio" else RULES[goal].seqs


def contexts(model: CatalogModel, goal: Goal, precision: Precision) -> tuple[int, ...]:
    """List the contexts to try, largest first."""
    rules = RULES[goal]
    if is_live(model):
        return (min(model.context, rules.live_context or model.context),)
    most = min(model.context, rules.context or model.context)
    allowed = [tokens for tokens in CONTEXTS if tokens <= most] or [most]
    if goal == "longest-audio":
        return tuple(allowed)
    floor = min(FLOOR.get(model.name, CONTEXTS[-1]), allowed[0])
    if precision == "16-bit":
        return tuple(tokens for tokens in allowed if tokens >= floor)
    return tuple(tokens for tokens in allowed if tokens <= floor)
