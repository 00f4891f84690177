"""A plan explained in prose, as one engineer explains it to another: from the plan's own numbers, nothing else."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from voxtral_ops.catalog import CatalogModel, catalog_model
from voxtral_ops.hardware.profile import Profile
from voxtral_ops.planning.memory import CLIP_SECONDS, LONG_SECONDS, clip_tokens, gib, is_live
from voxtral_ops.planning.plan import Instance, Plan

WIDTH = 100


def explain(plan: Plan, profile: Profile) -> str:
    """Explain the plan for this host."""
    paragraphs = [_host(plan, profile)]
    told: set[str] = set()
    for instance in plan.instances:
        if instance.model in told:
            continue
        told.add(instance.model)
        paragraphs += _instance(plan, instance)
    paragraphs += _doubts(plan)
    return "\n\n".join(textwrap.fill(" ".join(text.split()), WIDTH) for text in paragraphs)


def _host(plan: Plan, profile: Profile) -> str:
    found = profile.accelerators
    if plan.build == "cpu":
        have = "no GPU that can be used" if found.state != "none" else "no NVIDIA GPU"
        cores = f"{profile.cpu.physical} cores of {profile.cpu.model}"
        head = f"{profile.hostname} has {have}, so {cores} and {gib(profile.memory_total)} of memory do the work."
    else:
        names: dict[str, int] = {}
        for gpu in found.gpus:
            names[gpu.name] = names.get(gpu.name, 0) + 1
        cards = " and ".join(f"{count} x {name}" if count > 1 else name for name, count in names.items())
        head = f"{profile.hostname} has {cards}, with the driver {found.driver}."
    engine = f"The engine is vLLM {plan.engine} in its {plan.build} build: {plan.reasons['build']}."
    count = len(plan.instances)
    served = ", ".join(instance.name for instance in plan.instances)
    what = f"{count} servers run: {served}." if count > 1 else f"One server runs: {served}."
    return (
        f"{head} {engine} {what} Which model: {plan.reasons['model']}. The goal is {plan.goal}, that is, "
        f"{plan.reasons['goal']}."
    )


def _instance(plan: Plan, instance: Instance) -> Iterator[str]:
    model = catalog_model(instance.model)
    yield _weights(instance, model)
    yield _rest(instance)
    yield _cache(instance, model)
    yield _served(plan, instance, model)


def _weights(instance: Instance, model: CatalogModel) -> str:
    memory, size = instance.memory, len(instance.gpus)
    where = f" of each of {size} GPUs" if size > 1 else " of the GPU" if size else ", the host's memory"
    text = f"{instance.name}: {_count(model.parameters)} parameters take {gib(memory.weights)} of the "
    text += f"{gib(memory.limit)}{where}"
    if "quantization" in instance.arguments:
        text += f", in {instance.arguments['quantization']}, because {instance.reasons['quantization']}."
    else:
        text += f", in {instance.arguments['dtype']} ({instance.reasons['dtype']})."
    if size > 1:
        text += f" It is spread over {size} GPUs: {instance.reasons['tensor-parallel-size']}."
    elif "tensor-parallel-size" not in instance.arguments and size:
        text += " One GPU holds it, so there is no tensor parallelism."
    return text


def _rest(instance: Instance) -> str:
    memory, context = instance.memory, instance.arguments["max-model-len"]
    text = (
        f"Before any cache, the audio encoder wants {gib(memory.encoder)}, because {instance.reasons['encoder']}. "
        f"Here max-model-len is {context}: {instance.reasons['max-model-len']}. "
    )
    if instance.gpus:
        text += (
            f"CUDA graphs take {gib(memory.graphs)} and the context, libraries and activations {gib(memory.runtime)}; "
            "both are upper estimates and grow with max-num-seqs. "
        )
    else:
        text += f"Its processes take {gib(memory.runtime)}. "
    if memory.others:
        text += f"Processes that are not ours hold {gib(memory.others)}, rounded up to whole GiB. "
    if memory.neighbours:
        text += f"The other servers on this GPU are promised {gib(memory.neighbours)}. "
    if memory.spare < 0:
        text += f"That is {gib(-memory.spare)} more than there is; it was forced, and will probably not start."
    else:
        text += f"{gib(memory.spare)} are promised to nobody."
    return text


def _cache(instance: Instance, model: CatalogModel) -> str:
    memory, size = instance.memory, max(1, len(instance.gpus))
    value = instance.arguments["kv-cache-memory-bytes"]
    text = f"What is left is the cache: {gib(memory.kv_cache)} (kv-cache-memory-bytes {value}). "
    if is_live(model):
        window = model.sliding_window or 0
        return text + (
            f"A live session keeps the last {window} tokens of the language model and a window of the encoder, in one "
            f"pool; after ten minutes it holds no more however long it goes on. At once: {instance.capacity.sessions} "
            f"sessions; {instance.reasons['sessions']}."
        )
    each = model.kv_bytes_per_token // size
    clip, long = clip_tokens(model, CLIP_SECONDS), clip_tokens(model, LONG_SECONDS)
    text += (
        f"A token takes {each / 1024:.0f} KiB of it, so it holds {memory.kv_cache // each} tokens. A clip of 30 "
        f"seconds is {clip} of them with its words, half an hour {long}: {instance.capacity.clips} clips"
    )
    if instance.capacity.files:
        return f"{text}, or {instance.capacity.files} such recordings, at once."
    return f"{text} at once. Half an hour is longer than a request may be here; {_minutes(instance)} is the most."


def _served(plan: Plan, instance: Instance, model: CatalogModel) -> str:
    arguments, reasons = instance.arguments, instance.reasons
    text = (
        f"At most {arguments['max-num-seqs']} requests run together ({reasons['max-num-seqs']}), in steps of "
        f"{arguments['max-num-batched-tokens']} tokens ({reasons['max-num-batched-tokens']}). "
    )
    if instance.gpus:
        share = arguments["gpu-memory-utilization"]
        text += f"gpu-memory-utilization is {share}: {reasons['gpu-memory-utilization']}. "
    else:
        binding = instance.environment.get("VLLM_CPU_OMP_THREADS_BIND", "")
        threads = instance.environment.get("OMP_NUM_THREADS")
        why = reasons["OMP_NUM_THREADS"] if threads else reasons["VLLM_CPU_OMP_THREADS_BIND"]
        text += f"It computes with {_threads(threads or binding)} ({why}). "
    text += f"It listens on port {instance.port}, on this machine only. "
    alike = [each for each in plan.instances if each.model == model.name]
    if len(alike) > 1:
        ports = ", ".join(f"{each.name} on port {each.port}" for each in alike[1:])
        text += f"GPUs that would idle serve the same again: {ports}."
    return text


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:.1f} billion" if parameters >= 1e8 else f"{parameters / 1e6:.1f} million"


def _threads(value: str) -> str:
    return "1 thread" if value == "1" else f"{value} threads"


def _minutes(instance: Instance) -> str:
    return f"{instance.capacity.longest_audio / 60:.0f} minutes"


def _doubts(plan: Plan) -> Iterator[str]:
    if plan.warnings:
        yield "What you should know: " + "; ".join(plan.warnings) + "."
    if plan.build != "cpu":
        yield "All of this is computed from the architecture and from vLLM's source; none of it was measured on a GPU."
