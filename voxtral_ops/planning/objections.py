"""What the arithmetic has against an operator's wishes: each says what would break. Force turns them into warnings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from voxtral_ops.catalog import CatalogModel
from voxtral_ops.errors import ConfigurationError, ModelError, VoxtralError
from voxtral_ops.planning.devices import ROOM, UTILISATION, Device
from voxtral_ops.planning.fit import Wishes
from voxtral_ops.planning.goals import batch_of
from voxtral_ops.planning.memory import CLIP_SECONDS, audio_seconds, clip_tokens, gib, request_bytes
from voxtral_ops.planning.options import unknown_option, unknown_variable
from voxtral_ops.planning.overrides import PlanOverrides, wishes_of
from voxtral_ops.planning.placement import CAPABILITY, PARALLELS, divides, shapes
from voxtral_ops.planning.plan import Setting

SIXTEEN_BIT = (None, "auto", "bfloat16", "half", "float16")


def objections(
    overrides: PlanOverrides, model: CatalogModel, devices: Sequence[Device], version: str
) -> Iterator[VoxtralError]:
    """Go through everything that would keep vLLM ``version`` from starting. No devices: the CPU serves."""
    arguments = overrides.arguments_of(model)
    wishes = wishes_of(overrides, model)
    unknown = [unknown_option(name, version) for name in arguments]
    unknown += [unknown_variable(name, version) for name in overrides.environment]
    yield from (each for each in unknown if each is not None)
    yield from _of_the_model(overrides, model, wishes)
    yield from _of_servers(arguments)
    yield from _of_precision(arguments.get("dtype"), arguments.get("quantization"), devices)
    if not devices:
        if wishes.parallel and wishes.parallel > 1:
            yield ConfigurationError("tensor-parallel-size is for GPUs, and this plan has none", hint="leave it out")
        return
    if wishes.utilisation:
        yield from _of_share(wishes.utilisation, devices)
    if wishes.parallel and wishes.parallel > 1 and all(device.gpu.mig for device in devices):
        yield ConfigurationError(
            "slices of a GPU cannot work together: they have no way to each other",
            hint="leave tensor-parallel-size out",
        )


def _of_the_model(overrides: PlanOverrides, model: CatalogModel, wishes: Wishes) -> Iterator[VoxtralError]:
    if wishes.context and wishes.context > model.context:
        yield ModelError(
            f"{model.name} has a context of {model.context} tokens, not {wishes.context}",
            hint=f"{model.context} or less",
            model=model.name,
        )
    if wishes.context and not audio_seconds(model, wishes.context):
        least = clip_tokens(model, CLIP_SECONDS)
        yield ConfigurationError(
            f"max-model-len {wishes.context} holds no recording: one of {CLIP_SECONDS} seconds takes {least} tokens",
            hint=f"{least} or more",
        )
    if wishes.parallel and not divides(model, wishes.parallel):
        sizes = [str(size) for size in PARALLELS if divides(model, size)]
        yield ConfigurationError(
            f"tensor-parallel-size {wishes.parallel} does not divide the {model.heads} heads, {model.kv_heads} "
            f"key-value heads and {model.encoder.heads} encoder heads of {model.name}: vLLM stops with an assertion",
            hint=f"one of {', '.join(sizes)}",
        )
    batch = wishes.batch or batch_of(model, overrides.goal)
    if wishes.seqs and wishes.seqs > batch:
        yield ConfigurationError(
            f"max-num-seqs {wishes.seqs} is more than max-num-batched-tokens {batch}: vLLM refuses its configuration",
            hint="every request needs a token of a step: raise one, or lower the other",
        )
    if wishes.cache:
        sizes_of = [(request_bytes(model, shape), shape.context) for shape in shapes(model, overrides.goal, wishes, 1)]
        size, context = min(sizes_of)
        size //= wishes.parallel or 1
        if wishes.cache < size:
            yield ConfigurationError(
                f"kv-cache-memory-bytes of {gib(wishes.cache)} does not hold one request of {context} tokens, which "
                f"takes {gib(size)}: vLLM does not start",
                hint="more cache, or a smaller max-model-len",
            )


def _of_servers(arguments: Mapping[str, Setting]) -> Iterator[VoxtralError]:
    for name in ("pipeline-parallel-size", "data-parallel-size"):
        if arguments.get(name, 1) != 1:
            yield ConfigurationError(
                f"{name} {arguments[name]}: the plan gives a server the GPUs of its tensor-parallel-size, and no more",
                hint="leave it out: GPUs that would idle get servers of their own",
            )


def _of_precision(dtype: object, quantization: object, devices: Sequence[Device]) -> Iterator[VoxtralError]:
    if dtype not in SIXTEEN_BIT:
        yield ConfigurationError(
            f"dtype {dtype}: the weights are 16-bit, and the arithmetic counts them so",
            hint="bfloat16, half, or leave dtype out",
        )
    if quantization not in (None, "none", "fp8"):
        yield ConfigurationError(
            f"quantization {quantization}: the pinned weights are 16-bit, and vLLM makes fp8 of them and nothing else",
            hint="quantization fp8, or leave it out",
        )
    able = [device.gpu for device in devices if device.gpu.compute_capability >= CAPABILITY]
    if dtype == "bfloat16" and able and all(gpu.compute_capability < (8, 0) for gpu in able):
        yield ConfigurationError(
            f"{able[0].name} has no bfloat16: vLLM refuses it below compute capability 8.0", hint="leave dtype out"
        )


def _of_share(utilisation: float, devices: Sequence[Device]) -> Iterator[VoxtralError]:
    roomiest = max(devices, key=lambda device: device.limit - device.others)
    free = roomiest.limit - roomiest.others - ROOM
    asked = int(utilisation * roomiest.limit)
    if asked > free:
        yield ConfigurationError(
            f"gpu-memory-utilization {utilisation} asks for {gib(asked)} of {roomiest.gpu.name}, and {gib(free)} are "
            "free when vLLM looks, with its own CUDA context there: it does not start",
            hint=f"at most {int(100 * free / roomiest.limit) / 100:.2f}; {UTILISATION} where the GPU is free",
        )
