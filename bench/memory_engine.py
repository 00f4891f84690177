"""The measuring half of bench/memory.py: run by an engine's own Python, models as JSON in, figures as JSON out.

Anywhere: parameters of transformers' Voxtral classes on the meta device, vLLM's own descriptions of the cache, and
the audio encoder of vLLM itself run for real with two of its layers (one layer's activations are the peak, however
many follow), every tensor counted while it lives. On an NVIDIA GPU also: the whole model with random weights.
"""

# The libraries of an engine, imported by what needs them.
# ruff: noqa: PLC0415

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any

LAYERS = 2
CHUNKS = 3
CACHED = 512
ROOT = Path(__file__).resolve().parent.parent
JUDGE = ROOT / "voxtral_ops" / "server" / "engine_judge.py"


def main() -> int:
    """Measure every model. What vLLM says goes to standard error."""
    models = json.load(sys.stdin)
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory() as cache:
        os.environ.update(VLLM_CACHE_ROOT=cache, HF_HUB_OFFLINE="1", VLLM_LOGGING_LEVEL="ERROR", DO_NOT_TRACK="1")
        judge = _load_judge()
        engine = judge.Engine()
        figures = {model["name"]: measure(judge, engine, model) for model in models}
    json.dump({"figures": figures, "gpu": gpu_name()}, answer)
    answer.close()
    # vLLM's process groups would be taken down with complaints.
    os._exit(0)


