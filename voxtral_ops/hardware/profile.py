"""What a host is: facts that the probe reported, never wishes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Fact(BaseModel):
    # A newer probe may report more than this version of the package knows.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Cpu(_Fact):
    """The processor. ``isa`` holds the kernel's names of flags that matter: avx2, avx512f, amx_bf16 …"""

    model: str
    architecture: str
    """``x86_64`` or ``aarch64``."""
    logical: int
    """Cores that this process may run on; a container's limit counts."""
    physical: int
    isa: tuple[str, ...] = ()
    sockets: int = 1
    numa_nodes: int = 1


class System(_Fact):
    """The operating system, from os-release, uname and the C library."""

    id: str
    version: str
    name: str
    kernel: str
    glibc: str | None = None
    init: Literal["systemd", "other"]
    container: str | None = None
    """What kind of container, or None on bare metal and in a virtual machine."""


class Interpreter(_Fact):
    """A Python that was run and answered. ``venv``: whether it can make virtual environments."""

    path: str
    version: str
    venv: bool


class GpuProcess(_Fact):
    """A process that holds memory of a GPU, without its options, which may be secret.

    ``memory`` is None where the driver does not tell it: to a container, or for a slice.
    """

    pid: int
    command: str
    memory: int | None = None


class Gpu(_Fact):
    """One device that an engine can use: a whole GPU, or a MIG slice of one. Memory in bytes."""

    index: int
    """Its place in this profile. Ask CUDA for a device by ``uuid``, never by this number."""
    uuid: str
    name: str
    memory_total: int
    memory_used: int
    """By processes; without ``memory_reserved`` where the driver tells that apart (release 510 or newer)."""
    compute_capability: tuple[int, int]
    memory_reserved: int = 0
    """What the driver keeps for itself: CUDA's total, of which vLLM takes its share, is smaller by this."""
    bus: str | None = None
    """The PCI address, as ``00000000:01:00.0``; a slice has its GPU's."""
    ecc: bool | None = None
    """None where the memory has no error correction that could be switched."""
    mig: str | None = None
    """The profile of a slice, as ``3g.40gb``; None for a whole GPU."""
    parent: str | None = None
    """The UUID of the GPU that a slice is cut from."""
    nvlink: tuple[int, ...] = ()
    """The ``index`` of every GPU of this profile that NVLink joins to it, directly or through a switch."""
    power_limit: int | None = None
    """Watts."""
    memory_bandwidth: int | None = None
    """Bytes per second at the highest memory clock, computed by ``gpus.py``; a slice has its share."""
    processes: tuple[GpuProcess, ...] = ()


class Accelerators(_Fact):
    """What the NVIDIA driver says: none here, broken (and how to mend it), or the devices.

    ``present`` with a ``problem`` means that some GPUs can be used and another one cannot.
    """

    state: Literal["none", "broken", "present"]
    driver: str | None = None
    cuda: str | None = None
    gpus: tuple[Gpu, ...] = ()
    problem: str = ""
    hint: str = ""


class Listener(_Fact):
    """A process that listens on a TCP port, without its options, which may be secret.

    ``pid`` is None where the probe's user may not see the process.
    """

    port: int
    pid: int | None = None
    command: str = "a process of another user"


class Directory(_Fact):
    """A directory that was asked about. ``exists``: it, or its nearest parent that exists."""

    exists: str
    device: int
    writable: bool
    complete: tuple[str, ...] = ()
    """What was installed in it to its end: engines, toolkits, models; paths relative to it."""


class Profile(_Fact):
    """One host. All sizes in bytes."""

    schema_version: Literal[1] = 1
    hostname: str
    system: System
    cpu: Cpu
    memory_total: int
    memory_available: int
    """What may be used now; a container's limit counts."""
    shm_total: int
    """``/dev/shm``: vLLM's processes talk through it and need 160 MiB."""
    disk_free: dict[str, int]
    """Bytes free for the directories that were asked about (of their nearest existing parent)."""
    directories: dict[str, Directory] = {}
    """The same directories: rights and what is in them."""
    listeners: tuple[Listener, ...] = ()
    compiler: str | None = None
    """A C compiler on PATH."""
    certificates: bool = True
    """Whether the system has certificate authorities."""
    libraries: dict[str, bool]
    """Shared libraries that an engine loads: libnuma.so.1."""
    interpreters: tuple[Interpreter, ...]
    user: str
    privileged: bool
    """Whether the probe ran as root."""
    accelerators: Accelerators
