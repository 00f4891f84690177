"""Which engine build a host can run: driver, GPU, processor, glibc and Python against what each build needs."""

from __future__ import annotations

import tomllib
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


class Lock(_Row):
    """A file in roles/voxtral_engine/files, and the smallest glibc that has a wheel of everything in it."""

    file: str
    glibc: str


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
    python: str
    disk: int
    """Bytes of an installed engine with its byte code."""
    locks: dict[str, Lock]
    """By the processor's architecture."""
    models: tuple[str, ...]
    demands: dict[str, Demand] = {}

    @property
    def title(self) -> str:
        """The build in words."""
        return f"vLLM {self.version} ({f'CUDA {self.cuda}' if self.cuda else 'for processors'})"


class EngineBuild(_Row):
    """The build for one host: vLLM's version, the lock that it is installed from, and why."""

    build: Build
    version: str
    lock: str
    """The file's name in roles/voxtral_engine/files."""
    python: str
    reason: str


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
    architecture = profile.cpu.architecture
    made = [row for row in rows if architecture in row.locks]
    if not made:
        raise _other_processor(rows, architecture)
    in_the_way = []
    for row in made:
        found = obstacle(profile, row)
        if found is None:
            return EngineBuild(
                build=row.build,
                version=row.version,
                lock=row.locks[architecture].file,
                python=row.python,
                reason=_reason(profile, row, made),
            )
        in_the_way.append(found)
    # The oldest build asks least of a host: mending what stands in its way is the smallest change.
    raise in_the_way[-1]


def obstacle(profile: Profile, row: Requirements) -> HostError | None:
    """Say the first thing that keeps this host from running a build; None where nothing does."""
    return next((found for found in obstacles(profile, row).values() if found), None)


def obstacles(profile: Profile, row: Requirements) -> dict[str, HostError | None]:
    """Check everything that a build needs of a host: what was looked at, and what is wrong with it."""
    checks: dict[str, HostError | None] = {"architecture": None, "glibc": None}
    lock, glibc = row.locks.get(profile.cpu.architecture), profile.system.glibc
    if lock is None:
        return {"architecture": _other_processor([row], profile.cpu.architecture)}
    if row.driver and profile.accelerators.state != "present":
        checks["gpu"] = _without_gpu(profile)
    elif row.driver:
        usable = any(gpu.compute_capability >= row.capability for gpu in profile.accelerators.gpus)
        checks["capability"] = None if usable else _old_gpu(profile, row)
        checks["driver"] = None if driver_release(profile) >= row.driver else _old_driver(profile, row)
    if glibc is None or _numbers(glibc) < _numbers(lock.glibc):
        have = f"glibc {glibc}" if glibc else "no glibc"
        checks["glibc"] = HostError(
            f"this system has {have}: {row.title} needs {lock.glibc} or newer",
            hint="use a newer system: Debian 12, Ubuntu 22.04, Enterprise Linux 9, or one after them",
        )
    return checks


def lock_name(build: str, architecture: str) -> str:
    """Name the lock of a build. Raises HostError where none is made for that architecture."""
    row = requirements()[build]
    if architecture not in row.locks:
        raise _other_processor([row], architecture)
    return row.locks[architecture].file


def demand(build: str, model: str) -> Demand | None:
    """Look up what a build wants for a model beside the plan's own settings."""
    return requirements()[build].demands.get(model)


def driver_release(profile: Profile) -> int:
    """Read the driver's release, as 580 of 580.95.05; 0 where it is unknown."""
    first = (profile.accelerators.driver or "").split(".")[0]
    return int(first) if first.isdigit() else 0


def _without_gpu(profile: Profile) -> HostError:
    found = profile.accelerators
    if found.state == "broken":
        return HostError(f"the GPU is broken: {found.problem}", hint=found.hint)
    return HostError("this machine has no NVIDIA GPU", hint="add one, or serve nano, which needs none")


def _other_processor(rows: list[Requirements], architecture: str) -> HostError:
    made = ", ".join(dict.fromkeys(name for row in rows for name in row.locks))
    titles = " and ".join(row.title for row in rows)
    hint = f"there are locks for {made}"
    if architecture in {name for row in requirements().values() if row.driver for name in row.locks}:
        hint += f"; on {architecture} an NVIDIA GPU is needed"
    return HostError(
        f"{titles} cannot be installed on the processor architecture {architecture}",
        hint=hint,
        architecture=architecture,
    )


def _old_gpu(profile: Profile, row: Requirements) -> HostError:
    newest = max(profile.accelerators.gpus, key=lambda gpu: gpu.compute_capability)
    have, need = (".".join(map(str, pair)) for pair in (newest.compute_capability, row.capability))
    return HostError(
        f"{newest.name} has compute capability {have}: {row.title} needs {need}",
        hint="use a Turing GPU (T4, RTX 20) or a newer one; no driver mends this",
    )


def _old_driver(profile: Profile, row: Requirements) -> HostError:
    architecture = profile.cpu.architecture
    ways = [
        each
        for each in requirements().values()
        if each.driver >= row.driver and architecture in each.locks and set(each.engines) & set(row.engines)
    ]
    gives = "; ".join(f"{each.driver} or newer gives {each.title}" for each in reversed(ways))
    return HostError(
        f"the NVIDIA driver {profile.accelerators.driver or '(unknown)'} is too old: {row.title} needs "
        f"{row.driver} or newer",
        hint=f"install a newer driver and reboot: {gives}",
        driver=profile.accelerators.driver,
        needed=row.driver,
    )


def _reason(profile: Profile, row: Requirements, made: list[Requirements]) -> str:
    if not row.driver:
        return "the build that needs no GPU"
    driver = profile.accelerators.driver
    newer = [each for each in made if each.driver > row.driver]
    if newer:
        return f"the driver {driver} runs CUDA {row.cuda}; {newer[-1].driver} or newer would give {newer[-1].title}"
    return f"the driver {driver} is release {row.driver} or newer, which CUDA {row.cuda.split('.')[0]} needs"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
