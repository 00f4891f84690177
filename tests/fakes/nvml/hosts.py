"""The hosts of tests/data/hosts, seen by the probe through NVIDIA's bindings and the fake library.

``python -m tests.fakes.nvml.hosts`` writes what is seen of each (``<name>.json``) anew; read the difference.

A description (``<name>.nvml``) is what nvml.c reads, and lines for this module:

    machine server                 which of machines.toml surrounds the GPUs
    traces pci module              what the kernel shows: pci once for each GPU; vfio, nouveau: who has them;
                                   switch: an NVSwitch; init: pid 1; manager: the fabric manager runs
    library none                   no driver library; `damaged`: a file that is none
    kernel 575.57.08               the release of the loaded module, where it is not the library's
    process 0 4711 300 COMMAND     the process is in /proc, too
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from voxtral_ops.hardware.bundle import build_probe
from voxtral_ops.hardware.profile import Accelerators, Profile

HOSTS = Path(__file__).parents[2] / "data" / "hosts"
LOOP = """
import json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from gpus import accelerators
for line in sys.stdin:
    root, container = json.loads(line)
    os.environ["FAKE_NVML"] = root + "/story"
    print(json.dumps(accelerators(Path(root), container)), flush=True)
"""


def build_library(folder: Path) -> Path:
    """Compile the fake driver library."""
    source = Path(__file__).parent / "nvml.c"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *flags, "-o", folder / "libnvidia-ml.so.1", source], check=True)
    return folder


class Driver:
    """The probe's own files in a Python of their own, for which the fake library is the driver's."""

    def __init__(self, bundle: Path, library: Path | None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", LOOP, str(bundle)],
            env={**os.environ, "LD_LIBRARY_PATH": str(library or "")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, root: Path, container: str | None = None) -> dict[str, Any]:
        """Give the probe's answer, as it is before the profile is made of it."""
        told, answers = self._pipes()
        told.write(json.dumps([str(root), container]) + "\n")
        told.flush()
        found: dict[str, Any] = json.loads(answers.readline())
        return found

    def stop(self) -> None:
        for pipe in self._pipes():
            pipe.close()
        self._process.wait()

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin
        assert self._process.stdout
        return self._process.stdin, self._process.stdout


class Drivers:
    """One for each state that the driver's library can be in on a host."""

    def __init__(self, folder: Path) -> None:
        for name in ("good", "none", "damaged"):
            (folder / name).mkdir()
        build_library(folder / "good")
        (folder / "damaged" / "libnvidia-ml.so.1").write_text("not a library\n")
        self._bundle = build_probe(folder / "probe.pyz")
        self.folder, self._running = folder, dict[str, Driver]()

    def __getitem__(self, library: str) -> Driver:
        if library not in self._running:
            self._running[library] = Driver(self._bundle, self.folder / library)
        return self._running[library]

    def stop(self) -> None:
        for driver in self._running.values():
            driver.stop()


@contextmanager
def drivers() -> Iterator[Drivers]:
    with tempfile.TemporaryDirectory() as folder:
        made = Drivers(Path(folder))
        try:
            yield made
        finally:
            made.stop()


def words(description: str, key: str) -> list[list[str]]:
    """List what stands after this word, line by line."""
    return [line.split()[1:] for line in description.splitlines() if line.split()[:1] == [key]]


def make_root(description: str, root: Path) -> Path:
    """Lay out what the kernel of the described host shows."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "story").write_text(description)
    traces = [trace for line in words(description, "traces") for trace in line]
    if not words(description, "traces"):
        traces = ["module", *["pci"] * sum(int(line[0]) for line in words(description, "gpu"))]
    buses = [f"0000:{number + 1:02x}:00.0" for number in range(traces.count("pci"))]
    classes = {**dict.fromkeys(buses, "0x030200"), **({"0000:c0:00.0": "0x068000"} if "switch" in traces else {})}
    for bus, kind in classes.items():
        device = root / "sys/bus/pci/devices" / bus
        device.mkdir(parents=True)
        (device / "vendor").write_text("0x10de\n")
        (device / "class").write_text(f"{kind}\n")
        if "vfio" in traces:
            (root / "sys/bus/pci/drivers/vfio-pci").mkdir(parents=True, exist_ok=True)
            (device / "driver").symlink_to(root / "sys/bus/pci/drivers/vfio-pci")
    if "nouveau" in traces:
        (root / "sys/module/nouveau").mkdir(parents=True)
    if "module" in traces:
        release = (words(description, "kernel") or words(description, "driver") or [["580.95.05"]])[0][0]
        (root / "proc/driver/nvidia").mkdir(parents=True)
        (root / "proc/driver/nvidia/version").write_text(f"NVRM version: NVIDIA UNIX x86_64 Module  {release}  Tue\n")
    for trace, (pid, name) in {"init": ("1", "systemd"), "manager": ("2100", "nv-fabricmanage")}.items():
        if trace in traces:
            (root / "proc" / pid).mkdir(parents=True)
            (root / "proc" / pid / "comm").write_text(f"{name}\n")
    for _, pid, _, *command in words(description, "process"):
        (root / "proc" / pid).mkdir(parents=True)
        (root / "proc" / pid / "cmdline").write_text("\0".join(command) + "\0")
    return root


def names() -> list[str]:
    return sorted(path.stem for path in HOSTS.glob("*.nvml"))


def look(name: str, drivers: Drivers, root: Path) -> Profile:
    """Detect this host."""
    description = (HOSTS / f"{name}.nvml").read_text()
    machines = tomllib.loads((HOSTS / "machines.toml").read_text())
    around = {**machines["common"], **machines[words(description, "machine")[0][0]]}
    library = (words(description, "library") or [["good"]])[0][0]
    found = drivers[library].ask(make_root(description, root), around["system"].get("container"))
    found = json.loads(json.dumps(found).replace(str(drivers.folder / library), "/usr/lib/x86_64-linux-gnu"))
    return Profile.model_validate({"hostname": name, **around, "accelerators": Accelerators.model_validate(found)})


def rendered(profile: Profile) -> str:
    """Write a profile for reading and for ``git diff``: what is as it is anywhere is left out."""
    return json.dumps(profile.model_dump(mode="json", exclude_defaults=True), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    with drivers() as made, tempfile.TemporaryDirectory() as folder:
        for name in names():
            (HOSTS / f"{name}.json").write_text(rendered(look(name, made, Path(folder) / name)))


if __name__ == "__main__":
    main()
