"""Which model goes onto which GPUs: as many as fit, then replicas; tensor parallelism only where it is needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

from voxtral_ops.catalog import CatalogModel
from voxtral_ops.planning.devices import Device
from voxtral_ops.planning.fit import Fit, Wishes, fit, least, step_seconds
from voxtral_ops.planning.goals import RULES, batch_of, contexts, fewest
from voxtral_ops.planning.memory import Precision, Shape, is_live, need, request_bytes
from voxtral_ops.planning.plan import Goal

CAPABILITY = (7, 5)
"""The oldest GPUs that the engines have code for (Turing)."""
PARALLELS = (1, 2, 4, 8)
PAYS = 0.8
"""Tensor parallelism pays for latency where it makes a step at least a fifth shorter."""


@dataclass(frozen=True)
class Placed:
    """A model on devices. ``fitted`` is None until everybody on the device is known."""

    name: str
    model: CatalogModel
    devices: tuple[Device, ...]
    shape: Shape
    wishes: Wishes
    fitted: Fit | None = None

    @property
    def least(self) -> int:
        """The least that it takes of each device."""
        return least(self.model, self.shape, self.wishes)

    @property
    def fit(self) -> Fit:
        """What came out. Only after ``settle``."""
        if self.fitted is None:
            raise AssertionError(f"{self.name} was not settled")
        return self.fitted


WishesOf = Callable[[str], Wishes]


def place(
    model: CatalogModel, devices: Sequence[Device], goal: Goal, wishes: Wishes, taken: Sequence[Placed] = ()
) -> Placed | None:
    """Find the best GPUs for a model beside those that have been placed, or None."""
    options = [
        Placed(model.name, model, group, shape, wishes)
        for group in _groups(model, devices, goal, wishes, taken)
        for shape in shapes(model, goal, wishes, len(group))
        if least(model, shape, wishes) <= min(_room(device, wishes, taken) for device in group)
        and request_bytes(model, shape) <= (wishes.cache or math.inf)
    ]
    return max(options, key=lambda option: _rank(option, goal, taken), default=None)


def place_all(
    models: Iterable[CatalogModel], devices: Sequence[Device], goal: Goal, wishes_of: WishesOf, most: int
) -> tuple[tuple[Placed, ...], tuple[CatalogModel, ...]]:
    """Place models in their order, then replicas, ``most`` instances in all; and list what found no place."""
    taken: list[Placed] = []
    without: list[CatalogModel] = []
    for model in models:
        found = place(model, devices, goal, wishes_of(model.name), taken) if len(taken) < most else None
        if found is None:
            without.append(model)
        else:
            taken.append(found)
    taken += _replicas(taken, devices, most)
    return settle(taken), tuple(without)


def settle(taken: Sequence[Placed]) -> tuple[Placed, ...]:
    """Share out what is left on each device: equally among its instances, then what one cannot use to the next."""
    settled: list[Placed] = []
    for each in taken:
        usable = _usable(each)
        beside = [other for other in taken if other is not each and _shares(other, each)]
        if beside and each.wishes.utilisation is None:
            whole = usable - each.least - sum(other.least for other in beside)
            usable = each.least + whole // (len(beside) + 1)
        fitted = fit(each.model, each.shape, usable, each.wishes) or _forced(each)
        settled.append(replace(each, fitted=fitted))
    for number, each in enumerate(settled):
        beside = [other for other in settled if other is not each and _shares(other, each)]
        if beside and each.wishes.utilisation is None:
            usable = _usable(each) - sum(other.fit.total for other in beside)
            settled[number] = replace(each, fitted=fit(each.model, each.shape, usable, each.wishes) or each.fit)
    return tuple(settled)


def _usable(placed: Placed) -> int:
    return min(device.usable(placed.wishes.utilisation) for device in placed.devices)


def force(
    model: CatalogModel, devices: Sequence[Device], goal: Goal, wishes: Wishes, taken: Sequence[Placed]
) -> Placed:
    """Place a model that does not fit, because the operator insists: the smallest way, on the roomiest GPUs."""
    size = min(wishes.parallel or 1, len(devices))
    able = [device for device in devices if device.gpu.compute_capability >= CAPABILITY]
    roomiest = sorted(able, key=lambda device: (-_room(device, wishes, taken), device.gpu.index))[:size]
    shape = min(shapes(model, goal, wishes, size), key=lambda each: least(model, each, wishes))
    return Placed(model.name, model, tuple(roomiest), shape, wishes)


def shapes(model: CatalogModel, goal: Goal, wishes: Wishes, parallel: int) -> Iterator[Shape]:
    """Go through the ways to serve a model on so many GPUs."""
    precisions: tuple[Precision, ...] = (wishes.precision,) if wishes.precision else ("16-bit", "fp8")
    for precision in precisions:
        if precision == "fp8" and model.fp8_bytes is None:
            continue
        tried = (wishes.context,) if wishes.context else contexts(model, goal, precision)
        for context in tried:
            batch, seqs = wishes.batch or batch_of(model, goal), wishes.seqs or RULES[goal].seqs
            least_wanted = wishes.seqs or fewest(model, goal, shortest=context == tried[-1])
            yield Shape(precision, parallel, context, batch, seqs, least_wanted, wishes.pooled)


def divides(model: CatalogModel, parallel: int) -> bool:
    """Tell whether all heads can be divided: the language model's, and the encoder's (vLLM asserts both)."""
    return not any(heads % parallel for heads in (model.heads, model.kv_heads, model.encoder.heads))


def _groups(
    model: CatalogModel, devices: Sequence[Device], goal: Goal, wishes: Wishes, taken: Sequence[Placed]
) -> Iterator[tuple[Device, ...]]:
    able = [device for device in devices if device.gpu.compute_capability >= CAPABILITY]
    spread = {device.gpu.index for each in taken if each.shape.parallel > 1 for device in each.devices}
    busy = {device.gpu.index for each in taken for device in each.devices}
    alone = [(device,) for device in able if device.gpu.index not in spread]
    wanted = [wishes.parallel] if wishes.parallel else [size for size in PARALLELS if divides(model, size)]
    if 1 in wanted:
        yield from alone
    for size in (each for each in wanted if each > 1):
        for peers in _equals(able, busy):
            group = _joined(peers, size)
            if len(group) == size and (wishes.parallel or _worth(model, group, goal, wishes)):
                yield group


def _equals(devices: Sequence[Device], busy: set[int]) -> Iterator[list[Device]]:
    # Tensor parallelism wants equal GPUs: the slowest and the smallest would decide. A slice has no way to another.
    kinds: dict[object, list[Device]] = {}
    for device in devices:
        if device.gpu.mig is None and device.gpu.index not in busy:
            kinds.setdefault(device.kind, []).append(device)
    yield from kinds.values()


def _joined(peers: list[Device], size: int) -> tuple[Device, ...]:
    by_room = sorted(peers, key=lambda device: (-device.usable(), device.gpu.index))
    for first in by_room:
        near = [each for each in by_room if each.gpu.index in first.gpu.nvlink]
        if len(near) >= size - 1:
            return (first, *near[: size - 1])
    return tuple(by_room[:size])


def _linked(group: Sequence[Device]) -> bool:
    return all(other is each or other.gpu.index in each.gpu.nvlink for each in group for other in group)


def _worth(model: CatalogModel, group: tuple[Device, ...], goal: Goal, wishes: Wishes) -> bool:
    """Tell whether tensor parallelism may be considered: where less does not fit, or where latency gains by it."""
    smaller = [size for size in PARALLELS if size < len(group) and divides(model, size)]
    tried = contexts(model, goal, "16-bit")
    context = wishes.context or (tried[0] if goal == "longest-audio" else tried[-1])
    few = wishes.seqs or fewest(model, goal, shortest=True)
    batch = wishes.batch or batch_of(model, goal)
    shape = Shape(wishes.precision or "16-bit", 1, context, batch, few, few, wishes.pooled)
    room = min(device.usable() for device in group)
    if all(least(model, replace(shape, parallel=size), wishes) > room for size in smaller):
        return True
    bandwidth = group[0].gpu.memory_bandwidth
    if goal != "latency" or not bandwidth or not _linked(group):
        return False
    before = step_seconds(model, replace(shape, parallel=smaller[-1]), bandwidth)
    return step_seconds(model, replace(shape, parallel=len(group)), bandwidth) <= PAYS * before


def _rank(option: Placed, goal: Goal, taken: Sequence[Placed]) -> tuple[float, ...]:
    shape, first = option.shape, option.devices[0]
    exact = float(shape.precision == "16-bit")
    alone = float(not any(_shares(each, option) for each in taken))
    bandwidth = first.gpu.memory_bandwidth
    if goal == "longest-audio":
        order: tuple[float, ...] = (shape.context, exact, -shape.parallel)
    elif goal == "latency" and bandwidth:
        order = (exact, -step_seconds(option.model, shape, bandwidth, 0), shape.context)
    else:
        order = (exact, -shape.parallel, shape.context)
    # Of equal ways the emptier GPU; for live sessions, whose steps must be short, the one with the faster memory.
    room = bandwidth if is_live(option.model) and bandwidth else first.limit - first.others
    return (*order, alone, room, -first.gpu.index)


def _room(device: Device, wishes: Wishes, taken: Sequence[Placed]) -> int:
    held = sum(each.least for each in taken if device.gpu.index in {own.gpu.index for own in each.devices})
    return min(device.usable(wishes.utilisation), device.usable(1.0)) - held


def _shares(one: Placed, other: Placed) -> bool:
    return bool({device.gpu.index for device in one.devices} & {device.gpu.index for device in other.devices})


def _replicas(taken: Sequence[Placed], devices: Sequence[Device], most: int) -> list[Placed]:
    """Fill GPUs that would idle with further servers, each model in its turn."""
    made: list[Placed] = []
    counts: dict[str, int] = {each.name: 1 for each in taken}
    turns = cycle(taken)
    idle_turns = 0
    while taken and idle_turns < len(taken) and len(taken) + len(made) < most:
        first = next(turns)
        busy = {device.gpu.index for each in (*taken, *made) for device in each.devices}
        free = [each for each in devices if each.gpu.index not in busy and each.kind == first.devices[0].kind]
        roomy = [each for each in free if each.usable(first.wishes.utilisation) >= first.least]
        group = _joined(roomy, first.shape.parallel)
        if len(group) < first.shape.parallel:
            idle_turns += 1
            continue
        idle_turns = 0
        counts[first.name] += 1
        made.append(replace(first, name=f"{first.name}-{counts[first.name]}", devices=group))
    return made


def _forced(placed: Placed) -> Fit:
    shape = replace(placed.shape, seqs=placed.shape.fewest)
    return Fit(shape, need(placed.model, shape), placed.wishes.cache or request_bytes(placed.model, shape))
