"""What the NVIDIA driver says: no GPU, a broken one and its cure, or the devices. Standard library and pynvml.

Part of the probe: it travels with it to hosts that nobody has touched, so it imports nothing else of this package.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
from functools import partial
from pathlib import Path
from typing import Any

if __package__:
    from voxtral_ops.hardware.devices import Reader, UnusableError
    from voxtral_ops.hardware.holders import command_of
else:  # alone on a host
    from devices import Reader, UnusableError  # type: ignore[import-not-found,no-redef]
    from holders import command_of  # type: ignore[import-not-found,no-redef]

Facts = dict[str, Any]
LIBRARY = "libnvidia-ml.so.1"

_CURES = {
    # The numbers are NVML's return codes (nvml.h, nvmlReturn_t).
    4: "this user may not use the driver: add it to the group that owns /dev/nvidia* (often video or render)",
    8: "the GPU has too little power: connect its power cables, then reboot",
    9: "the kernel module is not loaded: modprobe nvidia; if that fails, install the driver for this kernel",
    11: "its interrupts do not arrive: look at dmesg and the machine's firmware settings, then reboot",
    12: f"the driver's library {LIBRARY} is missing: install NVIDIA's driver, release 580 or newer",
    13: "the driver is far too old: install release 580 or newer",
    14: "the board's own description is damaged: reset the GPU (nvidia-smi --gpu-reset); if it stays, replace it",
    15: "the GPU fell off the bus: reboot; when it happens again, check power, cooling and the slot",
    16: "the GPU waits for a reset: end what uses it and run nvidia-smi --gpu-reset, or reboot",
    17: "the system blocks the driver: look for rules about /dev/nvidia* (SELinux, a service's DeviceAllow)",
    18: "the driver was updated while the old kernel module is still loaded: reboot (or reload the module)",
}
_OTHERWISE = "look at nvidia-smi and the kernel's log (dmesg | grep -i nvrm); then reboot"
_GIVE_GPUS = "start this container with GPUs (podman: --device nvidia.com/gpu=all; docker: --gpus all)"
_IN_CONTAINER = {
    4: "this container's user may not use the driver: start it with GPUs, without other device rules",
    9: _GIVE_GPUS,
    12: _GIVE_GPUS,
    18: "the host's driver was updated after this container started: restart it; if it stays, reboot the host",
    # systemd's daemon-reload on the host takes the device rules of running containers away.
    999: "this container lost its devices: restart it",
}

# The beginnings of PCI classes: a display or 3D controller (not its sound device), and NVSwitch.
_GPU, _SWITCH = "0x03", "0x0680"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip()


def traces(root: Path) -> list[str]:
    """List what says that there is an NVIDIA GPU even where its library says nothing."""
    found = [f"PCI device {address}" for address in _on_the_bus(root)]
    if (root / "proc/driver/nvidia/version").exists():
        found.append("kernel module nvidia")
    found += [f"/dev/{node.name}" for node in sorted((root / "dev").glob("nvidia[0-9]*"))]
    return found


def _on_the_bus(root: Path, kind: str = _GPU, *, lent: bool = False) -> list[str]:
    """List the addresses of NVIDIA's devices: those that are for this system, or those lent to virtual machines."""
    found = []
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        try:
            ours = _read(device / "vendor") == "0x10de" and _read(device / "class").startswith(kind)
        except OSError:
            continue
        if ours and ((device / "driver").resolve().name == "vfio-pci") is lent:
            found.append(device.name)
    return found


def accelerators(root: Path, container: str | None) -> Facts:
    """Give one of three answers: none here, broken (and the cure), or the devices."""
    signs = traces(root)
    try:
        import pynvml  # noqa: PLC0415
    except Exception as error:  # a half-installed binding may raise anything
        if not signs:
            return {"state": "none"}
        problem = f"an NVIDIA GPU is here ({signs[0]}), but Python's bindings to its driver are not: {error}"
        return _broken(problem, "install nvidia-ml-py for this Python, or run the probe that carries it")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return _no_start(pynvml, error, signs, root, container)
    try:
        return _devices(pynvml, signs, root, container)
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _broken(problem: str, hint: str, **facts: Any) -> Facts:
    return {"state": "broken", "problem": problem, "hint": hint, **facts}


def _cure(code: int, container: str | None) -> str:
    return (_IN_CONTAINER.get(code) if container else None) or _CURES.get(code, _OTHERWISE)


def _no_start(nvml: Any, error: Any, signs: list[str], root: Path, container: str | None) -> Facts:
    missing = error.value == nvml.NVML_ERROR_LIBRARY_NOT_FOUND
    unloaded = error.value == nvml.NVML_ERROR_DRIVER_NOT_LOADED
    reason = _why_not_loaded() if missing else ""
    if (missing or unloaded) and not signs:
        unused = "the NVIDIA library is installed, but no NVIDIA device is here"
        lent = _on_the_bus(root, lent=True)
        if lent:
            return {"state": "none", "problem": f"{lent[0]} is an NVIDIA GPU lent to a virtual machine (vfio-pci)"}
        return {"state": "none", "problem": unused if unloaded or reason else ""}
    where = f"an NVIDIA GPU is here ({signs[0]}), but " if signs else ""
    hint = _cure(error.value, container)
    if reason:
        hint = f"the driver's library does not load ({reason}): install NVIDIA's driver again, for this architecture"
    elif (root / "sys/module/nouveau").is_dir():
        hint = "the nouveau driver holds the GPU: install NVIDIA's driver, blacklist nouveau, and reboot"
    return _broken(f"{where}NVML says: {str(error).rstrip('.')}", hint, driver=_kernel_module(root))


