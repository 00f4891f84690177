"""Hosts that are not here: the profile of a typical machine with GPUs known by name."""

from __future__ import annotations

import difflib
import math
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from voxtral_ops.errors import ConfigurationError
from voxtral_ops.hardware.devices import MEMORY_SLICES
from voxtral_ops.hardware.profile import Accelerators, Cpu, Gpu, Interpreter, Profile, System

MIB, GIB = 1 << 20, 1 << 30
DRIVER, CUDA = "580.95.05", "13.0"
MOST = 16
COMPUTE_SLICES = 7
"""MIG cuts the processors of a GPU into sevenths, and its memory into eighths."""


class KnownGpu(BaseModel):
    """A GPU of ``data/gpus.toml``, or a MIG slice of one. Memory in bytes, bandwidth in bytes per second."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    memory: int
    reserved: int
    capability: tuple[int, int]
    bandwidth: int
    power: int
    ecc: bool | None = None
    nvlink: bool = False
    """Several in one host are joined by NVLink."""
    processor: Literal["x86_64", "aarch64"] = "x86_64"
    mig: str | None = None
    """The profile of a slice."""
    in_one: int = 1
    """How many of this kind one GPU can be cut into."""


@cache
def known_gpus() -> dict[str, KnownGpu]:
    """List every GPU that a profile can be made of, by its short name; slices as ``h100-80g-3g.40gb``."""
    raw = tomllib.loads(files("voxtral_ops").joinpath("data/gpus.toml").read_text(encoding="utf-8"))
    found = {}
    for short, facts in raw.items():
        slices: dict[str, int] = facts.pop("slices", {})
        found[short] = whole = _known(facts)
        found.update({f"{short}-{profile}": _slice(whole, profile, size * MIB) for profile, size in slices.items()})
    return found


def _known(facts: dict[str, Any]) -> KnownGpu:
    units = {
        "memory": facts["memory"] * MIB,
        "reserved": facts["reserved"] * MIB,
        "bandwidth": facts["bandwidth"] * 10**9,
        "capability": tuple(map(int, facts["capability"].split("."))),
    }
    return KnownGpu.model_validate({**facts, **units})


def _slice(whole: KnownGpu, profile: str, memory: int) -> KnownGpu:
    eighths = math.ceil(MEMORY_SLICES * memory / whole.memory)
    sevenths = int(profile.partition("g")[0])
    changes = {
        "name": f"{whole.name} MIG {profile}",
        "memory": memory,
        "reserved": 0,  # it was taken from the GPU before it was cut
        "bandwidth": whole.bandwidth * eighths // MEMORY_SLICES,
        "nvlink": False,  # MIG switches it off
        "mig": profile,
        "in_one": min(COMPUTE_SLICES // sevenths, MEMORY_SLICES // eighths),
    }
    return whole.model_copy(update=changes)


def profile_of(gpu: str, count: int = 1) -> Profile:
    """Make the profile of a quiet Debian 12 with a current driver and so many of this GPU (or of its slices).

    Everything but the GPUs is an assumption: 16 cores (72 beside Grace), and 64 GiB of memory or twice the GPUs'.
    Raises ConfigurationError with the nearest right names.
    """
    if not 1 <= count <= MOST:
        raise ConfigurationError(f"{count} GPUs in one host", hint=f"between 1 and {MOST}")
    known = _find(gpu)
    gpus = tuple(_device(known, index, count) for index in range(count))
    memory = max(64 * GIB, 2 * sum(each.memory_total for each in gpus))
    arm = known.processor == "aarch64"
    return Profile(
        hostname=gpu if count == 1 else f"{count}x-{gpu}",
        system=System(
            id="debian",
            version="12",
            name="Debian GNU/Linux 12 (bookworm)",
            kernel="6.1.0",
            glibc="2.36",
            init="systemd",
        ),
        cpu=_ARM if arm else _X86,
        memory_total=memory,
        memory_available=memory * 15 // 16,
        shm_total=memory // 2,
        disk_free={},
        compiler="/usr/bin/gcc",
        libraries={"libnuma.so.1": True},
        interpreters=(Interpreter(path="/usr/bin/python3.11", version="3.11.2", venv=True),),
        user="root",
        privileged=True,
        accelerators=Accelerators(state="present", driver=DRIVER, cuda=CUDA, gpus=gpus),
    )


_X86 = Cpu(
    model="a server's processor",
    architecture="x86_64",
    logical=32,
    physical=16,
    isa=("avx2", "avx512_vnni", "avx512bw", "avx512f", "avx512vl", "f16c", "fma"),
)
_ARM = Cpu(
    model="0x41 part 0xd4f",  # Grace, as the kernel tells it
    architecture="aarch64",
    logical=72,
    physical=72,
    isa=("asimd", "asimddp", "asimdhp", "bf16", "i8mm", "sve", "sve2"),
)


def _find(name: str) -> KnownGpu:
    known = known_gpus()
    short = name.strip().lower().replace("_", "-").replace(" ", "-").removeprefix("nvidia-").removeprefix("geforce-")
    by_title = {each.name: key for key, each in known.items()}
    if short in known or name in by_title:
        return known[by_title.get(name, short)]
    begin = [key for key in known if short and short in key and known[key].mig is None]
    close = begin or difflib.get_close_matches(short, known, n=3, cutoff=0.5)
    nearest = f"did you mean {' or '.join(close)}? " if close else ""
    whole = ", ".join(key for key, each in known.items() if each.mig is None)
    raise ConfigurationError(
        f"unknown GPU {name!r}",
        hint=f"{nearest}known: {whole}; slices as h100-80g-3g.40gb; for any other host, run there: "
        "voxtral-ops hardware --json",
        gpu=name,
        nearest=close,
    )


def _device(known: KnownGpu, index: int, count: int) -> Gpu:
    board = index // known.in_one
    whole = f"GPU-{board:08d}-0000-4000-8000-000000000000"
    return Gpu(
        index=index,
        uuid=f"MIG-{board:08d}-0000-4000-8000-{index:012d}" if known.mig else whole,
        name=known.name,
        memory_total=known.memory,
        memory_used=0,
        memory_reserved=known.reserved,
        compute_capability=known.capability,
        bus=f"00000000:{board + 1:02X}:00.0",
        ecc=known.ecc,
        mig=known.mig,
        parent=whole if known.mig else None,
        nvlink=tuple(other for other in range(count) if other != index) if known.nvlink else (),
        power_limit=known.power,
        memory_bandwidth=known.bandwidth,
    )
