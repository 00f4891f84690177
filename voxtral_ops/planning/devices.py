"""What each GPU gives to this installation: its memory, less what processes of others hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from voxtral_ops.hardware.profile import Gpu, GpuProcess, Profile
from voxtral_ops.planning.memory import GIB, MIB, gib

UTILISATION = 0.92
"""vLLM's own default share of a GPU; the rest is for fragments, and for what the arithmetic does not know."""
ROOM = 3 * GIB // 4
"""vLLM looks at what is free when its CUDA context is already there, and refuses to start when it is less than its
share. An upper estimate of that context."""
IGNORED = 512 * MIB
"""Less than this in other hands (a desktop, a monitor) is inside what nobody is promised."""
STEP = GIB
"""What others hold is rounded up to this, so that a plan does not change with every tab of a browser."""


@dataclass(frozen=True)
class Device:
    """A GPU and what it gives."""

    gpu: Gpu
    limit: int
    """What CUDA calls its total: without the driver's own."""
    others: int
    holders: tuple[GpuProcess, ...]
    """The processes that are not ours, the largest first."""
    ours: frozenset[int] = frozenset()

    @property
    def kind(self) -> tuple[str, int, bool]:
        """Equal GPUs have the same."""
        return self.gpu.name, self.gpu.memory_total, self.gpu.mig is not None

    def usable(self, utilisation: float | None = None) -> int:
        """Count the bytes that instances may take together."""
        share = int((utilisation or UTILISATION) * self.limit)
        return max(0, min(share, self.limit - max(self.others, IGNORED) - ROOM))

    def without(self, pid: int) -> Device:
        """Tell what it would give if that process were gone."""
        freed = sum(each.memory or 0 for each in self.holders if each.pid == pid)
        left = tuple(each for each in self.gpu.processes if each.pid != pid)
        used = max(0, self.gpu.memory_used - freed)
        gpu = self.gpu.model_copy(update={"memory_used": used, "processes": left})
        return _device(gpu, self.ours, all_ours=False)


def devices(profile: Profile, home: Path | None) -> tuple[Device, ...]:
    """Look at every GPU of a host. ``home``: where this installation lives; what runs from there is ours."""
    prefix = f"{home}/" if home else None
    serving = prefix is not None and any(prefix in each.command for each in profile.listeners)
    found = []
    for gpu in profile.accelerators.gpus:
        ours = frozenset(each.pid for each in gpu.processes if prefix and prefix in each.command)
        # In a container the driver names no process: memory in nobody's name is ours while we serve.
        found.append(_device(gpu, ours, all_ours=serving and not gpu.processes))
    return tuple(found)


def describe(process: GpuProcess) -> str:
    """Name a process so that it can be found."""
    program = process.command.split(" ", maxsplit=1)[0].rsplit("/", maxsplit=1)[-1] or "?"
    holds = f", which holds {gib(process.memory)}" if process.memory else ""
    return f"process {process.pid} ({program}){holds}"


def _device(gpu: Gpu, ours: frozenset[int], *, all_ours: bool) -> Device:
    foreign = [each for each in gpu.processes if each.pid not in ours]
    own = [each for each in gpu.processes if each.pid in ours]
    named = sum(each.memory or 0 for each in foreign)
    if all_ours or any(each.memory is None for each in own):
        held = named
    else:
        held = max(named, gpu.memory_used - sum(each.memory or 0 for each in own))
    others = 0 if held <= IGNORED else math.ceil(held / STEP) * STEP
    limit = gpu.memory_total - gpu.memory_reserved
    holders = tuple(sorted(foreign, key=lambda each: -(each.memory or 0)))
    return Device(gpu, limit, min(others, limit), holders, ours)
