"""Profile, release and the operator's wishes make a Plan. Every value carries its reason."""

from __future__ import annotations

from dataclasses import dataclass, field

from voxtral_ops.catalog import CatalogModel, catalog_model
from voxtral_ops.errors import ConfigurationError, HostError, ModelError
from voxtral_ops.hardware.profile import Profile
from voxtral_ops.planning.memory import CONTEXTS, GIB, MIB, Wishes, audio_seconds, gib, host_memory
from voxtral_ops.planning.overrides import PlanOverrides, check_overrides
from voxtral_ops.planning.placement import DRIVER, Placement, choose_model, place, refusal, unusable
from voxtral_ops.planning.plan import Build, Instance, Memory, Plan, Setting
from voxtral_ops.release import Release, ReleaseModel
from voxtral_ops.release import release_id as computed_id

DEFAULT_PORT = 8000
NANO_CONTEXT = 2048
NANO_CACHE = 64 * MIB
CPU_MINIMUM = {"mini-3b": 20_000_000_000}
"""Real models that a CPU may serve, and the memory that the host must have."""
CPU_CACHE = 2 * GIB
NOWHERE = "invalid.localhost"
"""A name that cannot resolve: the only way to tell vLLM that no media domain is allowed."""
UPLOAD_FLOOR = 25
DECODE_FLOOR = 256 * MIB


@dataclass
class _Draft:
    """An instance's settings while they are gathered, each with its reason."""

    arguments: dict[str, Setting] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def argument(self, name: str, value: Setting, why: str) -> None:
        self.arguments[name] = value
        self.reasons[name] = why

    def variable(self, name: str, value: object, why: str) -> None:
        self.environment[name] = str(value)
        self.reasons[name] = why


def make_plan(
    profile: Profile,
    release: Release,
    *,
    overrides: PlanOverrides | None = None,
    release_id: str | None = None,
) -> Plan:
    """Plan what this host should run. ``release_id`` is the name that it carries (computed if left out).

    Raises HostError or ModelError naming the number that fails and what would fit, ConfigurationError for
    wishes that cannot be meant.
    """
    overrides = overrides or PlanOverrides()
    wishes = check_overrides(overrides)
    model, why = _model(profile, release, overrides)
    pinned = release.model(model.name)
    if wishes.context and wishes.context > model.context:
        raise ModelError(
            f"{model.name} has a context of {model.context} tokens, not {wishes.context}", hint="ask for less"
        )
    problem, cure = unusable(profile)
    warnings: list[str] = []
    if model.demonstration:
        warnings.append(f"{model.name} understands its own closed set of commands only")
        if problem and profile.accelerators.state != "none":
            warnings.append(f"{problem}; {cure}")
    if model.demonstration or (problem and profile.accelerators.state == "none"):
        build: Build = "cpu"
        build_why = "nano needs no GPU" if model.demonstration else "this machine has no NVIDIA GPU"
        instance = _on_cpu(profile, model, pinned, overrides, wishes)
        if not model.demonstration:
            warnings.append(f"{model.name} on a CPU is slow; how slow, nobody has measured")
    else:
        build = "cuda13"
        build_why = f"the driver {profile.accelerators.driver} is release {DRIVER} or newer, which CUDA 13 needs"
        instance = _on_gpus(profile, model, pinned, overrides, wishes, warnings)
    return Plan(
        release=release_id or computed_id(release),
        engine=release.engine,
        build=build,
        instances=(instance,),
        reasons={"build": build_why, "model": why},
        warnings=tuple(warnings),
    )


def _model(profile: Profile, release: Release, overrides: PlanOverrides) -> tuple[CatalogModel, str]:
    if overrides.model is not None:
        return catalog_model(overrides.model), "asked for by name"
    chosen, reasons = choose_model(profile, [model.name for model in release.models])
    return catalog_model(chosen), "; ".join(reasons)


