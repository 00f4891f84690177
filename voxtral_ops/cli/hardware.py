"""`voxtral-ops hardware`: what this machine is, and which GPUs are known that are not here."""

from __future__ import annotations

import argparse

from voxtral_ops.cli.output import emit
from voxtral_ops.hardware import look
from voxtral_ops.hardware.known import known_gpus
from voxtral_ops.hardware.profile import Accelerators, Cpu, Gpu, Profile
from voxtral_ops.hardware.systems import find_system
from voxtral_ops.paths import default_layout
from voxtral_ops.planning.memory import gib

EXAMPLES = """examples:
  voxtral-ops hardware                     what this machine is
  voxtral-ops hardware --json > host.json  for `voxtral-ops plan --hardware host.json` elsewhere
  voxtral-ops hardware known               the GPUs that `voxtral-ops plan --gpu` knows by name
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the word that may be left out."""
    words = "show: what this machine is (the default); known: the GPUs that a plan can be made for without them"
    parser.add_argument("action", nargs="?", choices=["show", "known"], default="show", help=words)


def run(args: argparse.Namespace) -> int:
    """Look and tell. Returns 1 where a GPU is here and cannot be used."""
    if args.action == "known":
        return _known(args)
    layout = default_layout()
    profile = look([layout.home, layout.models, layout.cache, layout.state])
    emit(args, profile, describe(profile))
    return 1 if profile.accelerators.state != "none" and profile.accelerators.problem else 0


def _known(args: argparse.Namespace) -> int:
    known = known_gpus()
    lines = [
        f"{short:<22} {gib(each.memory):>10}  {each.bandwidth // 10**9:>5} GB/s  "
        f"{_dotted(each.capability):>4}  {each.name}"
        for short, each in known.items()
    ]
    emit(args, {short: each.model_dump(mode="json") for short, each in known.items()}, "\n".join(lines))
    return 0


def describe(profile: Profile) -> str:
    """Write a profile for a person."""
    system, cpu = profile.system, profile.cpu
    row = find_system(profile)
    support = "supported" if row else "not a supported system"
    where = f" in {system.container}" if system.container else ""
    lines = [
        f"host         {profile.hostname}, {system.name} ({support}){where}",
        f"kernel       {system.kernel}, glibc {system.glibc or 'none'}, init {system.init}",
        f"processor    {cpu.model}, {_cores(cpu)}, {cpu.architecture}",
        f"             {' '.join(cpu.isa) or 'no instruction sets that matter'}",
        f"memory       {gib(profile.memory_available)} available of {gib(profile.memory_total)}",
        f"shared       {gib(profile.shm_total)} of shared memory",
        *(f"disk         {gib(free)} free for {path}" for path, free in profile.disk_free.items()),
        *(f"library      {name} {'is here' if ok else 'is missing'}" for name, ok in profile.libraries.items()),
        *(
            f"python       {each.version} {each.path}{'' if each.venv else ' (cannot make virtual environments)'}"
            for each in profile.interpreters
        ),
        *_gpus(profile.accelerators),
    ]
    return "\n".join(lines)


def _cores(cpu: Cpu) -> str:
    places = f", {cpu.sockets} sockets, {cpu.numa_nodes} NUMA nodes" if max(cpu.sockets, cpu.numa_nodes) > 1 else ""
    return f"{cpu.logical} cores ({cpu.physical} physical{places})"


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))


def _gpus(found: Accelerators) -> list[str]:
    lines = [line for gpu in found.gpus for line in _gpu(gpu, len(found.gpus))]
    if found.driver:
        lines.append(f"driver       {found.driver}{f', up to CUDA {found.cuda}' if found.cuda else ''}")
    if found.state == "none":
        lines.append(f"gpu          none{': ' + found.problem if found.problem else ''}")
    elif found.problem:
        word = "broken:" if found.state == "broken" else "one more, broken:"
        lines += [f"gpu          {word} {found.problem}", f"             cure: {found.hint}"]
    return lines


def _gpu(gpu: Gpu, count: int) -> list[str]:
    used = f"{gib(gpu.memory_used)} in use of {gib(gpu.memory_total)}"
    facts = [
        f"{gpu.memory_bandwidth / 10**9:.0f} GB/s" if gpu.memory_bandwidth else "",
        "" if gpu.ecc is None else f"ECC {'on' if gpu.ecc else 'off'}",
        f"limit {gpu.power_limit} W" if gpu.power_limit else "",
        f"NVLink to {'all others' if len(gpu.nvlink) == count - 1 else _listed(gpu.nvlink)}" if gpu.nvlink else "",
        f"PCI {gpu.bus}" if gpu.bus else "",
        f"slice of {gpu.parent}" if gpu.parent else "",
    ]
    return [
        f"gpu {gpu.index:<8} {gpu.name}, {used}, compute capability {_dotted(gpu.compute_capability)}",
        *([f"             {', '.join(filter(None, facts))}"] if any(facts) else []),
        *(
            f"             {gib(each.memory) if each.memory else 'memory'} in use by pid {each.pid}: {each.command}"
            for each in gpu.processes
        ),
    ]


def _listed(indexes: tuple[int, ...]) -> str:
    return ", ".join(map(str, indexes))
