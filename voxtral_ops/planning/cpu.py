"""Models on a processor: threads, cache and binding from what the host has."""

from __future__ import annotations

from voxtral_ops.catalog import CatalogModel
from voxtral_ops.errors import HostError, ModelError, VoxtralError
from voxtral_ops.hardware.profile import Profile
from voxtral_ops.planning.draft import Draft, common, finish, limit_audio
from voxtral_ops.planning.fit import Fit, Wishes, capacity
from voxtral_ops.planning.goals import RULES
from voxtral_ops.planning.memory import (
    GIB,
    MIB,
    Need,
    Shape,
    audio_seconds,
    clip_tokens,
    encoder,
    gib,
    request_bytes,
)
from voxtral_ops.planning.overrides import PlanOverrides
from voxtral_ops.planning.plan import Instance, Memory
from voxtral_ops.release import ReleaseModel

MINIMUM = {"nano": 0, "mini-3b": 20_000_000_000}
"""The models that a CPU may serve, and the memory that the host must have for them."""
CONTEXTS = {"nano": 2048, "mini-3b": 8192}
CACHES = {"nano": 64 * MIB, "mini-3b": 2 * GIB}
RUNTIMES = {"nano": 1_700_000_000, "mini-3b": 4_000_000_000}
"""Three processes that import vLLM, and their working memory. Nano's measured; Mini's an upper estimate."""
BATCH = 2048
"""vLLM's own default on a CPU."""
SMALL_THREADS = 4
"""More threads only wait for each other on matrices as small as nano's."""
BF16 = ("amx_bf16", "avx512_bf16", "bf16")


def on_cpu(  # noqa: PLR0913 - everything that an instance is made of
    profile: Profile,
    model: CatalogModel,
    pinned: ReleaseModel | None,
    overrides: PlanOverrides,
    wishes: Wishes,
    *,
    version: str,
    number: int,
    beside: tuple[Instance, ...],
) -> tuple[Instance, tuple[VoxtralError, ...]]:
    """Plan one server on the processor; with it, what the arithmetic has against it."""
    if model.name not in MINIMUM:
        slowly = ", and mini-3b slowly" if profile.memory_total >= MINIMUM["mini-3b"] else ""
        raise ModelError(
            f"{model.name} needs a GPU, and this machine has none",
            hint=f"what fits here: nano{slowly}",
            model=model.name,
        )
    cap = wishes.seqs or RULES[overrides.goal].seqs
    shape = Shape("16-bit", 1, wishes.context or CONTEXTS[model.name], wishes.batch or BATCH, cap)
    cache = wishes.cache or max(CACHES[model.name], request_bytes(model, shape))
    fitted = Fit(shape, Need(model.weight_bytes, _encoder(model, shape), 0, RUNTIMES[model.name]), cache)
    neighbours = sum(each.memory.total for each in beside)
    memory = Memory(
        weights=fitted.need.weights,
        kv_cache=cache,
        encoder=fitted.need.encoder,
        graphs=0,
        runtime=fitted.need.runtime,
        others=0,
        neighbours=neighbours,
        spare=profile.memory_total - neighbours - fitted.total,
        limit=profile.memory_total,
    )
    objections = tuple(_objections(profile, model, memory))
    serves = capacity(model, fitted, None)
    draft = common(model, version, overrides, number)
    draft.argument("dtype", "bfloat16", _why_dtype(profile))
    why = f"{audio_seconds(model, shape.context)} s of audio and the words in it"
    draft.argument("max-model-len", shape.context, why)
    draft.argument("max-num-seqs", cap, RULES[overrides.goal].why_seqs)
    draft.argument("max-num-batched-tokens", shape.batch, "vLLM's own default on a CPU")
    clip = clip_tokens(model, 30)
    draft.argument("kv-cache-memory-bytes", f"{cache // MIB}M", f"room for {serves.clips} clips of {clip} tokens each")
    draft.argument("enforce-eager", True, "compiling costs more at the start than it gives on a CPU")
    _threads(draft, profile, model, len(beside) + 1)
    limit_audio(draft, model, shape.context, serves)
    draft.reasons["gpus"] = "none: the CPU build"
    draft.reasons["encoder"] = f"a recording of {shape.context} tokens passes it at once"
    instance = finish(draft, model, pinned, overrides, name=model.name, memory=memory, capacity=serves)
    return instance, objections


def _encoder(model: CatalogModel, shape: Shape) -> int:
    return encoder(model, shape.context, shape.batch, 1)


def _objections(profile: Profile, model: CatalogModel, memory: Memory) -> list[VoxtralError]:
    minimum = max(MINIMUM[model.name], memory.total + memory.neighbours)
    if profile.memory_total >= minimum:
        return []
    short = minimum - profile.memory_total
    smaller = "" if model.demonstration else "; what fits here: nano"
    return [
        HostError(
            f"{model.name} on a CPU needs {gib(minimum)} of memory and this machine has "
            f"{gib(profile.memory_total)}: {gib(short)} short",
            hint=f"a container's limit counts; raise it, or use a larger machine{smaller}",
            needed=minimum,
            limit=profile.memory_total,
        )
    ]


def _why_dtype(profile: Profile) -> str:
    fast = next((flag for flag in BF16 if flag in profile.cpu.isa), None)
    if fast:
        return f"as the weights are; this processor multiplies it itself ({fast})"
    return "as the weights are; this processor has no instructions for it, and vLLM converts as it goes"


def _threads(draft: Draft, profile: Profile, model: CatalogModel, servers: int) -> None:
    cpu = profile.cpu
    nodes = max(1, cpu.numa_nodes)
    whole = max(1, cpu.physical // nodes // servers)
    if nodes > 1 and not model.demonstration and profile.system.container is None and servers == 1:
        why = f"threads and memory of one of {nodes} memory nodes: a step that crosses them waits for the link"
        draft.variable("VLLM_CPU_OMP_THREADS_BIND", "auto", why)
        return
    threads = max(1, whole - 1)
    threads = min(threads, SMALL_THREADS) if model.demonstration else threads
    of = f"of {cpu.physical} physical cores" + (f" on {nodes} memory nodes" if nodes > 1 else "")
    draft.variable("OMP_NUM_THREADS", threads, f"{of}; the server's own work needs the rest")
    draft.variable("VLLM_CPU_OMP_THREADS_BIND", "nobind", "the scheduler places threads; pinning fails in containers")
