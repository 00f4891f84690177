"""`voxtral-ops hardware`: what this machine is."""

from __future__ import annotations

import argparse

from voxtral_ops.cli.output import emit
from voxtral_ops.hardware import look
from voxtral_ops.hardware.profile import Accelerators, Profile
from voxtral_ops.hardware.systems import find_system
from voxtral_ops.paths import default_layout
from voxtral_ops.planning.memory import gib

EXAMPLES = """examples:
  voxtral-ops hardware                     what this machine is
  voxtral-ops hardware --json > host.json  for `voxtral-ops plan --hardware host.json` elsewhere
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the word that may be left out."""
    parser.add_argument("action", nargs="?", choices=["show"], default="show", help="the default")


def run(args: argparse.Namespace) -> int:
    """Look and tell. Returns 1 where a GPU is here and broken."""
    layout = default_layout()
    profile = look([layout.home, layout.models, layout.cache, layout.state])
    emit(args, profile, describe(profile))
    return 1 if profile.accelerators.state == "broken" else 0


def describe(profile: Profile) -> str:
    """Write a profile for a person."""
    system, cpu = profile.system, profile.cpu
    row = find_system(profile)
    support = "supported" if row else "not a supported system"
    where = f" in {system.container}" if system.container else ""
    lines = [
        f"host         {profile.hostname}, {system.name} ({support}){where}",
        f"kernel       {system.kernel}, glibc {system.glibc or 'none'}, init {system.init}",
        f"processor    {cpu.model}, {cpu.logical} cores ({cpu.physical} physical), {cpu.architecture}",
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


def _gpus(found: Accelerators) -> list[str]:
    lines = []
    for gpu in found.gpus:
        capability = ".".join(map(str, gpu.compute_capability))
        used = f"{gib(gpu.memory_used)} used of {gib(gpu.memory_total)}"
        lines.append(f"gpu {gpu.index}        {gpu.name}, {used}, compute capability {capability}")
    if found.driver:
        lines.append(f"driver       {found.driver}, up to CUDA {found.cuda or 'unknown'}")
    if found.state == "none":
        lines.append(f"gpu          none{': ' + found.problem if found.problem else ''}")
    if found.state == "broken":
        lines += [f"gpu          broken: {found.problem}", f"             cure: {found.hint}"]
    return lines