def _on_cpu(
    profile: Profile, model: CatalogModel, pinned: ReleaseModel, overrides: PlanOverrides, wishes: Wishes
) -> Instance:
    draft = _common(model, overrides)
    small = model.demonstration
    context, cache = (NANO_CONTEXT, NANO_CACHE) if small else (CONTEXTS[-1], CPU_CACHE)
    context = wishes.context or context
    if not small:
        _check_cpu_can(profile, model)
    memory = host_memory(model, context, cache, profile.memory_total)
    if memory.total > memory.limit:
        raise HostError(
            f"{model.name} needs {gib(memory.total)} of memory and this machine has {gib(memory.limit)}: "
            f"{gib(memory.total - memory.limit)} short",
            hint="a container's limit counts; raise it, or use a larger machine",
            needed=memory.total,
            limit=memory.limit,
        )
    draft.argument("max-model-len", context, f"{audio_seconds(model, context)} s of audio and the words in it")
    draft.argument("kv-cache-memory-bytes", f"{cache // MIB}M", f"room for {_requests(model, cache, context)}")
    draft.argument("enforce-eager", True, "compiling costs more at the start than it gives on a CPU")
    threads = _threads(profile, small=small)
    draft.variable("OMP_NUM_THREADS", threads, f"of {profile.cpu.physical} cores; the server's own work needs the rest")
    draft.variable("VLLM_CPU_OMP_THREADS_BIND", "nobind", "the scheduler places threads; pinning fails in containers")
    _audio_limits(draft, model, context)
    return _finish(draft, model, pinned, overrides, memory, ())


def _check_cpu_can(profile: Profile, model: CatalogModel) -> None:
    minimum = CPU_MINIMUM.get(model.name)
    if minimum is None:
        raise ModelError(
            f"{model.name} needs a GPU, and this machine has none",
            hint="what fits here: nano; mini-3b where there are 20 GB of memory",
            model=model.name,
        )
    if profile.memory_total < minimum:
        raise HostError(
            f"{model.name} on a CPU needs {gib(minimum)} of memory and this machine has "
            f"{gib(profile.memory_total)}: {gib(minimum - profile.memory_total)} short",
            hint="what fits here: nano",
            needed=minimum,
            limit=profile.memory_total,
        )


def _threads(profile: Profile, *, small: bool) -> int:
    spare = max(1, profile.cpu.physical - 1)
    return min(spare, 4) if small else spare


def _on_gpus(  # noqa: PLR0913, PLR0917 - everything that a plan is made of
    profile: Profile,
    model: CatalogModel,
    pinned: ReleaseModel,
    overrides: PlanOverrides,
    wishes: Wishes,
    warnings: list[str],
) -> Instance:
    if wishes.tensor_parallel and (model.heads % wishes.tensor_parallel or model.kv_heads % wishes.tensor_parallel):
        raise ConfigurationError(
            f"tensor-parallel-size {wishes.tensor_parallel} does not divide the {model.heads} heads and "
            f"{model.kv_heads} key-value heads of {model.name}",
            hint="1, 2, 4 or 8",
        )
    placement = place(model, profile, wishes)
    if placement is None:
        raise refusal(model, profile, wishes)
    draft, fit = _common(model, overrides), placement.fit
    draft.argument("max-model-len", fit.context, _why_context(model, placement))
    draft.argument(
        "gpu-memory-utilization",
        wishes.utilisation or 0.92,
        "vLLM's own default, written down because the budget uses it",
    )
    if fit.tensor_parallel > 1:
        draft.argument(
            "tensor-parallel-size",
            fit.tensor_parallel,
            f"divides {model.heads} heads and {model.kv_heads} key-value heads",
        )
    if fit.precision == "fp8":
        draft.argument("quantization", "fp8", f"16-bit weights ({gib(model.weight_bytes)}) do not fit")
        warnings.append("fp8 weights: no word error rate is published for them")
    _for_capability(draft, model, placement, warnings)
    if fit.batch:
        draft.argument("max-num-batched-tokens", fit.batch, "the largest step whose live session still fits")
    uuids = ",".join(gpu.uuid for gpu in placement.gpus)
    draft.variable("CUDA_VISIBLE_DEVICES", uuids, "by UUID: indexes change when a card is added or lost")
    draft.variable("VLLM_ENGINE_READY_TIMEOUT_S", 1800, f"{gib(pinned.size)} of weights may come from a slow disk")
    draft.reasons["gpus"] = ", ".join(f"{gpu.name} ({gib(gpu.memory_total)})" for gpu in placement.gpus)
    _audio_limits(draft, model, fit.context)
    return _finish(draft, model, pinned, overrides, fit.memory, tuple(gpu.index for gpu in placement.gpus))


