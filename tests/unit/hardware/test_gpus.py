"""Three answers about GPUs, through NVIDIA's real bindings and a fake driver library made of C."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from voxtral_ops.hardware.bundle import build_probe
from voxtral_ops.hardware.profile import Accelerators

SOURCE = Path(__file__).parents[2] / "fakes" / "nvml" / "nvml.c"
ASK = """
import json, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from gpus import accelerators
print(json.dumps(accelerators(Path(sys.argv[2]), sys.argv[3] or None)))
"""
H100 = "gpu NVIDIA H100 80GB HBM3|GPU-1|85520809984|0|9|0|0"
T4 = "gpu Tesla T4|GPU-2|16106127360|0|7|5|-1"
Ask = Callable[..., Accelerators]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc")
    folder = tmp_path_factory.mktemp("nvml")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", folder / "libnvidia-ml.so.1", SOURCE], check=True)
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_probe(tmp_path_factory.mktemp("probe") / "probe.pyz")


@pytest.fixture
def ask(library: Path, bundle: Path, tmp_path: Path) -> Ask:
    def run(
        *lines: str, pci: bool = True, module: bool = True, driver: bool = True, container: str = ""
    ) -> Accelerators:
        root, story = tmp_path / "root", tmp_path / "story"
        if pci:
            device = root / "sys/bus/pci/devices/0000:01:00.0"
            device.mkdir(parents=True)
            (device / "vendor").write_text("0x10de\n")
            (device / "class").write_text("0x030200\n")
        if module:
            (root / "proc/driver/nvidia").mkdir(parents=True)
            (root / "proc/driver/nvidia/version").write_text("NVRM version: NVIDIA UNIX Module  580.65.06  Tue\n")
        story.write_text("\n".join(lines))
        environment = {**os.environ, "FAKE_NVML": str(story) if lines else "/nonexistent"}
        environment["LD_LIBRARY_PATH"] = str(library) if driver else ""
        command = [sys.executable, "-c", ASK, str(bundle), str(root), container]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        raw: dict[str, Any] = json.loads(ran.stdout)
        return Accelerators.model_validate(raw)

    return run


def test_devices(ask: Ask) -> None:
    found = ask("driver 580.95.05", "cuda 13000", H100, T4)
    assert found.state == "present"
    assert (found.driver, found.cuda) == ("580.95.05", "13.0")
    assert [(gpu.index, gpu.name, gpu.memory_total) for gpu in found.gpus] == [
        (0, "NVIDIA H100 80GB HBM3", 85520809984),
        (1, "Tesla T4", 16106127360),
    ]
    assert [gpu.compute_capability for gpu in found.gpus] == [(9, 0), (7, 5)]


def test_memory_in_use_is_reported(ask: Ask) -> None:
    assert ask("gpu A|GPU-1|1000|600|8|0|-1").gpus[0].memory_used == 600


def test_slices_stand_for_a_device_that_is_cut(ask: Ask) -> None:
    cut = H100[:-1] + "1"
    found = ask(cut, "slice 0|MIG-a|42000000000|0", "slice 0|MIG-b|21000000000|5")
    assert [(gpu.uuid, gpu.memory_total) for gpu in found.gpus] == [("MIG-a", 42000000000), ("MIG-b", 21000000000)]


def test_mig_mode_without_slices_cannot_be_used(ask: Ask) -> None:
    found = ask(H100[:-1] + "1")
    assert found.state == "broken"
    assert "MIG" in found.problem
    assert "nvidia-smi" in found.hint


def test_no_library_and_no_device_is_simply_none(ask: Ask) -> None:
    assert ask(pci=False, module=False, driver=False) == Accelerators(state="none")


def test_library_without_any_device_is_none(ask: Ask) -> None:
    found = ask(pci=False, module=False)
    assert found.state == "none"
    assert "no NVIDIA device" in found.problem


@pytest.mark.parametrize(
    ("story", "cure"),
    [
        (["fail nvmlInitWithFlags 18"], "reboot"),
        (["fail nvmlInitWithFlags 9"], "modprobe"),
        (["fail nvmlInitWithFlags 4"], "group"),
        (["fail nvmlInitWithFlags 999"], "nvrm"),
        ([H100, T4, "fail nvmlDeviceGetHandleByIndex_v2 15 1"], "fell off the bus"),
        ([H100, "fail nvmlDeviceGetMemoryInfo 15"], "fell off the bus"),
        (["driver 580.1"], "refused"),
    ],
)
def test_broken_names_its_cure(ask: Ask, story: list[str], cure: str) -> None:
    found = ask(*story)
    assert found.state == "broken"
    assert found.problem
    assert cure in found.hint


def test_the_devices_that_answer_are_still_listed(ask: Ask) -> None:
    found = ask(H100, T4, "fail nvmlDeviceGetHandleByIndex_v2 15 1")
    assert [gpu.uuid for gpu in found.gpus] == ["GPU-1"]


def test_the_driver_is_read_from_the_kernel_when_the_library_disagrees(ask: Ask) -> None:
    assert ask("fail nvmlInitWithFlags 18").driver == "580.65.06"


def test_missing_library_with_a_device(ask: Ask) -> None:
    found = ask(driver=False)
    assert found.state == "broken"
    assert "libnvidia-ml.so.1" in found.hint


def test_missing_library_in_a_container(ask: Ask) -> None:
    assert "--gpus all" in ask(driver=False, container="docker").hint


def test_missing_bindings(tmp_path: Path) -> None:
    source = Path(__file__).parents[3] / "voxtral_ops" / "hardware"
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidia0").touch()
    # -S: without site-packages, where the bindings are.
    ask = [sys.executable, "-S", "-c", ASK, str(source), str(tmp_path), ""]
    found = Accelerators.model_validate_json(subprocess.run(ask, capture_output=True, check=True).stdout)
    assert found.state == "broken"
    assert "nvidia-ml-py" in found.hint


def test_the_bundle_is_the_same_bytes_every_time(bundle: Path, tmp_path: Path) -> None:
    assert build_probe(tmp_path / "again").read_bytes() == bundle.read_bytes()
