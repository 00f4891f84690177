"""What the probe makes of a driver that answers oddly, or not at all: NVIDIA's real bindings on a fake library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.nvml import hosts
from voxtral_ops.hardware import devices
from voxtral_ops.hardware.bundle import build_probe
from voxtral_ops.hardware.profile import Accelerators

H100 = (hosts.HOSTS / "h100-80g-x2.nvml").read_text()
MIG = (hosts.HOSTS / "a100-80g-mig.nvml").read_text()
ESSENTIAL = (
    *("nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID", "nvmlDeviceGetName", "nvmlDeviceGetCudaComputeCapability"),
    "nvmlDeviceGetMemoryInfo",  # where the second version fails as well
)
OPTIONAL = (
    *("nvmlDeviceGetPciInfo_v3", "nvmlDeviceGetEccMode", "nvmlDeviceGetMemoryBusWidth", "nvmlDeviceGetMaxClockInfo"),
    *("nvmlDeviceGetPowerManagementLimit", "nvmlDeviceGetMigMode", "nvmlDeviceGetMaxMigDeviceCount"),
    *("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2"),
    *("nvmlDeviceGetGraphicsRunningProcesses_v3", "nvmlDeviceGetMigDeviceHandleByIndex"),
)
HARMLESS = (
    *("nvmlSystemGetDriverVersion", "nvmlSystemGetCudaDriverVersion_v2", "nvmlDeviceGetP2PStatus", "nvmlShutdown"),
    *("nvmlDeviceGetAttributes_v2", "nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetGpuFabricInfo"),
)
WHOLE = ("nvmlInitWithFlags", "nvmlDeviceGetCount_v2")
CODES = (*range(1, 31), 999)
Ask = Callable[..., Accelerators]


@pytest.fixture
def ask(drivers: hosts.Drivers, tmp_path: Path) -> Ask:
    number = count()

    def run(*description: str, library: str = "good", container: str | None = None) -> Accelerators:
        root = hosts.make_root("\n".join(description), tmp_path / str(next(number)))
        return Accelerators.model_validate(drivers[library].ask(root, container))

    return run


def honest(found: Accelerators, description: str) -> None:
    """Whatever the driver answered, nothing is made up of it."""
    sound = {(81559 << 20, (9, 0), None), (40192 << 20, (8, 0), "3g.40gb")}
    sound |= {(19968 << 20, (8, 0), "2g.20gb"), (9728 << 20, (8, 0), "1g.10gb"), (81920 << 20, (8, 0), None)}
    assert found.state in {"present", "broken"}, description
    assert bool(found.gpus) == (found.state == "present")
    assert bool(found.problem) == bool(found.hint)
    assert found.problem or found.state == "present"
    assert [gpu.index for gpu in found.gpus] == list(range(len(found.gpus)))
    assert len({gpu.uuid for gpu in found.gpus}) == len(found.gpus)
    for gpu in found.gpus:
        assert (gpu.memory_total, gpu.compute_capability, gpu.mig) in sound, description
        assert 0 <= gpu.memory_used + gpu.memory_reserved < gpu.memory_total
        assert set(gpu.nvlink) < set(range(len(found.gpus)))


@pytest.mark.parametrize("function", [*WHOLE, *ESSENTIAL, *OPTIONAL, *HARMLESS])
def test_any_error_of_any_call_keeps_what_is_known(function: str, ask: Ask) -> None:
    old = "fail nvmlDeviceGetMemoryInfo_v2 13\n" if function == "nvmlDeviceGetMemoryInfo" else ""
    for code in CODES:
        everywhere = ask(H100, old + f"fail {function} {code}")
        second = ask(H100, old + f"fail {function} {code} 1")
        honest(everywhere, f"{function} {code}")
        honest(second, f"{function} {code} 1")
        gone = code in devices.GONE and function in OPTIONAL
        if function in (*WHOLE, *ESSENTIAL):
            assert everywhere.state == "broken"
        if function in ESSENTIAL:
            assert (second.state, len(second.gpus)) == ("present", 1)
            assert "GPU 1" in second.problem
        if function in HARMLESS or (function in OPTIONAL and not gone):
            assert (everywhere.state, len(everywhere.gpus), everywhere.problem) == ("present", 2, "")
            assert everywhere.driver == "580.95.05"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([H100, MIG]),
    st.lists(
        st.tuples(
            st.sampled_from([*WHOLE, *ESSENTIAL, *OPTIONAL, *HARMLESS]),
            st.sampled_from(CODES),
            st.sampled_from(["", "0", "1"]),
        ),
        max_size=8,
    ),
)
def test_any_errors_together_keep_what_is_known(
    ask: Ask, description: str, failures: list[tuple[str, int, str]]
) -> None:
    failing = "\n".join(f"fail {function} {code} {gpu}" for function, code, gpu in failures)
    honest(ask(description, failing), failing)


@pytest.mark.parametrize("memory", ["0 0 0", "100 0 200"])
def test_a_driver_that_contradicts_itself_is_not_believed(ask: Ask, memory: str) -> None:
    found = ask(f"gpu 1 Odd\nmemory {memory}\ncapability 9.0")
    assert found.state == "broken"
    assert "cannot be used" in found.problem


def test_no_compute_capability_is_no_use(ask: Ask) -> None:
    assert ask("gpu 1 Odd\nmemory 100 0 0\ncapability 0.0").state == "broken"


def test_old_drivers_count_what_they_keep_as_used(ask: Ask) -> None:
    (gpu,) = ask("gpu 1 T4\nmemory 15360 393 7\ncapability 7.5\nfail nvmlDeviceGetMemoryInfo_v2 13").gpus
    assert (gpu.memory_used, gpu.memory_reserved) == (400 << 20, 0)


def test_old_drivers_tell_processes_in_their_own_way(ask: Ask) -> None:
    found = ask((hosts.HOSTS / "driver-470.nvml").read_text(), "process 0 11 100")
    assert [process.memory for process in found.gpus[0].processes] == [100 << 20]


@pytest.mark.parametrize("code", devices.GONE)
def test_a_gpu_that_is_lost_while_it_is_asked_is_not_offered(ask: Ask, code: int) -> None:
    found = ask(H100, f"fail nvmlDeviceGetEccMode {code} 0")
    assert (found.state, [gpu.bus for gpu in found.gpus]) == ("present", ["00000000:02:00.0"])
    assert "0000:01:00.0" in found.problem


def test_a_slice_whose_name_is_not_told(ask: Ask) -> None:
    gpus = ask(MIG, "fail nvmlDeviceGetName 3 100", "fail nvmlDeviceGetName 3 102").gpus
    assert [gpu.mig for gpu in gpus] == ["3g.40gb", "2g.20gb", "1g.10gb"]
    assert gpus[0].name == "NVIDIA A100-SXM4-80GB MIG 3g.40gb"


def test_a_slice_has_its_own_processes(ask: Ask) -> None:
    gpus = ask(MIG, "process 0 11 100", "process 101 12 200").gpus
    assert [[process.pid for process in gpu.processes] for gpu in gpus] == [[], [12], []]


def test_mig_beside_whole_gpus(ask: Ask) -> None:
    found = ask(MIG, H100)
    assert [gpu.mig for gpu in found.gpus] == ["3g.40gb", "2g.20gb", "1g.10gb", None, None]
    assert [gpu.nvlink for gpu in found.gpus] == [(), (), (), (4,), (3,)]


def test_a_gpu_in_mig_mode_without_slices_is_told_beside_the_others(ask: Ask) -> None:
    found = ask(H100, MIG.replace("slice", "# slice"))
    assert (found.state, len(found.gpus)) == ("present", 2)
    assert "MIG mode" in found.problem


def test_library_without_any_device_is_none(ask: Ask) -> None:
    found = ask("traces none", "fail nvmlInitWithFlags 9")
    assert found.state == "none"
    assert "no NVIDIA device" in found.problem


def test_a_driver_that_lists_nothing_although_a_gpu_is_on_the_bus(ask: Ask) -> None:
    found = ask("traces pci module")
    assert found.state == "broken"
    assert "refused" in found.hint


@pytest.mark.parametrize(
    ("code", "cure"), [(4, "device rules"), (18, "restart it"), (999, "restart it"), (15, "reboot")]
)
def test_containers_have_cures_of_their_own(ask: Ask, code: int, cure: str) -> None:
    found = ask(H100, f"fail nvmlInitWithFlags {code}", container="docker")
    assert cure in found.hint


def test_a_container_is_not_told_of_its_hosts_other_gpus(ask: Ask) -> None:
    description = (hosts.HOSTS / "one-not-listed.nvml").read_text()
    assert ask(description).problem
    assert not ask(description, container="docker").problem


def test_a_container_does_not_name_a_stranger_with_the_same_number(
    ask: Ask, drivers: hosts.Drivers, tmp_path: Path
) -> None:
    busy = (hosts.HOSTS / "busy.nvml").read_text()
    assert "seen from here" in ask(busy, container="docker").gpus[0].processes[0].command
    root = hosts.make_root(busy, tmp_path / "own")
    (root / "proc/48211/fd").mkdir()
    (root / "proc/48211/fd/3").symlink_to("/dev/nvidia0")
    found = Accelerators.model_validate(drivers["good"].ask(root, "docker"))
    assert "train.py" in found.gpus[0].processes[0].command


def test_one_gpu_alone_needs_no_fabric(ask: Ask) -> None:
    assert ask("gpu 1 H100\nmemory 81559 516 1\ncapability 9.0\nfabric 2").state == "present"


def test_hidden_processes_are_no_sign_of_a_missing_fabric_manager(ask: Ask) -> None:
    description = (hosts.HOSTS / "a100-no-fabric-manager.nvml").read_text()
    assert ask(description).state == "broken"
    assert ask(description.replace(" init", "")).state == "present"
    assert ask(description, container="docker").state == "present"


def test_a_container_is_sent_to_its_host_for_the_fabric_manager(ask: Ask) -> None:
    found = ask((hosts.HOSTS / "no-fabric-manager.nvml").read_text(), container="docker")
    assert found.state == "broken"
    assert "on the host" in found.hint


def test_a_process_that_ended_meanwhile(ask: Ask) -> None:
    found = ask(H100, "process 0 99 -1")
    (process,) = found.gpus[0].processes
    assert process.memory is None


def test_missing_bindings(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidia0").touch()
    code = "import sys, json, pathlib; sys.path.insert(0, sys.argv[1]); import gpus; "
    code += "print(json.dumps(gpus.accelerators(pathlib.Path(sys.argv[2]), None)))"
    # -S: without site-packages, where the bindings are.
    ask = [sys.executable, "-S", "-c", code, str(Path(devices.__file__).parent), str(tmp_path)]
    found = Accelerators.model_validate_json(subprocess.run(ask, capture_output=True, check=True).stdout)
    assert found.state == "broken"
    assert "nvidia-ml-py" in found.hint


def test_the_travelling_probe_sees_them_too(drivers: hosts.Drivers, tmp_path: Path) -> None:
    bundle = build_probe(tmp_path / "probe.pyz")
    library = str(drivers.folder / "good")
    environment = {
        **os.environ,
        "FAKE_NVML": str(hosts.HOSTS / "h100-80g-x8.nvml"),
        "LD_LIBRARY_PATH": library,
        "PATH": "/bin",
    }
    ran = subprocess.run([sys.executable, "-I", bundle], env=environment, capture_output=True, check=True, cwd="/")
    assert len(Accelerators.model_validate(json.loads(ran.stdout)["accelerators"]).gpus) == 8


def test_the_bundle_is_the_same_bytes_every_time(tmp_path: Path) -> None:
    assert build_probe(tmp_path / "again").read_bytes() == build_probe(tmp_path / "other").read_bytes()