def _why_context(model: CatalogModel, placement: Placement) -> str:
    fit = placement.fit
    seconds = audio_seconds(model, fit.context)
    room = _requests(model, fit.memory.kv_cache * fit.tensor_parallel, fit.context)
    if "realtime" in model.tasks:
        return f"sessions of {seconds // 60} minutes"
    return f"recordings of {seconds // 60} minutes, and room for {room}"


def _requests(model: CatalogModel, cache: int, context: int) -> str:
    count = cache / (model.kv_bytes_per_token * context)
    return f"{count:.1f} requests of full length"


def _for_capability(draft: _Draft, model: CatalogModel, placement: Placement, warnings: list[str]) -> None:
    oldest = min(gpu.compute_capability for gpu in placement.gpus)
    if oldest < (8, 0):
        draft.argument("dtype", "half", "bfloat16 needs compute capability 8.0")
        warnings.append("this GPU has no bfloat16; Voxtral in float16 is untested")
    if oldest[0] == 10 and "realtime" in model.tasks:
        draft.argument("attention-backend", "FLASH_ATTN", "this GPU's default backend cannot run the causal encoder")


def _common(model: CatalogModel, overrides: PlanOverrides) -> _Draft:
    """Gather what every Voxtral server is started with."""
    draft, formats = _Draft(), "the files are in Mistral's own format"
    for name in ("tokenizer-mode", "config-format", "load-format"):
        draft.argument(name, "mistral", formats)
    draft.argument("served-model-name", model.repository, "the name in the model's own documentation")
    draft.argument("host", "127.0.0.1", "some of vLLM's routes need no key: only the edge may reach it")
    draft.argument("port", overrides.port or DEFAULT_PORT, "asked for" if overrides.port else "vLLM's own default")
    draft.argument("shutdown-timeout", 30, "SIGTERM would abort running requests; this lets them end")
    draft.argument("allowed-media-domains", NOWHERE, "clients send audio; the server fetches none for them")
    draft.argument("disable-fastapi-docs", True, "fewer open routes")
    if "tools" in model.tasks:
        draft.argument("enable-auto-tool-choice", True, "voice commands are tool calls")
        draft.argument("tool-call-parser", "mistral", "the model's own format")
    draft.variable("HF_HUB_OFFLINE", 1, "the weights are here and verified; nothing is fetched while serving")
    draft.variable("VLLM_NO_USAGE_STATS", 1, "no telemetry")
    draft.variable("DO_NOT_TRACK", 1, "no telemetry")
    draft.variable("VLLM_MEDIA_URL_ALLOW_REDIRECTS", 0, "the domain list is checked for the first address only")
    return draft


def _audio_limits(draft: _Draft, model: CatalogModel, context: int) -> None:
    seconds = audio_seconds(model, context)
    draft.variable("VLLM_MAX_AUDIO_DECODE_DURATION_S", seconds, "what the context holds; vLLM's own limit is 600")
    megabytes = max(UPLOAD_FLOOR, -(-seconds * 64_000 // 1_000_000))
    draft.variable("VLLM_MAX_AUDIO_CLIP_FILESIZE_MB", megabytes, "that long in twice the size of 16 kHz mono WAV")
    size = max(DECODE_FLOOR, seconds * 44_100 * 2 * 4)
    draft.variable("VLLM_MAX_AUDIO_DECODE_BYTES", size, "that long in 44.1 kHz stereo, decoded")


def _finish(  # noqa: PLR0913, PLR0917 - the last step of both ways
    draft: _Draft,
    model: CatalogModel,
    pinned: ReleaseModel,
    overrides: PlanOverrides,
    memory: Memory,
    gpus: tuple[int, ...],
) -> Instance:
    for name, value in overrides.arguments.items():
        draft.argument(name, value, "set by the operator")
    for variable, text in overrides.environment.items():
        draft.variable(variable, text, "set by the operator")
    draft.reasons["model"] = f"{pinned.repository} at {pinned.revision[:12]}, {gib(pinned.size)}"
    draft.reasons.setdefault("gpus", "none: the CPU build")
    return Instance(
        name=model.name,
        model=model.name,
        repository=pinned.repository,
        revision=pinned.revision,
        served_name=model.repository,
        gpus=gpus,
        port=overrides.port or DEFAULT_PORT,
        arguments=draft.arguments,
        environment=draft.environment,
        reasons=draft.reasons,
        memory=memory,
    )
