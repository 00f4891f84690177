"""A placed model becomes an instance: every option that the GPUs decide, with its reason."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from voxtral_ops.planning.builds import EngineBuild, demand
from voxtral_ops.planning.draft import Draft, common, finish, limit_audio
from voxtral_ops.planning.fit import STEP_SECONDS, capacity, least, live_limit, step_seconds
from voxtral_ops.planning.goals import RULES, contexts
from voxtral_ops.planning.memory import MIB, audio_seconds, gib, is_live, request_bytes
from voxtral_ops.planning.overrides import PlanOverrides
from voxtral_ops.planning.placement import Placed
from voxtral_ops.planning.plan import Capacity, Goal, Instance, Memory
from voxtral_ops.release import ReleaseModel


def on_gpus(  # noqa: PLR0913, PLR0917 - everything that an instance is made of
    placed: Placed,
    everybody: Sequence[Placed],
    pinned: ReleaseModel | None,
    overrides: PlanOverrides,
    build: EngineBuild,
    number: int,
    warnings: list[str],
) -> Instance:
    """Write one instance down; what a person should know is added to ``warnings``."""
    model, shape = placed.model, placed.fit.shape
    memory = budget(placed, everybody)
    serves = capacity(model, placed.fit, placed.devices[0].gpu.memory_bandwidth)
    draft = common(model, build.version, overrides, number)
    _precision(draft, placed, warnings)
    if shape.parallel > 1:
        draft.argument("tensor-parallel-size", shape.parallel, _why_parallel(placed))
    draft.argument("max-model-len", shape.context, _why_context(placed, overrides.goal))
    draft.argument("max-num-seqs", shape.seqs, _why_seqs(placed, overrides))
    why_batch = RULES[overrides.goal].why_batch
    if is_live(model):
        why_batch = f"a live session brings one token a step; vLLM's 2048 would hold {_held(placed)} for each instead"
    draft.argument("max-num-batched-tokens", shape.batch, why_batch)
    _memory(draft, placed, memory)
    _for_capability(draft, placed)
    wanted = demand(build.build, model.name)
    if wanted:
        for name, value in wanted.arguments.items():
            draft.argument(name, value, wanted.reason)
        for name, text in wanted.environment.items():
            draft.variable(name, text, wanted.reason)
    uuids = ",".join(device.gpu.uuid for device in placed.devices)
    draft.variable("CUDA_VISIBLE_DEVICES", uuids, "by UUID: indexes change when a card is added or lost")
    size = gib(pinned.size if pinned else model.weight_bytes)
    draft.variable("VLLM_ENGINE_READY_TIMEOUT_S", 1800, f"{size} of weights may come from a slow disk")
    draft.reasons["gpus"] = _why_gpus(placed, everybody)
    draft.reasons["encoder"] = _why_encoder(placed)
    limit_audio(draft, model, shape.context, serves)
    if is_live(model):
        draft.reasons["sessions"] = _why_sessions(placed, serves, warnings)
    if any(device.gpu.mig for device in placed.devices):
        warnings.append("slices of a GPU: never run here; vLLM asks the driver for a GPU of the slice's number")
    gpus = tuple(device.gpu.index for device in placed.devices)
    return finish(draft, model, pinned, overrides, name=placed.name, memory=memory, capacity=serves, gpus=gpus)


def budget(placed: Placed, everybody: Sequence[Placed]) -> Memory:
    """Count the budget of the instance's tightest device. The parts sum to what the device gives."""
    fitted = placed.fit
    budgets = []
    for device in placed.devices:
        beside = [
            other
            for other in everybody
            if other is not placed and device.gpu.index in {each.gpu.index for each in other.devices}
        ]
        neighbours = sum(other.fit.total for other in beside)
        budgets.append(
            Memory(
                weights=fitted.need.weights,
                kv_cache=fitted.cache,
                encoder=fitted.need.encoder,
                graphs=fitted.need.graphs,
                runtime=fitted.need.runtime,
                others=device.others,
                neighbours=neighbours,
                spare=device.limit - device.others - neighbours - fitted.total,
                limit=device.limit,
            )
        )
    return min(budgets, key=lambda each: each.spare)


def _precision(draft: Draft, placed: Placed, warnings: list[str]) -> None:
    model = placed.model
    oldest = min(device.gpu.compute_capability for device in placed.devices)
    if oldest < (8, 0):
        draft.argument("dtype", "half", "bfloat16 needs compute capability 8.0")
        warnings.append(f"{model.name}: this GPU has no bfloat16, and Voxtral in float16 is untested")
    else:
        draft.argument("dtype", "bfloat16", "as the weights are")
    if placed.shape.precision == "fp8":
        how = "in its own fp8 units" if oldest >= (8, 9) else "as storage: this GPU computes in 16 bit (Marlin)"
        draft.argument("quantization", "fp8", f"16-bit weights ({gib(model.weight_bytes)}) do not fit; {how}")
        warnings.append(f"{model.name}: no word error rate is published for its fp8 weights")
    else:
        draft.reasons["quantization"] = "none: 16-bit weights fit, and for fp8 no word error rate is published"


