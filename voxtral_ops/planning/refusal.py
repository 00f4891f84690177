"""When a model does not fit: which number fails, by how much, and the cheapest changes that would make it fit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from voxtral_ops.catalog import CatalogModel, catalog
from voxtral_ops.errors import HostError
from voxtral_ops.hardware.profile import GpuProcess
from voxtral_ops.planning.devices import IGNORED, ROOM, UTILISATION, Device, describe
from voxtral_ops.planning.fit import Wishes, least
from voxtral_ops.planning.memory import GIB, Shape, gib, need, request_bytes
from voxtral_ops.planning.placement import CAPABILITY, PARALLELS, Placed, divides, place, shapes
from voxtral_ops.planning.plan import Goal

NAMED = 0.97
"""Of the memory that a GPU is sold with, CUDA sees about this much: the rest is the driver's, or error correction's."""


@dataclass(frozen=True)
class Shortage:
    """The smallest way to serve a model, and what the roomiest GPU lacks for it."""

    model: CatalogModel
    shape: Shape
    device: Device
    needed: int
    usable: int

    @property
    def words(self) -> str:
        """The number that fails, and by how much."""
        parts, shape = need(self.model, self.shape), self.shape
        each = " on each GPU" if shape.parallel > 1 else ""
        held = f", of which others hold {gib(self.device.others)}" if self.device.others else ""
        return (
            f"{self.model.name} needs {gib(self.needed)}{each} with {shape.precision} weights and {shape.context} "
            f"tokens (weights {gib(parts.weights)}, encoder {gib(parts.encoder)}, cache for one request "
            f"{gib(request_bytes(self.model, shape))}, graphs and runtime {gib(parts.graphs + parts.runtime)}); "
            f"{self.device.gpu.name} has {gib(self.device.limit)}{held}, and gives {gib(self.usable)}: "
            f"{gib(self.needed - self.usable)} short"
        )


def shortage(
    model: CatalogModel, devices: Sequence[Device], goal: Goal, wishes: Wishes, taken: Sequence[Placed] = ()
) -> Shortage:
    """Find the smallest way to serve a model here. At least one GPU must be able to run the engine."""
    able = [device for device in devices if device.gpu.compute_capability >= CAPABILITY]
    parallel = wishes.parallel or 1
    smallest = min(shapes(model, goal, wishes, parallel), key=lambda shape: least(model, shape, wishes))

    def room(device: Device) -> int:
        held = sum(each.least for each in taken if device.gpu.index in {own.gpu.index for own in each.devices})
        return max(0, device.usable(wishes.utilisation) - held)

    best = max(able, key=lambda device: (room(device), -device.gpu.index))
    few = replace(smallest, seqs=smallest.fewest)
    return Shortage(model, few, best, least(model, smallest, wishes), room(best))


def refusal(
    model: CatalogModel, devices: Sequence[Device], goal: Goal, wishes: Wishes, taken: Sequence[Placed] = ()
) -> HostError:
    """Say which number fails, by how much, and what would fit."""
    found = shortage(model, devices, goal, wishes, taken)
    equal = sum(device.kind == found.device.kind and device.gpu.mig is None for device in devices)
    if wishes.parallel and wishes.parallel > equal and found.needed <= found.usable:
        return HostError(
            f"tensor-parallel-size {wishes.parallel} needs as many equal GPUs; here: {max(equal, 1)}",
            hint="leave tensor-parallel-size out: the plan finds it",
        )
    changes = list(dict.fromkeys(_changes(model, devices, goal, wishes, taken, found)))
    return HostError(
        found.words,
        hint=f"what would fit, the cheapest first: {'; '.join(changes)}",
        model=model.name,
        needed=found.needed,
        usable=found.usable,
        changes=changes,
    )


def _changes(  # noqa: PLR0913, PLR0917 - the facts of a refusal
    model: CatalogModel,
    devices: Sequence[Device],
    goal: Goal,
    wishes: Wishes,
    taken: Sequence[Placed],
    found: Shortage,
) -> Iterator[str]:
    """Compute the changes, each by planning as if it were made."""
    if taken and place(model, devices, goal, wishes) is not None:
        yield f"serve it without {', '.join(each.name for each in taken)}"
    if wishes.context:
        free = place(model, devices, goal, replace(wishes, context=None), taken)
        if free is not None:
            yield f"max-model-len {free.shape.context} ({free.shape.precision} weights)"
    if wishes.precision == "16-bit" and model.fp8_bytes:
        free = place(model, devices, goal, replace(wishes, precision="fp8"), taken)
        if free is not None:
            yield f"quantization fp8, with {free.shape.context} tokens"
    yield from _left_to_the_plan(model, devices, goal, wishes, taken)
    yield from _stopping(model, goal, wishes, taken, found.device)
    yield from _smaller(model, devices, goal)
    yield from _more_hardware(model, goal, wishes, found)
    yield "nano, the demonstration model, which needs no GPU"


def _stopping(
    model: CatalogModel, goal: Goal, wishes: Wishes, taken: Sequence[Placed], device: Device
) -> Iterator[str]:
    """Name every process whose end alone would do; else the largest ones that do together."""
    holders = [each for each in device.holders if each.memory]

    def fits(without: Device) -> bool:
        return place(model, (without,), goal, wishes, taken) is not None

    alone = [each for each in holders if fits(device.without(each.pid))]
    yield from (f"stop {describe(each)}" for each in alone)
    together: list[GpuProcess] = []
    left = device
    for each in holders if not alone else []:
        together, left = [*together, each], left.without(each.pid)
        if fits(left):
            yield f"stop {' and '.join(describe(one) for one in together)}"
            return


def _left_to_the_plan(
    model: CatalogModel, devices: Sequence[Device], goal: Goal, wishes: Wishes, taken: Sequence[Placed]
) -> Iterator[str]:
    for name, wish in (
        ("max-num-seqs", replace(wishes, seqs=None)),
        ("kv-cache-memory-bytes", replace(wishes, cache=None)),
        ("gpu-memory-utilization", replace(wishes, utilisation=None)),
        ("tensor-parallel-size", replace(wishes, parallel=None)),
        ("max-num-batched-tokens", replace(wishes, batch=None)),
    ):
        if wish != wishes and place(model, devices, goal, wish, taken) is not None:
            yield f"leave {name} to the plan"


def _smaller(model: CatalogModel, devices: Sequence[Device], goal: Goal) -> Iterator[str]:
    for other in sorted(catalog().values(), key=lambda each: -each.weight_bytes):
        if not other.demonstration and other.weight_bytes < model.weight_bytes:
            fits = place(other, devices, goal, Wishes())
            if fits is not None:
                yield f"{other.name} ({fits.shape.precision} weights, {fits.shape.context} tokens)"
                return


def _more_hardware(model: CatalogModel, goal: Goal, wishes: Wishes, found: Shortage) -> Iterator[str]:
    for size in PARALLELS[1:]:
        if wishes.parallel or found.device.gpu.mig is not None or not divides(model, size):
            continue
        alike = [
            replace(found.device, gpu=found.device.gpu.model_copy(update={"index": number, "nvlink": ()}))
            for number in range(size)
        ]
        if place(model, alike, goal, wishes) is not None:
            yield f"{size} such GPUs"
            break
    share, beside = found.needed / (wishes.utilisation or UTILISATION), found.needed + IGNORED + ROOM
    named = max(share, beside) / NAMED
    yield f"a GPU of {math.ceil(named / GIB)} GiB or more"
