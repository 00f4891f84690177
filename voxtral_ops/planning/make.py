"""Profile, release and the operator's wishes make a Plan. Every value carries its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from voxtral_ops.catalog import CatalogModel, catalog, catalog_model
from voxtral_ops.errors import ConfigurationError, HostError, VoxtralError
from voxtral_ops.hardware.profile import Profile
from voxtral_ops.planning.builds import choose_build
from voxtral_ops.planning.choice import choose_model, praise, unusable
from voxtral_ops.planning.cpu import on_cpu
from voxtral_ops.planning.devices import Device, devices
from voxtral_ops.planning.fit import Wishes
from voxtral_ops.planning.goals import RULES
from voxtral_ops.planning.gpu import on_gpus
from voxtral_ops.planning.objections import objections
from voxtral_ops.planning.overrides import PlanOverrides, check_overrides, wishes_of
from voxtral_ops.planning.placement import Placed, force, place_all, settle
from voxtral_ops.planning.plan import Instance, Plan
from voxtral_ops.planning.refusal import refusal, shortage
from voxtral_ops.release import ENGINE_VERSION, Release, ReleaseModel, bundled_release_model
from voxtral_ops.release import release_id as computed_id

HOST_BYTES = 6_000_000_000
"""What a GPU's server takes of the host's memory: processes, and vLLM's 4 GiB cache of prepared audio."""
LAST_PORT = 65535
COUNTS_FRAMES = {"0.19.1"}
"""The engines whose cache counts a live encoder's window in frames (whisper_causal.py, get_kv_cache_spec)."""


def make_plan(
    profile: Profile,
    release: Release | None,
    *,
    overrides: PlanOverrides | None = None,
    release_id: str | None = None,
    home: Path | None = None,
) -> Plan:
    """Plan what this host should run.

    ``release``: what may be served; None plans models that nobody has pinned yet. ``release_id`` is the name that the
    plan carries (computed if left out). ``home``: where this installation lives; memory that its own servers hold
    counts as free. Raises HostError or ModelError naming the number that fails and what would fit, ConfigurationError
    for wishes that cannot be meant.
    """
    overrides = overrides or PlanOverrides()
    check_overrides(overrides)
    models, why = _models(profile, release, overrides, home)
    problem, _ = unusable(profile, _engine(release))
    real = [model for model in models if not model.demonstration]
    on_a_cpu = not real or (bool(problem) and profile.accelerators.state == "none")
    planning = _Planning(profile, release, overrides, release_id, home)
    if on_a_cpu:
        return planning.for_cpu(models, why)
    return planning.for_gpus(models, why)


