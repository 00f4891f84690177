"""The probe's facts, from made-up kernel files and from this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from voxtral_ops.hardware import look, probe
from voxtral_ops.hardware.holders import command_of, listeners
from voxtral_ops.hardware.profile import Accelerators, Profile

MEMINFO = "MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:   12000000 kB\n"


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def group(root: Path, line: str, **files: str) -> Path:
    write(root, proc__self__cgroup=line, proc__meminfo=MEMINFO)
    for name, text in files.items():
        folder, _, file = name.rpartition("__")
        path = root / "sys/fs/cgroup" / folder.replace("__", "/") / file.replace("_", ".", 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_this_machine_fits_the_profile(tmp_path: Path) -> None:
    profile = look([tmp_path / "not" / "yet"])
    assert profile.cpu.logical >= 1
    assert 0 < profile.memory_available <= profile.memory_total
    assert profile.disk_free[str(tmp_path / "not" / "yet")] > 0
    assert any(each.version.startswith("3.") for each in profile.interpreters)
    assert profile.user


def test_memory_limit_of_cgroup_v2_and_its_parent(tmp_path: Path) -> None:
    root = group(
        tmp_path,
        "0::/a/b\n",
        a__memory_max="4000000000",
        a__memory_current="3000000000",
        a__memory_stat="inactive_file 1000000000\n",
        a__b__memory_max="max",
    )
    assert probe.memory_limits(root) == (4_000_000_000, 2_000_000_000)


def test_memory_limit_of_cgroup_v1(tmp_path: Path) -> None:
    root = group(tmp_path, "4:memory:/x\n0::/\n", memory__x__memory_limit_in_bytes="9223372036854771712")
    write(root, **{"sys__fs__cgroup__memory__memory.limit_in_bytes": "1000000000"})
    assert probe.memory_limits(root)[0] == 1_000_000_000


def test_no_limit_is_the_machine_itself(tmp_path: Path) -> None:
    root = group(tmp_path, "0::/\n", memory_max="max")
    assert probe.memory_limits(root) == (16_384_000_000, 12_288_000_000)


def test_a_group_that_is_not_visible_falls_back_to_the_mount(tmp_path: Path) -> None:
    root = group(tmp_path, "0::/host/only\n", memory_max="2000000000")
    assert probe.memory_limits(root)[0] == 2_000_000_000


@pytest.mark.parametrize(("text", "cores"), [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1)])
def test_cpu_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, cores: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert probe.allowed_cores(group(tmp_path, "0::/\n", cpu_max=text)) == cores


def test_cpu_quota_of_cgroup_v1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    root = write(
        tmp_path,
        proc__self__cgroup="2:cpu,cpuacct:/\n",
        **{
            "sys__fs__cgroup__cpu,cpuacct__cpu.cfs_quota_us": "300000",
            "sys__fs__cgroup__cpu,cpuacct__cpu.cfs_period_us": "100000",
        },
    )
    assert probe.allowed_cores(root) == 3


def test_one_fact_that_fails_does_not_hide_the_others(tmp_path: Path) -> None:
    raw = probe.probe([], tmp_path)  # an empty root: no /proc, no /sys
    profile = Profile.model_validate(raw)
    assert profile.memory_total == 0
    assert profile.hostname
    assert any(line.startswith("memory:") for line in raw["missing"])


def test_a_driver_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()
    monkeypatch.setattr(probe, "DRIVER_SECONDS", 0.01)
    monkeypatch.setattr(probe, "accelerators", lambda *_: end.wait() and {"state": "none"})
    found = Accelerators.model_validate(probe.gpus_in_time(tmp_path))
    end.set()
    assert (found.state, "hangs" in found.problem) == ("broken", True)


def test_a_look_for_gpus_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("odd")

    monkeypatch.setattr(probe, "accelerators", fail)
    monkeypatch.setattr(probe, "interpreters", list)
    raw = probe.probe([], tmp_path)
    assert Profile.model_validate(raw).accelerators.state == "broken"
    assert "accelerators: KeyError: 'odd'" in raw["missing"]


def test_os_release(tmp_path: Path) -> None:
    root = write(tmp_path, etc__os_release="")
    (root / "etc/os-release").write_text('ID=rocky\nVERSION_ID="9.4"\nPRETTY_NAME="Rocky Linux 9.4"\n')
    found = probe.system(root)
    assert (found["id"], found["version"], found["name"]) == ("rocky", "9.4", "Rocky Linux 9.4")
    assert found["init"] == "other"


def test_arm_processor_has_a_name_and_flags(tmp_path: Path) -> None:
    text = "processor\t: 0\nFeatures\t: fp asimd bf16 sve\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"
    found = probe.cpu(write(tmp_path, proc__cpuinfo=text), 4)
    assert found["model"] == "0x41 part 0xd0c"
    assert found["isa"] == ["asimd", "bf16", "sve"]


def test_hyperthreads_are_not_cores(tmp_path: Path) -> None:
    block = "processor\t: {}\nmodel name\t: X\nphysical id\t: 0\ncore id\t: {}\nflags\t: avx2 nonsense\n"
    text = "\n".join(block.format(n, n // 2) for n in range(4))
    found = probe.cpu(write(tmp_path, proc__cpuinfo=text), 4)
    assert (found["physical"], found["isa"]) == (2, ["avx2"])
    assert (found["sockets"], found["numa_nodes"]) == (1, 1)


def test_sockets_and_numa_nodes(tmp_path: Path) -> None:
    block = "processor\t: {0}\nmodel name\t: X\nphysical id\t: {0}\ncore id\t: 0\nflags\t: avx2\n"
    root = write(tmp_path, proc__cpuinfo="\n".join(block.format(n) for n in range(2)))
    for node in range(4):
        (root / f"sys/devices/system/node/node{node}").mkdir(parents=True)
    found = probe.cpu(root, 2)
    assert (found["physical"], found["sockets"], found["numa_nodes"]) == (2, 2, 4)


def test_a_shim_that_does_not_run_is_not_an_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\necho command not found >&2\nexit 127\n")
    liar = tmp_path / "python3.13"
    liar.write_text("#!/bin/sh\necho hello\n")
    link = tmp_path / "python3.10"
    link.symlink_to(sys.executable)
    for path in (shim, liar):
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = probe.interpreters()
    assert not any(each["path"] in {str(shim), str(liar)} for each in found)
    real = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    assert str(real) in [each["path"] for each in found]


def test_a_python_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "python3.12"
    slow.write_text("#!/bin/sh\nexec sleep 30\n")
    slow.chmod(0o755)
    monkeypatch.setattr(probe, "INTERPRETER_SECONDS", 0.3)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert str(slow) not in [each["path"] for each in probe.interpreters()]


def test_who_holds_a_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        holder = next(each for each in listeners() if each["port"] == port)
    assert holder["pid"] == os.getpid()


def test_options_of_a_holder_are_not_told() -> None:
    listen = "s=socket.create_server(('127.0.0.1',0)); print(s.getsockname()[1],flush=True)"
    code = f"import socket,sys; {listen}; sys.stdin.read()"
    command = [sys.executable, "-c", code, "--api-key", "canary"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        port = int(process.stdout.readline())
        holder = next(each for each in listeners() if each["port"] == port)
        process.communicate("")
    assert "canary" not in str(holder)
    assert holder["pid"] == process.pid


def test_a_process_that_renamed_itself_is_told_by_who_started_it(tmp_path: Path) -> None:
    tree = {
        7: (1, b"/opt/voxtral/engine/bin/python\0/opt/voxtral/engine/bin/vllm\0serve\0--api-key\0x"),
        8: (7, b"VLLM::EngineCore"),
    }
    for pid, (parent, command) in {**tree, 9: (8, b"VLLM::Worker_TP0")}.items():
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cmdline").write_bytes(command)
        (tmp_path / str(pid) / "stat").write_bytes(b"%d (odd ) name) S %d 1 1" % (pid, parent))
    assert command_of(tmp_path / "9") == (
        "VLLM::Worker_TP0 of VLLM::EngineCore of /opt/voxtral/engine/bin/python /opt/voxtral/engine/bin/vllm serve"
    )
    (tmp_path / "8" / "stat").unlink()
    assert command_of(tmp_path / "8") == "VLLM::EngineCore of a process that just ended"


def test_what_was_installed_to_its_end(tmp_path: Path) -> None:
    write(
        tmp_path,
        **{"engines__a__voxtral-complete.json": "{}", "engines__b__pyvenv.cfg": "", "o__n__r__manifest.json": ""},
    )
    found = probe.directory(tmp_path)
    assert found["complete"] == ["engines/a", "o/n/r"]
    assert found["writable"]
