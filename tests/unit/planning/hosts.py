"""Hosts and releases for the tests: what they are, typed from public specifications."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from voxtral_ops.catalog import catalog, catalog_model
from voxtral_ops.hardware.profile import Accelerators, Cpu, Gpu, Interpreter, Profile, System
from voxtral_ops.release import Release, ReleaseFile, ReleaseModel

MIB = 1 << 20
HOSTS = Path(__file__).parents[2] / "data" / "hosts"
CARDS: dict[str, tuple[str, int, tuple[int, int]]] = {
    "t4": ("Tesla T4", 15360 * MIB, (7, 5)),
    "3060": ("NVIDIA GeForce RTX 3060", 12288 * MIB, (8, 6)),
    "4080": ("NVIDIA GeForce RTX 4080", 16376 * MIB, (8, 9)),
    "4090": ("NVIDIA GeForce RTX 4090", 24564 * MIB, (8, 9)),
    "a40": ("NVIDIA A40", 46068 * MIB, (8, 6)),
    "h100": ("NVIDIA H100 80GB HBM3", 81559 * MIB, (9, 0)),
    "b200": ("NVIDIA B200", 183359 * MIB, (10, 0)),
    "v100": ("Tesla V100-SXM2-16GB", 16384 * MIB, (7, 0)),
}


def gpu(card: str, index: int = 0, *, used: int = 0) -> Gpu:
    name, memory, capability = CARDS[card]
    return Gpu(
        index=index,
        uuid=f"GPU-{card}-{index}",
        name=name,
        memory_total=memory,
        memory_used=used,
        compute_capability=capability,
    )


def host(*cards: str, driver: str = "580.95.05", memory: int = 64_000_000_000, **changes: Any) -> Profile:
    """A quiet Debian 12 with these cards."""
    gpus = tuple(gpu(card, index) for index, card in enumerate(cards))
    found = Accelerators(state="present", driver=driver, cuda="13.0", gpus=gpus) if gpus else Accelerators(state="none")
    profile = Profile(
        hostname="host",
        system=System(id="debian", version="12", name="Debian 12", kernel="6.1", glibc="2.36", init="systemd"),
        cpu=Cpu(model="a processor", architecture="x86_64", logical=16, physical=8, isa=("avx2", "avx512f")),
        memory_total=memory,
        memory_available=memory,
        shm_total=8_000_000_000,
        disk_free={},
        libraries={"libnuma.so.1": True},
        interpreters=(Interpreter(path="/usr/bin/python3.11", version="3.11.2", venv=True),),
        user="root",
        privileged=True,
        compiler="/usr/bin/gcc",
        accelerators=found,
    )
    return profile.model_copy(update=changes)


def broken(problem: str = "library and kernel disagree", hint: str = "reboot") -> Accelerators:
    return Accelerators(state="broken", problem=problem, hint=hint)


def pinned(name: str) -> ReleaseModel:
    model = catalog_model(name)
    weights = ReleaseFile(path="consolidated.safetensors", size=model.weight_bytes, sha256="0" * 64)
    return ReleaseModel(name=name, repository=model.repository, revision="a" * 40, files=(weights,))


def release(*names: str) -> Release:
    """A release of these models; of all, where none is named."""
    return Release(engine="0.32.0", models=tuple(pinned(name) for name in names or catalog()))


def profile_named(name: str) -> Profile:
    """A host of tests/data/hosts."""
    return Profile.model_validate_json((HOSTS / f"{name}.json").read_text(encoding="utf-8"))
