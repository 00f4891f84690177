"""Where a model goes: onto which GPUs; and which model is the best that fits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from voxtral_ops.catalog import CatalogModel, catalog_model
from voxtral_ops.errors import ConfigurationError, HostError, ModelError
from voxtral_ops.hardware.profile import Gpu, Profile
from voxtral_ops.planning.memory import Fit, Precision, Wishes, gib, gpu_fits, needed

DRIVER = 580
"""The first NVIDIA driver release that runs CUDA 13, which the engine is built with."""
CAPABILITY = (7, 5)
"""The oldest GPUs that the engine has code for (Turing)."""
PREFERENCE: tuple[tuple[str, Precision], ...] = (
    ("small-24b", "16-bit"),
    ("mini-3b", "16-bit"),
    ("realtime-4b", "16-bit"),
    ("mini-3b", "fp8"),
    ("realtime-4b", "fp8"),
    ("small-24b", "fp8"),
)
"""Best words first (the published word error rates); fp8 has none published, so 16-bit goes before it."""


@dataclass(frozen=True)
class Placement:
    """A model on GPUs."""

    gpus: tuple[Gpu, ...]
    fit: Fit


def unusable(profile: Profile) -> tuple[str, str]:
    """Say why no GPU of this host can be used, and the cure; two empty strings where one can."""
    found = profile.accelerators
    if found.state == "none":
        return "this machine has no NVIDIA GPU", "add one, or serve nano, which needs none"
    if found.state == "broken":
        return f"the GPU is broken: {found.problem}", found.hint
    release = (found.driver or "0").split(".")[0]
    if not release.isdigit() or int(release) < DRIVER:
        return (
            f"the NVIDIA driver {found.driver or '(unknown)'} is too old: the engine needs {DRIVER} or newer",
            f"install the driver's release {DRIVER} or newer and reboot",
        )
    if not any(gpu.compute_capability >= CAPABILITY for gpu in found.gpus):
        gpu = found.gpus[0]
        have, need = _dotted(gpu.compute_capability), _dotted(CAPABILITY)
        return (
            f"{gpu.name} has compute capability {have}: the engine needs {need}",
            "use a Turing GPU or newer",
        )
    return "", ""


def place(model: CatalogModel, profile: Profile, wishes: Wishes | None = None) -> Placement | None:
    """Find the best GPUs for a model, or None where it fits on none."""
    if unusable(profile)[0]:
        return None
    options = []
    for group in _groups(profile):
        # A GPU that holds the model alone should be the one with the most room.
        memory = min(gpu.memory_total for gpu in group)
        fit = gpu_fits(model, memory, len(group), wishes)
        if fit is not None and fit.tensor_parallel <= len(group):
            options.append(Placement(group[: fit.tensor_parallel], fit))
    if not options:
        return None
    return max(
        options,
        key=lambda option: (
            option.fit.precision == "16-bit",
            option.fit.context,
            -option.fit.tensor_parallel,
            option.fit.memory.limit,
            -option.gpus[0].index,
        ),
    )


def choose_model(profile: Profile, names: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """Choose the best of the models that can be had. Raises HostError when none of them fits here."""
    available = list(dict.fromkeys(names))
    if not available:
        raise ConfigurationError("no model to choose from", hint="name one in release.yml")
    problem, cure = unusable(profile)
    for name, precision in PREFERENCE:
        if problem or name not in available:
            continue
        placement = place(catalog_model(name), profile, Wishes(precision=precision))
        if placement is not None:
            return name, (_praise(name, placement),)
    if "nano" in available:
        real = [name for name in available if not catalog_model(name).demonstration]
        if problem:
            return "nano", (f"{problem}: nano, the demonstration model, runs on the CPU",)
        if not real:
            return "nano", ("no other model can be had here: nano, the demonstration model, is shipped",)
        return "nano", (f"none of {', '.join(real)} fits on the GPUs here: nano runs on the CPU",)
    if problem:
        slow = "; mini-3b also runs on a CPU with 20 GB, slowly, when it is asked for by name"
        raise HostError(f"{problem}, and {', '.join(available)} needs one", hint=cure + slow)
    raise refusal(catalog_model(available[-1]), profile, Wishes())


def refusal(model: CatalogModel, profile: Profile, wishes: Wishes) -> HostError | ModelError:
    """Say which number fails, by how much, and what would fit."""
    problem, cure = unusable(profile)
    if problem:
        return HostError(f"{model.name} cannot run here: {problem}", hint=cure, model=model.name)
    gpus = [gpu for gpu in profile.accelerators.gpus if gpu.compute_capability >= CAPABILITY]
    largest = max(gpus, key=lambda gpu: gpu.memory_total)
    precision: Precision = wishes.precision or ("fp8" if model.fp8_bytes else "16-bit")
    context, batch = wishes.context or 8192, wishes.batch or 512
    need = needed(model, precision, wishes.tensor_parallel or 1, context, batch)
    usable = int(largest.memory_total * (wishes.utilisation or 0.92))
    if need.total <= usable and wishes.tensor_parallel and wishes.tensor_parallel > len(gpus):
        return HostError(
            f"tensor-parallel-size {wishes.tensor_parallel} needs as many equal GPUs; here: {len(gpus)}",
            hint="leave tensor-parallel-size out: the plan finds it",
        )
    return HostError(
        f"{model.name} needs {gib(need.total)} of GPU memory with {precision} weights and {context} tokens, and "
        f"the largest GPU here ({largest.name}) gives {gib(usable)}: {gib(need.total - usable)} short",
        hint=_what_fits(model, profile, wishes),
        model=model.name,
        needed=need.total,
        usable=usable,
    )


def _what_fits(model: CatalogModel, profile: Profile, wishes: Wishes) -> str:
    if wishes.context:
        free = place(model, profile, Wishes(precision=wishes.precision, utilisation=wishes.utilisation))
        if free is not None:
            return f"max-model-len {free.fit.context} fits ({free.fit.precision} weights)"
    others = [name for name in dict(PREFERENCE) if name != model.name and place(catalog_model(name), profile)]
    return f"what fits here: {', '.join([*others, 'nano'])}"


def _groups(profile: Profile) -> list[tuple[Gpu, ...]]:
    # Tensor parallelism wants equal GPUs: the slowest and the smallest would decide.
    groups: dict[tuple[str, int], list[Gpu]] = {}
    for gpu in profile.accelerators.gpus:
        if gpu.compute_capability >= CAPABILITY:
            groups.setdefault((gpu.name, gpu.memory_total), []).append(gpu)
    return [tuple(group) for group in groups.values()]


def _praise(name: str, placement: Placement) -> str:
    fit = placement.fit
    count = f"{len(placement.gpus)} x " if len(placement.gpus) > 1 else ""
    return (
        f"the best model that fits: {name} with {fit.precision} weights and {fit.context} tokens on "
        f"{count}{placement.gpus[0].name}"
    )


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"
