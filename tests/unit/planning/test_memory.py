"""The arithmetic against what others say: vLLM's own functions for its cache, and published figures.

``tests/data/vllm_cache`` is made by ``tools/engine_cache.py`` with each engine's own Python.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from voxtral_ops.catalog import catalog, catalog_model
from voxtral_ops.planning.fit import live_limit, step_seconds
from voxtral_ops.planning.memory import (
    GIB,
    MIB,
    Shape,
    audio_seconds,
    block_bytes,
    blocks,
    clip_tokens,
    need,
    request_bytes,
    unit_bytes,
    weights,
)

ANSWERS = Path(__file__).parents[2] / "data" / "vllm_cache"
H200 = 4_800_000_000_000


def answers(version: str) -> list[tuple[str, dict[str, int]]]:
    found: dict[str, Any] = json.loads((ANSWERS / f"{version}.json").read_text())["answers"]
    return [(name, case) for name, cases in found.items() for case in cases]


@pytest.mark.parametrize(("name", "case"), answers("0.32.0"))
def test_the_cache_is_what_vllm_wants_to_the_byte(name: str, case: dict[str, int]) -> None:
    model = catalog_model(name)
    block = block_bytes(model, case["parallel"])
    assert block == case["block"]
    assert blocks(model, case["context"], 2 * case["batch"]) * block == case["request"]


@pytest.mark.parametrize(("name", "case"), answers("0.19.1"))
def test_the_older_engine_never_wants_more_than_we_give(name: str, case: dict[str, int]) -> None:
    model = catalog_model(name)
    shape = Shape("16-bit", case["parallel"], case["context"], case["batch"], 8, pooled=False)
    assert block_bytes(model, case["parallel"]) == case["block"]
    assert case["request"] <= request_bytes(model, shape)


def test_the_older_engine_wants_a_session_more_than_the_newer_would() -> None:
    """Without the difference of the two engines a plan for an old driver would not start."""
    model = catalog_model("realtime-4b")
    newer = Shape("16-bit", 1, 45_056, 512, 8)
    older = next(case for name, case in answers("0.19.1") if (case["context"], case["batch"]) == (45_056, 512))
    assert unit_bytes(model, newer) < unit_bytes(model, Shape("16-bit", 1, 45_056, 512, 8, pooled=False))
    assert older["request"] > unit_bytes(model, newer)


@pytest.mark.parametrize(("name", "published"), [("mini-3b", 8.7), ("small-24b", 45.2)])
def test_weights_as_in_published_load_logs(name: str, published: float) -> None:
    assert weights(catalog_model(name), "16-bit", 1) / GIB == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize("name", ["mini-3b", "small-24b", "realtime-4b"])
def test_weights_follow_from_the_architecture(name: str) -> None:
    model = catalog_model(name)
    assert model.weight_bytes == pytest.approx(2 * model.parameters, rel=0.01)
    assert model.kv_bytes_per_token == 2 * model.layers * model.kv_heads * model.head_dim * 2
    linear = model.layers * (
        2 * model.dim * model.heads * model.head_dim
        + 2 * model.dim * model.kv_heads * model.head_dim
        + 3 * model.dim * model.hidden_dim
    )
    assert model.fp8_bytes == pytest.approx(model.weight_bytes - linear, rel=0.01)


def test_a_step_takes_what_was_published_for_one_and_for_four_streams() -> None:
    model, shape = catalog_model("realtime-4b"), Shape("16-bit", 1, 2048, 512, 64)
    assert 1 / step_seconds(model, shape, H200, 1) == pytest.approx(191, rel=0.05)
    assert 4 / step_seconds(model, shape, H200, 4) == pytest.approx(655, rel=0.05)


def test_slower_memory_serves_fewer_streams() -> None:
    model, shape = catalog_model("realtime-4b"), Shape("16-bit", 1, 45_056, 512, 64)
    limits = [live_limit(model, shape, bandwidth) for bandwidth in (100_000_000_000, 300_000_000_000, H200)]
    assert limits == sorted(limits)
    assert limits[0] == 0


def test_clips_are_counted_as_the_tokenizer_does() -> None:
    mini, live = catalog_model("mini-3b"), catalog_model("realtime-4b")
    assert clip_tokens(mini, 1) - clip_tokens(mini, 30) == -29 * 4, "one second of audio takes a chunk of thirty"
    assert clip_tokens(mini, 30) >= 384 + 30 * 3
    assert clip_tokens(live, 10) == 125 + 49


@pytest.mark.parametrize("name", list(catalog()))
def test_the_longest_audio_fits_with_its_words(name: str) -> None:
    model = catalog_model(name)
    for context in (2048, 4096):
        assert clip_tokens(model, audio_seconds(model, context)) <= context


@pytest.mark.parametrize("name", ["mini-3b", "small-24b", "realtime-4b"])
def test_more_of_anything_needs_more(name: str) -> None:
    model, least = catalog_model(name), Shape("16-bit", 1, 8192, 2048, 8)
    for shape in (
        Shape("16-bit", 1, 16384, 2048, 8, pooled=False),
        Shape("16-bit", 1, 8192, 16384, 8),
        Shape("16-bit", 1, 8192, 2048, 64),
    ):
        assert need(model, shape).total >= need(model, least).total
    assert need(model, Shape("16-bit", 2, 8192, 2048, 8)).weights < need(model, least).weights
    assert need(model, Shape("fp8", 1, 8192, 2048, 8)).weights < need(model, least).weights
    assert request_bytes(model, least) % MIB == 0