def _load_judge() -> Any:
    spec = importlib.util.spec_from_file_location("engine_judge", JUDGE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def gpu_name() -> str | None:
    """The first GPU, or None."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def measure(judge: Any, engine: Any, model: dict[str, Any]) -> dict[str, Any]:
    """All figures of one model, bytes."""
    import torch

    figures: dict[str, Any] = weights(model)
    figures |= cache(judge, engine, model["case"])
    if not model["live"]:
        figures |= encoder(engine, model["plain_case"], model["chunk_tokens"])
    if torch.cuda.is_available():
        figures |= on_gpu(model)
    return figures


def build(model: dict[str, Any]) -> Any:
    """Transformers' own class in this model's size, on whatever device is the default."""
    import transformers

    prefix = "VoxtralRealtime" if model["live"] else "Voxtral"
    options = {} if model["live"] else {"audio_token_id": 24}
    text = model["text"]
    config = getattr(transformers, f"{prefix}Config")(text_config=text, audio_config=model["audio"], **options)
    config.tie_word_embeddings = text["tie_word_embeddings"]
    return getattr(transformers, f"{prefix}ForConditionalGeneration")(config)


def weights(model: dict[str, Any]) -> dict[str, int]:
    """Parameters, counted on the meta device; what fp8 makes smaller are the language model's linear layers."""
    import torch

    with torch.device("meta"):
        built = build(model)
    # Not in a checkpoint: the encoder's positions, which are computed, and an output layer that is the embedding.
    absent = ("embed_positions", "lm_head") if model["text"]["tie_word_embeddings"] else ("embed_positions",)
    unique = {
        id(parameter): parameter
        for name, parameter in built.named_parameters()
        if not any(word in name for word in absent)
    }.values()
    linear = sum(
        module.weight.numel()
        for name, module in built.named_modules()
        if isinstance(module, torch.nn.Linear) and "language_model.layers" in name and "ada" not in name
    )
    count = sum(parameter.numel() for parameter in unique)
    return {"parameters": count, "weight_bytes": 2 * count, "fp8_bytes": 2 * count - linear}


def configured(engine: Any, case: dict[str, Any]) -> Any:
    """Make vLLM's whole configuration for a case."""
    arguments = engine._parse(case["argv"])
    return engine._configure(arguments, case["environment"])


def cache(judge: Any, engine: Any, case: dict[str, Any]) -> dict[str, int]:
    """What vLLM's own description of the cache says."""
    from vllm.v1.core import kv_cache_utils as sums

    with judge._environment(case["environment"]), engine._believing(case["gpus"]):
        config = configured(engine, case)
        layers = judge.cache_layers(config)
        config.cache_config.kv_cache_layout = "LBNHC"
        groups = sums.get_kv_cache_groups(config, layers)
        # With the null block, which vLLM never gives to a request.
        request = sums._max_memory_usage_bytes_from_groups(config, groups) + sums._pool_bytes_per_block(config, groups)
    token = {
        kind: sum(
            layer.page_size_bytes // layer.block_size for name, layer in layers.items() if name.startswith(f"{kind}.")
        )
        for kind in ("language", "encoder")
    }
    return {"kv_language": token["language"], "kv_encoder": token["encoder"], "kv_request": request}


def encoder(engine: Any, case: dict[str, Any], chunk_tokens: int) -> dict[str, int]:
    """The peak of vLLM's own audio encoder, a token of the language model."""
    import torch
    from vllm.config import set_current_vllm_config
    from vllm.distributed import ensure_model_parallel_initialized, init_distributed_environment
    from vllm.model_executor.models.voxtral import VoxtralEncoderModel

    config = configured(engine, case)
    audio = config.model_config.hf_config.audio_config
    audio.encoder_layers = LAYERS
    with set_current_vllm_config(config), torch.no_grad():
        if not torch.distributed.is_initialized():
            meeting = Path(tempfile.mkdtemp()) / "meeting"
            init_distributed_environment(1, 0, f"file://{meeting}", 0, "gloo")
            ensure_model_parallel_initialized(1, 1)
        torch.set_default_dtype(config.model_config.dtype)
        tower = VoxtralEncoderModel(vllm_config=config.with_hf_config(audio, architectures=["Whisper"]))
        for module in tower.modules():
            method = getattr(module, "quant_method", None)
            if method is not None:
                method.process_weights_after_loading(module)
        samples = chunk_tokens * 4 * 2 * audio.hop_length
        peaks = [_peak(tower, [torch.zeros(samples * count, dtype=torch.float32)]) for count in (1, CHUNKS)]
        torch.set_default_dtype(torch.float32)
    return {"encoder_token": (peaks[1] - peaks[0]) // ((CHUNKS - 1) * chunk_tokens)}


def _peak(module: Any, inputs: Any) -> int:
    live = live_tensors([*module.parameters(), *module.buffers(), *inputs])
    with live:
        module(inputs)
    return live.peak


def live_tensors(known: list[Any]) -> Any:
    """A mode of torch that counts the bytes of tensors from their making to their end, but for the ``known`` ones."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves
    from torch.utils.weak import WeakIdKeyDictionary

    class Live(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.now = self.peak = 0
            self._seen = WeakIdKeyDictionary()
            for tensor in known:
                self._seen[tensor.untyped_storage()] = True

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            for leaf in tree_leaves(result):
                if isinstance(leaf, torch.Tensor) and leaf.untyped_storage() not in self._seen:
                    self._count(leaf.untyped_storage())
            return result

        def _count(self, storage: Any) -> None:
            size = storage.nbytes()
            self._seen[storage] = True
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._ended, size)

        def _ended(self, size: int) -> None:
            self.now -= size

    return Live()


def on_gpu(model: dict[str, Any]) -> dict[str, int]:
    """The whole model with random weights on the GPU: weights, one token's cache, the encoder's peak."""
    import torch

    torch.cuda.empty_cache()
    before, taken = torch.cuda.memory_allocated(), _nvml_used()
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"), torch.no_grad():
        built = build(model).eval()
        torch.cuda.synchronize()
        figures = {"gpu_weights": torch.cuda.memory_allocated() - before, "gpu_nvml": _nvml_used() - taken}
        prompt = torch.zeros(1, CACHED, dtype=torch.long)
        past = built.model.language_model(input_ids=prompt, use_cache=True).past_key_values
        held = sum(layer.keys.nbytes + layer.values.nbytes for layer in past.layers)
        figures["gpu_kv_language"] = held // CACHED
        del past
        if not model["live"]:
            figures["gpu_encoder_token"] = _gpu_encoder(built.model.audio_tower, model["chunk_tokens"])
    torch.set_default_dtype(torch.float32)
    del built
    return figures


def _gpu_encoder(tower: Any, chunk_tokens: int) -> int:
    import torch

    peaks = []
    for count in (2, 2 * CHUNKS):
        spectrum = torch.zeros(count, 128, chunk_tokens * 8)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        # The spectrum itself is part of what the encoder costs.
        base = torch.cuda.memory_allocated() - spectrum.nbytes
        tower(spectrum)
        peaks.append(torch.cuda.max_memory_allocated() - base)
    return (peaks[1] - peaks[0]) // (2 * (CHUNKS - 1) * chunk_tokens)


def _nvml_used() -> int:
    import pynvml

    pynvml.nvmlInit()
    try:
        return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).used)
    finally:
        pynvml.nvmlShutdown()


if __name__ == "__main__":
    sys.exit(main())