def _memory(draft: Draft, placed: Placed, memory: Memory) -> None:
    shared = memory.neighbours > 0
    usable = min(device.usable() for device in placed.devices)
    share = memory.total if shared else usable
    utilisation = placed.wishes.utilisation or math.floor(100 * share / memory.limit + 0.01) / 100
    why = "what must be free when it starts: vLLM checks it, and does no more with it once the cache is set"
    if shared:
        why = f"its own part of a shared GPU; {why}"
    elif memory.others:
        why = f"others hold {gib(memory.others)}; {why}"
    draft.argument("gpu-memory-utilization", max(utilisation, 0.01), why)
    why = f"the rest of {gib(memory.limit)}; set, so that vLLM does not measure what is free while others load"
    least = gib(request_bytes(placed.model, placed.fit.shape))
    draft.argument("kv-cache-memory-bytes", f"{memory.kv_cache // MIB}M", f"{why}; one full request takes {least}")


def _for_capability(draft: Draft, placed: Placed) -> None:
    oldest = min(device.gpu.compute_capability for device in placed.devices)
    if oldest[0] == 10 and is_live(placed.model):
        draft.argument("attention-backend", "FLASH_ATTN", "this GPU's default backend cannot run the causal encoder")


def _why_parallel(placed: Placed) -> str:
    model, size = placed.model, placed.shape.parallel
    if placed.wishes.parallel:
        return "set by the operator"
    divides = (
        f"{size} divides {model.heads} heads, {model.kv_heads} key-value heads and the encoder's {model.encoder.heads}"
    )
    alone = replace(placed.shape, parallel=1)
    if least(model, alone, placed.wishes) > min(device.usable() for device in placed.devices):
        return f"one GPU does not hold {gib(model.weight_bytes)} of 16-bit weights and a request; {divides}"
    bandwidth = placed.devices[0].gpu.memory_bandwidth or 0
    slow, fast = (1000 * step_seconds(model, shape, bandwidth) for shape in (alone, placed.shape))
    return f"a step takes {fast:.0f} ms instead of {slow:.0f} on one GPU (estimated); {divides}"


def _why_context(placed: Placed, goal: Goal) -> str:
    minutes = audio_seconds(placed.model, placed.shape.context) // 60
    if is_live(placed.model):
        return f"sessions of {minutes} minutes; each minute makes a session's steps slower"
    whole = min(placed.fit.shape.seqs, placed.fit.cache // request_bytes(placed.model, placed.fit.shape))
    shape = placed.shape
    most = contexts(placed.model, goal, shape.precision)[0]
    room = "" if goal == "longest-audio" else f" with room for {RULES[goal].seqs} clips at once"
    limit = f" (longer ones do not fit in {shape.precision}{room})" if shape.context < most else ""
    return f"recordings of {minutes} minutes{limit}; {whole} of that length at once"


def _why_seqs(placed: Placed, overrides: PlanOverrides) -> str:
    rules = RULES[overrides.goal]
    if placed.fit.shape.seqs < rules.seqs:
        unit = "live sessions" if is_live(placed.model) else "clips of 30 seconds"
        return f"as many {unit} as the cache holds"
    return rules.why_seqs


def _why_gpus(placed: Placed, everybody: Sequence[Placed]) -> str:
    text = ", ".join(f"{device.gpu.name} ({gib(device.limit)})" for device in placed.devices)
    beside = [
        other.name
        for other in everybody
        if other is not placed and {d.gpu.index for d in other.devices} & {d.gpu.index for d in placed.devices}
    ]
    if beside:
        return f"{text}, shared with {', '.join(beside)}"
    if placed.name != placed.model.name:
        return f"{text}: a further server on a GPU that would idle"
    return text


def _why_encoder(placed: Placed) -> str:
    if is_live(placed.model):
        return "a step passes its layers, and a file of ten minutes its first ones at once"
    return f"vLLM tries a recording of {placed.shape.context} tokens at its start, and so may a client"


def _why_sessions(placed: Placed, serves: Capacity, warnings: list[str]) -> str:
    model, shape = placed.model, placed.fit.shape
    bandwidth = placed.devices[0].gpu.memory_bandwidth
    if not bandwidth:
        return "from the cache alone: this GPU's memory bandwidth is not known"
    one = 1000 * step_seconds(model, shape, bandwidth)
    if serves.sessions == 0:
        warnings.append(f"{model.name}: a step takes {one:.0f} ms here, and a live session needs one every 80 ms")
    limit = live_limit(model, shape, bandwidth)
    by = "the cache" if serves.sessions < limit else f"steps of {1000 * STEP_SECONDS:.0f} ms"
    return f"{by} decides; a step of one takes {one:.0f} ms, {limit} would take 80 ms (estimated)"


def _held(placed: Placed) -> str:
    return gib(request_bytes(placed.model, replace(placed.fit.shape, batch=2048)))