def _why_not_loaded() -> str:
    """Tell a library that is damaged or for another processor from none: the bindings call both "not found"."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError as error:
        return "" if "No such file" in str(error) else str(error)
    return ""


def _kernel_module(root: Path) -> str | None:
    loaded = root / "proc/driver/nvidia/version"
    found = re.search(r"\b(\d{3}\.\d+(?:\.\d+)?)\b", _read(loaded)) if loaded.exists() else None
    return found.group(1) if found else None


def _devices(nvml: Any, signs: list[str], root: Path, container: str | None) -> Facts:
    facts = {"driver": _driver(nvml) or _kernel_module(root), "cuda": _cuda(nvml)}
    try:
        count = nvml.nvmlDeviceGetCount()
    except nvml.NVMLError as error:
        return _broken(f"the driver does not list its GPUs: {error}", _cure(error.value, container), **facts)
    reader = Reader(nvml, partial(_process, root, container))
    gpus, problems = _read_all(reader, count, container)
    if sum(not gpu.get("mig") for gpu in gpus) > 1 and _waits_for_fabric(reader, count, root, container):
        where = " on the host" if container else ""
        hint = f"install nvidia-fabricmanager of exactly the driver's release{where} and start it (systemctl)"
        return _broken("the GPUs wait for their NVLink switches: CUDA would not start (error 802)", hint, **facts)
    if gpus and not container:
        problems = _with_addresses(problems, _silent(gpus, root))
    if problems:
        facts["problem"] = "; ".join(problem for problem, _ in problems)
        facts["hint"] = "; ".join(dict.fromkeys(hint for _, hint in problems))
    if gpus:
        # One broken GPU does not take the others away: an engine is given its GPUs by UUID.
        return {"state": "present", **facts, "gpus": gpus}
    if problems:
        return {"state": "broken", **facts}
    if not signs:
        return {"state": "none", **facts}
    hint = "the driver refused the device: dmesg | grep -i nvrm says why (often: unsupported by this release)"
    return _broken(f"the driver finds no GPU, although there is {signs[0]}", hint, **facts)


def _driver(nvml: Any) -> str | None:
    with contextlib.suppress(nvml.NVMLError):
        return str(nvml.nvmlSystemGetDriverVersion())
    return None


def _cuda(nvml: Any) -> str | None:
    with contextlib.suppress(nvml.NVMLError):
        number = nvml.nvmlSystemGetCudaDriverVersion_v2()
        return f"{number // 1000}.{number % 1000 // 10}"
    return None


def _read_all(reader: Reader, count: int, container: str | None) -> tuple[list[Facts], list[tuple[str, str]]]:
    gpus: list[Facts] = []
    problems: list[tuple[str, str]] = []
    whole: dict[int, Facts] = {}
    for number in range(count):
        try:
            found = reader.read(number)
        except UnusableError as error:
            problems.append((f"GPU {number} of nvidia-smi's list cannot be used: {error}", error.hint))
        except reader.nvml.NVMLError as error:
            problems.append(
                (f"GPU {number} of nvidia-smi's list does not answer: {error}", _cure(error.value, container))
            )
        else:
            gpus += [{"index": index, **each} for index, each in enumerate(found, len(gpus))]
            if not found[0].get("mig"):
                whole[number] = gpus[-1]
    for number, gpu in whole.items():
        others = (other for other in whole if other != number)
        gpu["nvlink"] = [whole[other]["index"] for other in others if reader.linked(number, other)]
    return gpus, problems


def _waits_for_fabric(reader: Reader, count: int, root: Path, container: str | None) -> bool:
    """Say whether GPUs on NVSwitch are not ready, although each of them answers, because of the fabric manager."""
    states = [reader.fabric(number) for number in range(count)]
    if any(states):
        nvml = reader.nvml
        return any(
            state in (nvml.NVML_GPU_FABRIC_STATE_NOT_STARTED, nvml.NVML_GPU_FABRIC_STATE_IN_PROGRESS)
            for state in states
        )
    # Before Hopper the driver knows no state: see whether the manager runs, where its process could be seen.
    if container or not _on_the_bus(root, _SWITCH) or not (root / "proc/1/comm").exists():
        return False
    return not any(_name(process) == "nv-fabricmanage" for process in (root / "proc").glob("[0-9]*"))


def _name(process: Path) -> str:
    try:
        return _read(process / "comm")  # the kernel keeps 15 characters
    except OSError:
        return ""


def _silent(gpus: list[Facts], root: Path) -> list[str]:
    """List the addresses on the bus that no GPU answers for; a container sees its host's bus, so not there."""
    if not all(gpu["bus"] for gpu in gpus):
        return []
    answering = {gpu["bus"].lower()[-12:] for gpu in gpus}
    return [address for address in _on_the_bus(root) if address.lower() not in answering]


def _with_addresses(problems: list[tuple[str, str]], silent: list[str]) -> list[tuple[str, str]]:
    """Say which board it is; one that died before the last boot is on the bus and not in the driver's list."""
    if len(problems) == len(silent) == 1:
        return [(f"{problem} (PCI {silent[0]})", hint) for problem, hint in problems]
    hint = "dmesg | grep -i nvrm says why: often the GPU is too old for this driver, or it is broken"
    return problems or [(f"the driver does not use the GPU at PCI {address}", hint) for address in silent]


def _process(root: Path, container: str | None, pid: int) -> str:
    folder = root / "proc" / str(pid)
    # In a container the driver may count as the host does, and the same number is another process here.
    if not folder.is_dir() or (container and not _has_gpu_open(folder)):
        return "a process that cannot be seen from here"
    return command_of(folder)


def _has_gpu_open(folder: Path) -> bool:
    try:
        return any(str(descriptor.readlink()).startswith("/dev/nvidia") for descriptor in (folder / "fd").iterdir())
    except OSError:
        return False
