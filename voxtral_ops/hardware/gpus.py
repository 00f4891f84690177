"""What the NVIDIA driver says: no GPU, a broken one and its cure, or the devices. Standard library and pynvml.

Part of the probe: it travels with it to hosts that nobody has touched, so it imports nothing of this package.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

Facts = dict[str, Any]


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip()


def traces(root: Path) -> list[str]:
    """List what says that there is an NVIDIA GPU even where its library says nothing."""
    found = []
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        try:
            vendor, kind = _read(device / "vendor"), _read(device / "class")
        except OSError:
            continue
        if vendor == "0x10de" and kind.startswith("0x03"):  # a display or 3D controller, not its sound device
            found.append(f"PCI device {device.name}")
    if (root / "proc/driver/nvidia/version").exists():
        found.append("kernel module nvidia")
    found += [f"/dev/{node.name}" for node in sorted((root / "dev").glob("nvidia[0-9]*"))]
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
        return _devices(pynvml, signs)
    finally:
        pynvml.nvmlShutdown()


def _broken(problem: str, hint: str, **facts: Any) -> Facts:
    return {"state": "broken", "problem": problem, "hint": hint, **facts}


def _no_start(nvml: Any, error: Any, signs: list[str], root: Path, container: str | None) -> Facts:
    code = error.value
    if code in (nvml.NVML_ERROR_LIBRARY_NOT_FOUND, nvml.NVML_ERROR_DRIVER_NOT_LOADED) and not signs:
        unused = "the NVIDIA library is installed, but no NVIDIA device is here"
        return {"state": "none", "problem": unused if code == nvml.NVML_ERROR_DRIVER_NOT_LOADED else ""}
    where = f"an NVIDIA GPU is here ({signs[0]}), but " if signs else ""
    hint = _CURES.get(code, "look at nvidia-smi and the kernel's log (dmesg | grep -i nvrm); then reboot")
    if container and code == nvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        hint = "start this container with GPUs (podman: --device nvidia.com/gpu=all; docker: --gpus all)"
    if (root / "sys/module/nouveau").is_dir():
        hint = "the nouveau driver holds the GPU: install NVIDIA's driver, blacklist nouveau, and reboot"
    loaded = root / "proc/driver/nvidia/version"
    kernel = re.search(r"\b(\d{3}\.\d+(?:\.\d+)?)\b", _read(loaded)) if loaded.exists() else None
    return _broken(f"{where}NVML says: {error}", hint, driver=kernel.group(1) if kernel else None)


_CURES = {
    # The numbers are NVML's return codes (nvml.h, nvmlReturn_t).
    4: "this user may not use the driver: add it to the group that owns /dev/nvidia* (often video or render)",
    9: "the kernel module is not loaded: modprobe nvidia; if that fails, install the driver for this kernel",
    12: "the driver's library libnvidia-ml.so.1 is missing: install NVIDIA's driver, release 580 or newer",
    15: "the GPU fell off the bus: reboot; when it happens again, check power, cooling and the slot",
    18: "the driver was updated while the old kernel module is still loaded: reboot (or reload the module)",
}


def _devices(nvml: Any, signs: list[str]) -> Facts:
    driver, cuda, count = None, None, 0
    gpus: list[Facts] = []
    try:
        driver = nvml.nvmlSystemGetDriverVersion()
        number = nvml.nvmlSystemGetCudaDriverVersion_v2()
        cuda = f"{number // 1000}.{number % 1000 // 10}"
        count = nvml.nvmlDeviceGetCount()
        for index in range(count):
            gpus += _gpu(nvml, index, len(gpus))
    except nvml.NVMLError as error:
        hint = _CURES.get(error.value, "run nvidia-smi to see which GPU fails; then reboot")
        return _broken(f"GPU {len(gpus)} does not answer: {error}", hint, driver=driver, cuda=cuda, gpus=gpus)
    if gpus:
        return {"state": "present", "driver": driver, "cuda": cuda, "gpus": gpus}
    if count:
        hint = "make slices (nvidia-smi mig -cgi … -C) or switch MIG off (nvidia-smi -mig 0)"
        return _broken("every GPU is in MIG mode, and none has a slice", hint, driver=driver, cuda=cuda)
    if not signs:
        return {"state": "none", "driver": driver, "cuda": cuda}
    hint = "the driver refused the device: dmesg | grep -i nvrm says why (often: unsupported by this release)"
    return _broken(f"the driver finds no GPU, although there is {signs[0]}", hint, driver=driver, cuda=cuda)


def _gpu(nvml: Any, index: int, first: int) -> list[Facts]:
    device = nvml.nvmlDeviceGetHandleByIndex(index)
    capability = list(nvml.nvmlDeviceGetCudaComputeCapability(device))
    name = nvml.nvmlDeviceGetName(device)
    slices = _slices(nvml, device)
    handles = [device] if slices is None else slices
    found = []
    for number, handle in enumerate(handles):
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        label = f"{name} MIG slice {number}" if handle is not device else name
        found.append(
            {
                "index": first + number,
                "uuid": nvml.nvmlDeviceGetUUID(handle),
                "name": label,
                "memory_total": memory.total,
                "memory_used": memory.used,
                "compute_capability": capability,
            }
        )
    return found


def _slices(nvml: Any, device: Any) -> list[Any] | None:
    """List the MIG slices of a device in MIG mode, which cannot be used whole; None where it is not."""
    try:
        if nvml.nvmlDeviceGetMigMode(device)[0] != nvml.NVML_DEVICE_MIG_ENABLE:
            return None
        count = nvml.nvmlDeviceGetMaxMigDeviceCount(device)
    except nvml.NVMLError:
        return None
    handles = []
    for number in range(count):
        try:
            handles.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(device, number))
        except nvml.NVMLError:  # a place without a slice answers "not found"
            continue
    return handles
