"""Which of the models that can be had is the best one here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from voxtral_ops.catalog import catalog_model
from voxtral_ops.errors import ConfigurationError, HostError
from voxtral_ops.hardware.profile import Profile
from voxtral_ops.planning.builds import choose_build
from voxtral_ops.planning.devices import devices
from voxtral_ops.planning.fit import Wishes
from voxtral_ops.planning.memory import Precision
from voxtral_ops.planning.placement import Placed, place
from voxtral_ops.planning.plan import Goal
from voxtral_ops.planning.refusal import refusal
from voxtral_ops.release import ENGINE_VERSION

PREFERENCE: tuple[tuple[str, Precision], ...] = (
    ("small-24b", "16-bit"),
    ("mini-3b", "16-bit"),
    ("realtime-4b", "16-bit"),
    ("mini-3b", "fp8"),
    ("realtime-4b", "fp8"),
    ("small-24b", "fp8"),
)
"""Best words first (the published word error rates); fp8 has none published, so 16-bit goes before it."""


def unusable(profile: Profile, engine: str) -> tuple[str, str]:
    """Say why no GPU of this host can be used, and the cure; two empty strings where one can."""
    try:
        choose_build(profile, engine, accelerator=True)
    except HostError as error:
        return error.message, error.hint
    return "", ""


def choose_model(
    profile: Profile,
    names: Iterable[str],
    engine: str = ENGINE_VERSION,
    *,
    goal: Goal = "balanced",
    home: Path | None = None,
) -> tuple[str, tuple[str, ...]]:
    """Choose the best of the models that can be had. Raises HostError when none of them fits here."""
    available = list(dict.fromkeys(names))
    if not available:
        raise ConfigurationError("no model to choose from", hint="name one in release.yml")
    problem, cure = unusable(profile, engine)
    here = devices(profile, home)
    for name, precision in PREFERENCE:
        if problem or name not in available:
            continue
        placed = place(catalog_model(name), here, goal, Wishes(precision=precision))
        if placed is not None:
            return name, (praise(placed),)
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
    raise refusal(catalog_model(available[-1]), here, goal, Wishes())


def praise(placed: Placed) -> str:
    """Say in a clause how well a model fits."""
    count = f"{len(placed.devices)} x " if len(placed.devices) > 1 else ""
    return (
        f"the best model that fits: {placed.name} with {placed.shape.precision} weights and {placed.shape.context} "
        f"tokens on {count}{placed.devices[0].gpu.name}"
    )
