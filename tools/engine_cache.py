"""Ask an engine how much cache it wants before it starts: run it with that engine's own Python.

::

    <engine>/bin/python tools/engine_cache.py > tests/data/vllm_cache/<version>.json

For each model of the catalog, and several contexts, steps and tensor-parallel sizes: the bytes of a block and of one
request of full length, from vLLM's own functions for its cache. The planner's arithmetic is tested against them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import tomllib
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

CATALOG = Path(__file__).resolve().parents[1] / "voxtral_ops" / "data" / "catalog.toml"
CASES = {
    False: [(context, 4096, parallel) for context in (8192, 12288, 32768) for parallel in (1, 2, 4)],
    True: [(context, batch, 1) for context in (12288, 45056, 131072) for batch in (512, 1024, 2048, 8192)],
}
FRAMES = 4


def layers(model: dict[str, Any], parallel: int) -> dict[str, Any]:
    """Each layer's own description of its cache, as the model's code makes it."""
    import torch  # noqa: PLC0415
    from vllm.v1.kv_cache_interface import FullAttentionSpec, SlidingWindowSpec  # noqa: PLC0415

    common = {"block_size": 16, "dtype": torch.bfloat16}
    language = {**common, "num_kv_heads": model["kv_heads"] // parallel, "head_size": model["head_dim"]}
    window, encoder = model.get("sliding_window"), model["encoder"]
    make = FullAttentionSpec if window is None else SlidingWindowSpec
    extra = {} if window is None else {"sliding_window": window}
    found = {f"language.{number}": make(**language, **extra) for number in range(model["layers"])}
    if window is None:
        return found
    heads, frames = encoder["heads"] // parallel, encoder["sliding_window"]
    if "tokens_per_state" in SlidingWindowSpec.__dataclass_fields__:  # whisper_causal.py, get_kv_cache_spec
        pooled = {
            "num_kv_heads": heads,
            "tokens_per_state": Fraction(1, FRAMES),
            "sliding_window": -(-frames // FRAMES) + 1,
        }
    else:
        pooled = {"num_kv_heads": FRAMES * heads, "sliding_window": frames}
    spec = SlidingWindowSpec(**common, head_size=encoder["head_dim"], **pooled)
    return found | {f"encoder.{number}": spec for number in range(encoder["layers"])}


def wants(model: dict[str, Any], context: int, batch: int, parallel: int) -> dict[str, int]:
    """What vLLM would compute at its start."""
    from vllm.v1.core import kv_cache_utils as cache  # noqa: PLC0415

    layout = next(iter(getattr(cache, "KVCacheLayout", [None])))
    config: Any = SimpleNamespace(
        scheduler_config=SimpleNamespace(disable_hybrid_kv_cache_manager=False, max_num_batched_tokens=batch),
        model_config=SimpleNamespace(max_model_len=context, hf_config=None),
        parallel_config=SimpleNamespace(decode_context_parallel_size=1, prefill_context_parallel_size=1),
        cache_config=SimpleNamespace(get_resolved_kv_cache_layout=lambda: layout, num_gpu_blocks_override=None),
        attention_config=SimpleNamespace(hisparse_config=None),
        speculative_config=None,
        max_in_flight_tokens=2 * batch,
    )
    groups = cache.get_kv_cache_groups(config, layers(model, parallel))
    request = cache._max_memory_usage_bytes_from_groups(config, groups)
    if hasattr(cache, "_pool_bytes_per_block"):
        block = cache._pool_bytes_per_block(config, groups)
    else:
        block = max(len(group.layer_names) for group in groups) * groups[0].kv_cache_spec.page_size_bytes
    return {"context": context, "batch": batch, "parallel": parallel, "block": block, "request": request}


def main() -> None:
    """Print every answer; what vLLM says while it is imported goes to stderr."""
    logging.disable(logging.CRITICAL)
    models = tomllib.loads(CATALOG.read_text(encoding="utf-8"))
    with contextlib.redirect_stdout(sys.stderr):
        import vllm  # noqa: PLC0415

        answers = {
            name: [wants(model, *case) for case in CASES["sliding_window" in model]]
            for name, model in models.items()
            if not model.get("demonstration")
        }
    json.dump({"vllm": vllm.__version__.split("+")[0], "answers": answers}, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
