"""Which engine build a host can run: driver, GPU, processor, glibc and Python against what each build needs."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from functools import cache

from pydantic import BaseModel, ConfigDict

from voxtral_ops.catalog import DATA
from voxtral_ops.errors import ConfigurationError, HostError
from voxtral_ops.hardware.profile import Profile
from voxtral_ops.planning.plan import Build


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Demand(_Row):
    """What a build wants for one model beside the plan's own settings."""

    arguments: dict[str, str] = {}
    environment: dict[str, str] = {}
    reason: str


class Requirements(_Row):
    """One build as data/engines.toml has it."""

    build: Build
    version: str
    engines: tuple[str, ...]
    """The versions that a release may name to get this build."""
    cuda: str = ""
    driver: int = 0
    """The smallest NVIDIA driver release; 0 for the CPU's build."""
    capability: tuple[int, int] = (0, 0)
    glibc: str
    python: str
    locks: dict[str, str]
    """By the processor's architecture: the file in the role's files."""
    models: tuple[str, ...]
    demands: dict[str, Demand] = {}


class EngineBuild(_Row):
    """The build for one host: vLLM's version, the lock that it is installed from, and why."""

    build: Build
    version: str
    lock: str
    """The file's name in roles/voxtral_engine/files."""
    python: str
    reason: str


class _Refusal(_Row):
    """Why a build is not for this host. The lowest ``rank`` is what must be mended first."""

    rank: int
    message: str
    hint: str


@cache
def requirements() -> dict[str, Requirements]:
    """Every build by its name, newest first."""
    raw = tomllib.loads((DATA / "engines.toml").read_text(encoding="utf-8"))
    return {name: Requirements.model_validate({"build": name, **fields}) for name, fields in raw.items()}


def choose_build(profile: Profile, engine: str, *, accelerator: bool) -> EngineBuild:
    """Choose the newest build of ``engine`` that this host runs, on its GPUs or on its processor.

    Raises HostError naming the smallest change that helps and what it gives, ConfigurationError for an engine
    that no build is made for.
    """
    rows = [row for row in requirements().values() if engine in row.engines and bool(row.driver) is accelerator]
    if not rows:
        known = ", ".join(dict.fromkeys(name for row in requirements().values() for name in row.engines))
        where = "GPUs" if accelerator else "hosts without a GPU"
        raise ConfigurationError(
            f"no engine {engine} is locked for {where}", hint=f"known engines: {known}", engine=engine
        )
    if accelerator and profile.accelerators.state != "present":
        found = profile.accelerators
        problem = f"the GPU is broken: {found.problem}" if found.problem else "this machine has no NVIDIA GPU"
        raise HostError(problem, hint=found.hint or "add one, or serve a model that needs none")
    refusals: list[_Refusal] = []
    for row in rows:
        in_the_way = list(_refusals(profile, row))
        if not in_the_way:
            return EngineBuild(
                build=row.build,
                version=row.version,
                lock=row.locks[profile.cpu.architecture],
                python=row.python,
                reason=_reason(profile, row),
            )
        refusals.append(min(in_the_way, key=lambda each: each.rank))
    # The last row asks least of a host: mending what stands in its way is the smallest change.
    worst = refusals[-1]
    raise HostError(worst.message, hint=worst.hint, engine=engine)


def lock_name(build: str, architecture: str) -> str:
    """Name the lock of a build. Raises HostError where none is made for that architecture."""
    row = requirements()[build]
    if architecture not in row.locks:
        raise HostError(
            f"vLLM {row.version} has no {build} lock for {architecture}",
            hint=f"locks are made for {', '.join(row.locks)}",
            architecture=architecture,
        )
    return row.locks[architecture]


def demand(build: str, model: str) -> Demand | None:
    """Look up what a build wants for a model beside the plan's own settings."""
    return requirements()[build].demands.get(model)


def driver_release(profile: Profile) -> int:
    """Read the driver's release, as 580 of 580.95.05; 0 where it is unknown."""
    first = (profile.accelerators.driver or "").split(".")[0]
    return int(first) if first.isdigit() else 0


def _refusals(profile: Profile, row: Requirements) -> Iterator[_Refusal]:
    architecture, glibc = profile.cpu.architecture, profile.system.glibc
    if architecture not in row.locks:
        yield _Refusal(
            rank=0,
            message=f"no {row.build} engine is made for the processor architecture {architecture}",
            hint=f"it is made for {', '.join(row.locks)}",
        )
    if glibc is None or _numbers(glibc) < _numbers(row.glibc):
        have = f"glibc {glibc}" if glibc else "no glibc"
        yield _Refusal(
            rank=1,
            message=f"this system has {have}: vLLM {row.version} needs {row.glibc} or newer",
            hint="use a newer system: Debian 12, Ubuntu 22.04, Enterprise Linux 9 or newer",
        )
    if not row.driver:
        return
    gpus = profile.accelerators.gpus
    if not any(gpu.compute_capability >= row.capability for gpu in gpus):
        best = max(gpus, key=lambda gpu: gpu.compute_capability)
        yield _Refusal(
            rank=2,
            message=f"{best.name} has compute capability {_dotted(best.compute_capability)}: "
            f"vLLM {row.version} needs {_dotted(row.capability)}",
            hint="use a Turing GPU or newer: T4, RTX 20, and all after them",
        )
    if driver_release(profile) < row.driver:
        yield _Refusal(
            rank=3,
            message=f"the NVIDIA driver {profile.accelerators.driver or '(unknown)'} is too old: vLLM {row.version} "
            f"(CUDA {row.cuda}) needs {row.driver} or newer",
            hint=_upgrades(row),
        )


def _upgrades(least: Requirements) -> str:
    gives = [
        f"{row.driver} or newer runs vLLM {row.version} (CUDA {row.cuda})"
        for row in requirements().values()
        if row.driver >= least.driver > 0
    ]
    return f"install a newer driver and reboot: {'; '.join(reversed(gives))}"


def _reason(profile: Profile, row: Requirements) -> str:
    if not row.driver:
        return "vLLM's build for processors"
    driver = profile.accelerators.driver
    newer = [other for other in requirements().values() if other.driver > row.driver and other.driver]
    if newer:
        return (
            f"the driver {driver} runs CUDA {row.cuda}; {newer[-1].driver} or newer would run vLLM {newer[-1].version}"
        )
    return f"the driver {driver} is release {row.driver} or newer, which CUDA {row.cuda.split('.')[0]} needs"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"
