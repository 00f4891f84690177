"""Read what NVML tells of each device. Part of the probe: standard library and the bindings only.

A GPU that does not tell what an engine cannot do without (its memory, its compute capability …) counts as not
usable; any other call may fail, as it does on old drivers and small cards, and leaves its fact out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from ctypes import byref
from typing import Any

Facts = dict[str, Any]
NOT_SUPPORTED = 3
GONE = (15, 16)
"""NVML's return codes (nvml.h, nvmlReturn_t) for a device that is lost or waits for a reset."""
MEMORY_SLICES = 8
"""MIG cuts memory and its bandwidth into eighths."""


class UnusableError(Exception):
    """A device answers, and no engine can use it."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.hint = hint


class Reader:
    """Reads devices through the bindings ``nvml``. ``name``: tells what process a number is."""

    def __init__(self, nvml: Any, name: Callable[[int], str]) -> None:
        self.nvml, self.name = nvml, name

    def read(self, number: int) -> list[Facts]:
        """Read the GPU of this number: itself, or its slices. Raises NVMLError or UnusableError."""
        nvml, device = self.nvml, self.nvml.nvmlDeviceGetHandleByIndex(number)
        whole = {
            "uuid": nvml.nvmlDeviceGetUUID(device),
            "name": nvml.nvmlDeviceGetName(device),
            "compute_capability": list(nvml.nvmlDeviceGetCudaComputeCapability(device)),
            "bus": self._bus(device),
            "ecc": self._ecc(device),
            "power_limit": self._power(device),
            "memory_bandwidth": self._bandwidth(device),
            **self._memory(device),
        }
        if whole["compute_capability"][0] < 1:
            raise UnusableError("it tells no compute capability", _ODD)
        slices = self._slices(device)
        if slices is None:
            return [{**whole, "processes": self._processes(device)}]
        if not slices:
            raise UnusableError(
                "it is in MIG mode and has no slice that may be used here",
                "make slices (nvidia-smi mig -cgi … -C), ask for the ones that are there, or switch MIG off (-mig 0)",
            )
        return [self._slice(whole, each) for each in slices]

    def linked(self, one: int, other: int) -> bool:
        """Say whether NVLink joins these two GPUs, directly or through a switch; vLLM asks the same question."""
        nvml = self.nvml
        try:
            pair = [nvml.nvmlDeviceGetHandleByIndex(number) for number in (one, other)]
            status = nvml.nvmlDeviceGetP2PStatus(*pair, nvml.NVML_P2P_CAPS_INDEX_NVLINK)
        except nvml.NVMLError:
            return False
        return bool(status == nvml.NVML_P2P_STATUS_OK)

    def fabric(self, number: int) -> int | None:
        """Give the state of this GPU's registration with the NVLink fabric; None where the driver does not know one."""
        nvml, info = self.nvml, self.nvml.c_nvmlGpuFabricInfo_t()
        try:
            nvml.nvmlDeviceGetGpuFabricInfo(nvml.nvmlDeviceGetHandleByIndex(number), byref(info))
        except nvml.NVMLError:
            return None
        return info.state or None  # 0: not supported

    def _maybe(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except self.nvml.NVMLError as error:
            if error.value in GONE:
                raise
            return None

    def _bus(self, device: Any) -> str | None:
        info = self._maybe(self.nvml.nvmlDeviceGetPciInfo, device)
        return (info.busId if isinstance(info.busId, str) else info.busId.decode()) if info else None

    def _ecc(self, device: Any) -> bool | None:
        modes = self._maybe(self.nvml.nvmlDeviceGetEccMode, device)
        return bool(modes[0]) if modes else None

    def _power(self, device: Any) -> int | None:
        milliwatts = self._maybe(self.nvml.nvmlDeviceGetPowerManagementLimit, device)
        return int(milliwatts / 1000 + 0.5) if milliwatts else None

    def _bandwidth(self, device: Any) -> int | None:
        """Multiply the bus width, the highest memory clock and 2 (both edges carry data): bytes per second.

        NVML tells the clock of HBM and of every GDDR in the unit for which this holds: within 3 % of what
        NVIDIA publishes for all cards of data/gpus.toml, from T4 (GDDR6) to B200 (HBM3e).
        """
        width = self._maybe(self.nvml.nvmlDeviceGetMemoryBusWidth, device)
        clock = self._maybe(self.nvml.nvmlDeviceGetMaxClockInfo, device, self.nvml.NVML_CLOCK_MEM)
        return width * clock * 1_000_000 * 2 // 8 if width and clock else None

    def _memory(self, device: Any) -> Facts:
        nvml = self.nvml
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(device, version=nvml.nvmlMemory_v2)
            reserved = memory.reserved
        except nvml.NVMLError:  # before release 510: what the driver keeps counts as used
            try:
                memory, reserved = nvml.nvmlDeviceGetMemoryInfo(device), 0
            except nvml.NVMLError as error:
                if error.value != NOT_SUPPORTED:
                    raise
                hint = "GPUs that share the system's memory are not supported"
                raise UnusableError("it tells no memory of its own", hint) from error
        if not memory.total or memory.used > memory.total:
            raise UnusableError(f"it tells {memory.used} bytes used of {memory.total}", _ODD)
        reserved = min(reserved, memory.total - memory.used)
        return {"memory_total": memory.total, "memory_reserved": reserved, "memory_used": memory.used}

    def _processes(self, device: Any) -> list[Facts]:
        found: dict[int, int | None] = {}
        for kind in ("Compute", "Graphics"):
            # The third version came with release 510.
            for version in ("_v3", "_v2"):
                listed = self._maybe(getattr(self.nvml, f"nvmlDeviceGet{kind}RunningProcesses{version}"), device)
                if listed is not None:
                    found.update({each.pid: each.usedGpuMemory for each in listed})
                    break
        return [{"pid": pid, "command": self.name(pid), "memory": found[pid]} for pid in sorted(found)]

    def _slices(self, device: Any) -> list[Any] | None:
        """List the MIG slices of a device in MIG mode, which cannot be used whole; None where it is not."""
        nvml = self.nvml
        mode = self._maybe(nvml.nvmlDeviceGetMigMode, device)
        if not mode or mode[0] != nvml.NVML_DEVICE_MIG_ENABLE:
            return None
        places = range(self._maybe(nvml.nvmlDeviceGetMaxMigDeviceCount, device) or 0)
        # A place without a slice answers "not found".
        handles = [self._maybe(nvml.nvmlDeviceGetMigDeviceHandleByIndex, device, place) for place in places]
        return [handle for handle in handles if handle]

    def _slice(self, whole: Facts, device: Any) -> Facts:
        memory = self._memory(device)
        eighths = min(MEMORY_SLICES, math.ceil(MEMORY_SLICES * memory["memory_total"] / whole["memory_total"]))
        bandwidth = whole["memory_bandwidth"]
        profile = self._profile(whole, device, eighths)
        return {
            **whole,
            **memory,
            "uuid": self.nvml.nvmlDeviceGetUUID(device),
            "name": f"{whole['name']} MIG {profile}",
            "mig": profile,
            "parent": whole["uuid"],
            "memory_bandwidth": bandwidth * eighths // MEMORY_SLICES if bandwidth else None,
            "processes": self._processes(device),
        }

    def _profile(self, whole: Facts, device: Any, eighths: int) -> str:
        """Read the slice's profile from its name; before it had one, work it out as NVIDIA's device plugin does."""
        told = re.search(r" MIG (\S+)$", self._maybe(self.nvml.nvmlDeviceGetName, device) or "")
        if told:
            return told.group(1)
        attributes = self._maybe(self.nvml.nvmlDeviceGetAttributes, device)
        processors = attributes.gpuInstanceSliceCount if attributes else "?"
        return f"{processors}g.{math.ceil(whole['memory_total'] / 2**30) * eighths // MEMORY_SLICES}gb"


_ODD = "the driver contradicts itself: reset the GPU (nvidia-smi --gpu-reset) or reboot, and look at dmesg"
