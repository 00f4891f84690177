"""Every host of tests/data/hosts, detected through NVIDIA's real bindings, against its reviewed profile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.nvml import hosts
from voxtral_ops.cli.hardware import describe
from voxtral_ops.hardware.known import known_gpus
from voxtral_ops.hardware.profile import Gpu, Profile

NAMES = hosts.names()
BROKEN = {
    "a100-no-fabric-manager": "nvidia-fabricmanager",
    "container-lost-devices": "restart it",
    "gpu-lost": "fell off the bus",
    "library-damaged": "does not load",
    "mig-without-slices": "nvidia-smi mig -cgi",
    "mismatch": "reboot",
    "no-fabric-manager": "nvidia-fabricmanager",
    "no-permission": "group",
    "not-loaded": "modprobe nvidia",
    "nouveau": "blacklist nouveau",
    "toolkit-missing": "--gpus all",
    "unified-memory": "not supported",
}
NONE = {"none", "lent-to-a-vm"}


def golden(name: str) -> Profile:
    return Profile.model_validate_json((hosts.HOSTS / f"{name}.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_detected_as_reviewed(name: str, drivers: hosts.Drivers, tmp_path: Path) -> None:
    found = hosts.look(name, drivers, tmp_path)
    told = "python -m tests.fakes.nvml.hosts writes it anew; read the difference"
    assert hosts.rendered(found) == (hosts.HOSTS / f"{name}.json").read_text(), told
    assert golden(name) == found


@pytest.mark.parametrize("name", NAMES)
def test_the_answer_is_the_right_one_of_three(name: str) -> None:
    found = golden(name).accelerators
    assert found.state == ("broken" if name in BROKEN else "none" if name in NONE else "present")
    assert BROKEN.get(name, "") in found.hint
    assert bool(found.problem) == (name in {*BROKEN, "lent-to-a-vm", "one-lost-of-eight", "one-not-listed"})


@pytest.mark.parametrize("name", NAMES)
def test_a_person_reads_every_gpu_and_every_problem(name: str) -> None:
    found, text = golden(name).accelerators, describe(golden(name))
    assert all(gpu.name in text and (gpu.bus or "") in text for gpu in found.gpus)
    assert found.problem in text
    assert found.hint in text


def test_one_lost_gpu_leaves_the_seven_others() -> None:
    found = golden("one-lost-of-eight").accelerators
    assert [gpu.bus for gpu in found.gpus] == [f"00000000:{bus:02X}:00.0" for bus in (1, 2, 3, 5, 6, 7, 8)]
    assert "0000:04:00.0" in found.problem
    assert found.gpus[6].nvlink == (0, 1, 2, 3, 4, 5)


def test_who_holds_memory_and_nothing_secret() -> None:
    (process,) = golden("busy").accelerators.gpus[0].processes
    assert (process.pid, process.command) == (48211, "/opt/other/bin/python3 /opt/other/train.py")
    assert process.memory == 40504 << 20
    assert "not-for-profiles" in (hosts.HOSTS / "busy.nvml").read_text()
    assert "not-for-profiles" not in (hosts.HOSTS / "busy.json").read_text()


def test_slices_have_their_profile_parent_and_share() -> None:
    gpus = golden("a100-80g-mig").accelerators.gpus
    whole = golden("a100-80g").accelerators.gpus[0]
    assert [gpu.mig for gpu in gpus] == ["3g.40gb", "2g.20gb", "1g.10gb"]
    assert {gpu.parent for gpu in gpus} == {whole.uuid}
    assert len({gpu.uuid for gpu in gpus}) == 3
    assert whole.memory_bandwidth
    assert [(gpu.memory_bandwidth or 0) / whole.memory_bandwidth for gpu in gpus] == [0.5, 0.25, 0.125]


@pytest.mark.parametrize("gpu", [gpu for name in NAMES for gpu in golden(name).accelerators.gpus], ids=lambda g: g.name)
def test_computed_bandwidth_is_the_published_one(gpu: Gpu) -> None:
    published = {each.name: each for each in known_gpus().values()}[gpu.name]
    assert gpu.memory_total == published.memory
    assert gpu.memory_reserved in {0, published.reserved}
    assert gpu.compute_capability == published.capability
    if gpu.memory_bandwidth is not None:  # release 470 does not tell
        assert gpu.memory_bandwidth == pytest.approx(published.bandwidth, rel=0.03)