class _Planning:
    """The two ways to a plan, over the same facts."""

    def __init__(
        self,
        profile: Profile,
        release: Release | None,
        overrides: PlanOverrides,
        release_id: str | None,
        home: Path | None,
    ) -> None:
        self.profile, self.release, self.overrides = profile, release, overrides
        self.release_id, self.home = release_id, home
        self.warnings: list[str] = []
        self._most = max(1, profile.memory_total // HOST_BYTES)

    def for_cpu(self, models: Sequence[CatalogModel], why: str) -> Plan:
        """Serve on the processor."""
        build = choose_build(self.profile, _engine(self.release), accelerator=False)
        state = self.profile.accelerators.state
        made: list[Instance] = []
        for model in models:
            self._weigh(list(objections(self.overrides, model, (), build.version)))
            instance, against = on_cpu(
                self.profile,
                model,
                _pinned(self.release, model),
                self.overrides,
                wishes_of(self.overrides, model),
                version=build.version,
                number=len(made),
                beside=tuple(made),
            )
            self._weigh(against)
            made.append(instance)
            if model.demonstration:
                self.warnings.append(f"{model.name} understands its own closed set of commands only")
            else:
                self.warnings.append(f"{model.name} on a CPU is slow; how slow, nobody has measured")
        problem, cure = unusable(self.profile, _engine(self.release))
        if problem and state != "none":
            self.warnings.append(f"{problem}; {cure}")
        reason = "this machine has no NVIDIA GPU" if state == "none" else "nano needs no GPU"
        return self._plan(build.version, build.build, f"{reason}: {build.reason}", why, made)

    def for_gpus(self, models: Sequence[CatalogModel], why: str) -> Plan:
        """Serve on GPUs. Raises what stands in the way of every one of them."""
        problem, cure = unusable(self.profile, _engine(self.release))
        real = [model for model in models if not model.demonstration]
        nano = [model for model in models if model.demonstration]
        if problem:
            raise HostError(f"{real[0].name} cannot run here: {problem}", hint=cure, model=real[0].name)
        build = choose_build(self.profile, _engine(self.release), accelerator=True)
        here = devices(self.profile, self.home)
        asked = bool(self.overrides.models)
        if asked and nano:
            self._weigh([HostError("nano runs on the CPU's engine, and a host has one engine", hint="plan nano alone")])
        for model in real:
            self._weigh(list(objections(self.overrides, model, here, build.version)))
        wishes = {model.name: self._wishes(model, build.version) for model in real}
        placed, without = place_all(real, here, self.overrides.goal, wishes.__getitem__, self._most)
        placed = self._without(placed, without, here, wishes, must=asked or not (placed or nano))
        if not placed:
            nothing = f"none of {', '.join(model.name for model in real)} fits on the GPUs here: nano runs on the CPU"
            return self.for_cpu(nano, nothing)
        self._idle(placed, here)
        if self.release is None and not asked:
            # The model was chosen before the operator's wishes shaped it.
            why = praise(placed[0])
        instances = [
            on_gpus(each, placed, _pinned(self.release, each.model), self.overrides, build, number, self.warnings)
            for number, each in enumerate(placed)
        ]
        return self._plan(build.version, build.build, build.reason, why, instances)

    def _without(
        self,
        placed: tuple[Placed, ...],
        without: tuple[CatalogModel, ...],
        here: Sequence[Device],
        wishes: dict[str, Wishes],
        *,
        must: bool,
    ) -> tuple[Placed, ...]:
        """Refuse, force or warn of what found no place."""
        goal = self.overrides.goal
        for model in without:
            wish = wishes[model.name]
            short = shortage(model, here, goal, wish, placed)
            full = len(placed) >= self._most and short.needed <= short.usable
            crowded = self._crowded(model, placed) if full else None
            if must:
                self._weigh([crowded or refusal(model, here, goal, wish, placed)])
                placed = settle((*placed, force(model, here, goal, wish, placed)))
            else:
                self.warnings.append(f"not served: {crowded.message if crowded else short.words}")
        return placed

    def _crowded(self, model: CatalogModel, placed: Sequence[Placed]) -> HostError:
        """Say that it is the host's own memory which ends the servers."""
        each, have, count = HOST_BYTES // 10**9, self.profile.memory_total // 10**9, len(placed) + 1
        return HostError(
            f"{model.name} would be server {count} of this host, whose memory of {have} GB is not enough for it: "
            f"each server takes {each} GB besides the GPU's",
            hint=f"serve it without {', '.join(other.name for other in placed)}; {count * each} GB or more",
            model=model.name,
        )

    def _idle(self, placed: tuple[Placed, ...], here: Sequence[Device]) -> None:
        busy = {device.gpu.index for each in placed for device in each.devices}
        idle = [f"GPU {each.gpu.index} ({each.gpu.name})" for each in here if each.gpu.index not in busy]
        if idle:
            need = f"an equal GPU of enough memory and {HOST_BYTES // 10**9} GB of the host's"
            self.warnings.append(f"not used: {', '.join(idle)}; a further server of the same model needs {need}")

    def _wishes(self, model: CatalogModel, version: str) -> Wishes:
        return replace(wishes_of(self.overrides, model), pooled=version not in COUNTS_FRAMES)

    def _weigh(self, against: Sequence[VoxtralError]) -> None:
        """Raise the first objection; with force, keep them all as warnings."""
        for error in against:
            if not self.overrides.force:
                raise error
            self.warnings.append(f"forced: {error.message}")

    def _plan(self, version: str, build: str, why_build: str, why: str, instances: Sequence[Instance]) -> Plan:
        goal = self.overrides.goal
        last = instances[-1]
        if last.port > LAST_PORT:
            raise ConfigurationError(
                f"{last.name} would listen on port {last.port}, and {LAST_PORT} is the last one",
                hint=f"begin at port {LAST_PORT + 1 - len(instances)} or before",
            )
        named = self.release_id or (computed_id(self.release) if self.release else "unpinned")
        return Plan.model_validate(
            {
                "release": named,
                "goal": goal,
                "engine": version,
                "build": build,
                "instances": tuple(instances),
                "reasons": {"build": why_build, "model": why, "goal": RULES[goal].why},
                "warnings": tuple(dict.fromkeys(self.warnings)),
            }
        )


def _engine(release: Release | None) -> str:
    return release.engine if release else ENGINE_VERSION


def _models(
    profile: Profile, release: Release | None, overrides: PlanOverrides, home: Path | None
) -> tuple[list[CatalogModel], str]:
    if overrides.models:
        named = list(dict.fromkeys(catalog_model(name).name for name in overrides.models))
        for name in named:
            if release:
                release.model(name)
        return [catalog_model(name) for name in named], "asked for by name"
    if release is None:
        best, reasons = choose_model(profile, tuple(catalog()), ENGINE_VERSION, goal=overrides.goal, home=home)
        return [catalog_model(best)], "; ".join(reasons)
    names = [model.name for model in release.models]
    if unusable(profile, release.engine)[0] or names == ["nano"]:
        best, reasons = choose_model(profile, names, release.engine, goal=overrides.goal, home=home)
        return [catalog_model(best)], "; ".join(reasons)
    why = "the release names it" if len(names) == 1 else "the release names it: as many as fit, in its order"
    return [catalog_model(name) for name in names], why


def _pinned(release: Release | None, model: CatalogModel) -> ReleaseModel | None:
    if release is not None:
        return release.model(model.name)
    return bundled_release_model(model) if model.bundled else None
