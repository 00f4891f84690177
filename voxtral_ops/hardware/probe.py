"""Look at this machine and print what it is as JSON. Standard library only, Python 3.9 or newer.

It travels with ``gpus.py``, ``devices.py`` and ``holders.py`` to hosts that nobody has touched, so none of them imports
anything else of this package. NVIDIA's bindings (``pynvml``) are used where they can be imported. A fact that
cannot be had is reported as missing; it never stops the others.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import pwd
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

if __package__:
    from voxtral_ops.hardware.gpus import accelerators
    from voxtral_ops.hardware.holders import listeners
else:  # alone on a host
    from gpus import accelerators  # type: ignore[import-not-found,no-redef]
    from holders import listeners  # type: ignore[import-not-found,no-redef]

Facts = dict[str, Any]

ISA = {
    *("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx_vnni"),
    *("amx_tile", "amx_bf16", "amx_int8", "asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve", "sve2"),
}
INTERPRETER_SECONDS = 5
DRIVER_SECONDS = 120
"""Eight GPUs without persistence mode take some 20 s to start; a driver that hangs never answers."""
UNLIMITED = 1 << 60
"""cgroup v1 writes a number near 2**63 where there is no limit."""


def main(argv: list[str] | None = None) -> int:
    """Print the profile of this machine."""
    parser = argparse.ArgumentParser(prog="probe.py", description="Print what this machine is, as JSON.")
    parser.add_argument("--path", action="append", default=[], help="a directory whose free space matters")
    args = parser.parse_args(argv)
    json.dump(probe(args.path), sys.stdout)
    sys.stdout.write("\n")
    return 0


def probe(paths: Iterable[str | os.PathLike[str]] = (), root: Path = Path("/")) -> Facts:
    """Look at this machine. ``paths``: directories, existing or not, whose free space matters."""
    missing: list[str] = []

    def fact(name: str, look: Callable[[], Any], default: Any) -> Any:
        try:
            return look()
        except Exception as error:  # one odd kernel file must not hide the other facts
            missing.append(f"{name}: {type(error).__name__}: {error}")
            return default

    no_system = {"id": "unknown", "version": "", "name": "unknown", "kernel": "", "init": "other"}
    cores = fact("cores", lambda: allowed_cores(root), os.cpu_count() or 1)
    memory = fact("memory", lambda: memory_limits(root), (0, 0))
    return {
        "schema_version": 1,
        "hostname": fact("hostname", socket.gethostname, "unknown"),
        "system": fact("system", lambda: system(root), no_system),
        "cpu": fact("cpu", lambda: cpu(root, cores), _no_cpu(cores)),
        "memory_total": memory[0],
        "memory_available": memory[1],
        "shm_total": fact("shm", lambda: shutil.disk_usage(root / "dev/shm").total, 0),
        "disk_free": {str(path): fact(str(path), partial(disk_free, path), 0) for path in paths},
        "directories": {str(path): fact(str(path), partial(directory, path), {}) for path in paths},
        "listeners": fact("listeners", lambda: listeners(root / "proc"), []),
        "compiler": shutil.which("gcc") or shutil.which("cc"),
        "certificates": fact("certificates", certificates, True),
        "libraries": {"libnuma.so.1": loads("libnuma.so.1")},
        "interpreters": fact("interpreters", interpreters, []),
        "user": fact("user", lambda: pwd.getpwuid(os.geteuid()).pw_name, str(os.geteuid())),
        "privileged": os.geteuid() == 0,
        "accelerators": fact("accelerators", lambda: gpus_in_time(root), _UNKNOWN_GPUS),
        "missing": missing,
    }


_UNKNOWN_GPUS = {
    "state": "broken",
    "problem": "looking for GPUs failed",
    "hint": "run the probe on the host and read what it reports as missing",
}


def gpus_in_time(root: Path) -> Facts:
    """Ask the driver, and do not wait for ever: one that hangs would take the probe with it."""
    answers: list[Facts] = []
    errors: list[Exception] = []

    def ask() -> None:
        try:
            answers.append(accelerators(root, container(root)))
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(DRIVER_SECONDS)
    if errors:
        raise errors[0]
    return answers[0] if answers else {**_UNKNOWN_GPUS, **_HANGS}


_HANGS = {
    "problem": "the NVIDIA driver hangs: it gave no answer",
    "hint": "dmesg | grep -i 'nvrm\\|xid' names the GPU; reboot, and when it happens again, check power and cooling",
}


def _no_cpu(cores: int) -> Facts:
    return {"model": "unknown", "architecture": platform.machine(), "logical": cores, "physical": cores}


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip()


def _number(path: Path) -> int | None:
    try:
        return int(_read(path))
    except (OSError, ValueError):
        return None


def system(root: Path) -> Facts:
    """Read os-release, the kernel, the C library, what pid 1 is, and the kind of container."""
    fields = {}
    for place in ("etc/os-release", "usr/lib/os-release"):
        if (root / place).exists():
            pairs = re.findall(r"^([A-Z_]+)=[\"']?(.*?)[\"']?$", _read(root / place), re.MULTILINE)
            fields = dict(pairs)
            break
    return {
        "id": fields.get("ID", "unknown"),
        "version": fields.get("VERSION_ID", ""),
        "name": fields.get("PRETTY_NAME", fields.get("NAME", "unknown")),
        "kernel": platform.release(),
        "glibc": glibc(),
        "init": "systemd" if (root / "run/systemd/system").is_dir() else "other",  # as sd_booted(3) says
        "container": container(root),
    }


def glibc() -> str | None:
    """Return the version of the GNU C library, or None with another one."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):
        return None
    return version if name == "glibc" else None


def container(root: Path) -> str | None:
    """Name the kind of container: podman, docker, kubernetes, lxc, wsl …, or None."""
    told = root / "run/systemd/container"
    if told.exists():
        return _read(told) or "other"
    signs = {
        "podman": (root / "run/.containerenv").exists(),
        "kubernetes": "KUBERNETES_SERVICE_HOST" in os.environ,
        "docker": (root / ".dockerenv").exists(),
        "wsl": "microsoft" in platform.release().lower(),
    }
    return next((kind for kind, seen in signs.items() if seen), None) or _told_by_init(root)


def _told_by_init(root: Path) -> str | None:
    try:
        environment = (root / "proc/1/environ").read_bytes().split(b"\0")
    except OSError:
        return None  # only root may read it
    values = [entry[10:].decode(errors="replace") for entry in environment if entry.startswith(b"container=")]
    return (values[0] or "other") if values else None


def cpu(root: Path, cores: int) -> Facts:
    """Name the processor, count its cores, and list the instruction sets that matter to an engine."""
    texts = _read(root / "proc/cpuinfo").split("\n\n")
    blocks = [dict(re.findall(r"^(\S[^\t:]*?)\s*:\s*(.*)$", text, re.MULTILINE)) for text in texts]
    first = blocks[0] if blocks else {}
    flags = set((first.get("flags") or first.get("Features") or "").split())
    pairs = {(block.get("physical id"), block["core id"]) for block in blocks if "core id" in block}
    part = "{} part {}".format(first["CPU implementer"], first.get("CPU part")) if "CPU part" in first else ""
    return {
        "model": first.get("model name") or part or platform.machine(),
        "architecture": platform.machine(),
        "logical": cores,
        "physical": max(1, min(len(pairs) or cores, cores)),
        "isa": sorted(flags & ISA),
        "sockets": len({block["physical id"] for block in blocks if "physical id" in block}) or 1,
        "numa_nodes": len(list((root / "sys/devices/system/node").glob("node[0-9]*"))) or 1,
    }


def allowed_cores(root: Path) -> int:
    """Count the cores that this process may use: its affinity and the control group's quota."""
    cores = len(os.sched_getaffinity(0))
    for folder in _group_folders(root, "cpu"):
        quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if (folder / "cpu.max").exists():
            words = _read(folder / "cpu.max").split()
            quota, period = (None if words[0] == "max" else int(words[0])), int(words[1])
        if quota and period and quota > 0:
            cores = min(cores, max(1, quota // period))
    return cores


def memory_limits(root: Path) -> tuple[int, int]:
    """Count all bytes and those that may be used now; the control group's limit counts in both."""
    pairs = re.findall(r"^(\w+):\s+(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    facts = {name: int(kilobytes) * 1024 for name, kilobytes in pairs}
    total, available = facts["MemTotal"], facts["MemAvailable"]
    for folder in _group_folders(root, "memory"):
        limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes")
        if limit is None or limit >= UNLIMITED:
            continue
        total = min(total, limit)
        if used is not None:
            # The page cache counts as used there, and is given back when it is needed.
            available = min(available, limit - max(0, used - _cache(folder)))
    return total, max(0, available)


def _cache(folder: Path) -> int:
    names = {"inactive_file", "total_inactive_file"}
    pairs = [line.split() for line in _read(folder / "memory.stat").splitlines()]
    return max([int(pair[1]) for pair in pairs if len(pair) == 2 and pair[0] in names] or [0])


def _group_folders(root: Path, controller: str) -> Iterator[Path]:
    """Walk from this process's control group up to the root, for cgroup v2 and v1."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, controllers, name = line.split(":", 2)
        if number == "0":
            bases = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
        elif controller in controllers.split(","):
            bases = [root / "sys/fs/cgroup" / controllers, root / "sys/fs/cgroup" / controller]
        else:
            continue
        for base in bases:
            folder = base / name.lstrip("/")
            # Inside a container the path may be the host's: then the mount's own root is this group.
            while folder != base.parent:
                if folder.is_dir():
                    yield folder
                folder = folder.parent


def directory(path: str | os.PathLike[str]) -> Facts:
    """Say whether ``path`` can be made and written, on which device, and what in it was installed to its end."""
    place, wanted = existing(path), Path(path)
    stamps = [*wanted.glob("*/*/voxtral-complete.json"), *wanted.glob("*/*/*/manifest.json")]
    return {
        "exists": str(place),
        "device": place.stat().st_dev,
        "writable": os.access(place, os.W_OK | os.X_OK),
        "complete": sorted(stamp.parent.relative_to(wanted).as_posix() for stamp in stamps),
    }


def existing(path: str | os.PathLike[str]) -> Path:
    """Find the nearest parent that exists."""
    place = Path(path).absolute()
    while not place.exists():
        place = place.parent
    return place


def certificates() -> bool:
    """Look for certificate authorities where this Python's TLS library looks."""
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile or (paths.capath and any(Path(paths.capath).iterdir())))


def disk_free(path: str | os.PathLike[str]) -> int:
    """Count the bytes that this user may write below ``path``, which need not exist yet."""
    return shutil.disk_usage(existing(path)).free


def loads(library: str) -> bool:
    """Ask the dynamic loader for this library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


_ASK = (
    "import os,sys,json\n"
    "try:\n import venv,ensurepip;ok=bool(ensurepip.version())\nexcept Exception:\n ok=False\n"
    "path=getattr(sys,'_base_executable',None) or sys.executable\n"
    "print(json.dumps([os.path.realpath(path),'.'.join(map(str,sys.version_info[:3])),ok]))"
)


def interpreters() -> list[Facts]:
    """Run every Python from 3.9 on PATH and in /usr/bin (shims lie); list those that answer, newest first."""
    folders = dict.fromkeys([*os.environ.get("PATH", "").split(os.pathsep), "/usr/local/bin", "/usr/bin"])
    candidates: dict[str, None] = {}
    for folder in filter(os.path.isabs, folders):
        try:
            names = sorted(os.listdir(folder))  # noqa: PTH208
        except OSError:
            continue
        for name in names:
            found = re.fullmatch(r"python3(?:\.(\d+))?", name)
            if found and int(found.group(1) or 9) >= 9 and os.access(os.path.join(folder, name), os.X_OK):  # noqa: PTH118
                candidates[str(Path(folder) / name)] = None
    with ThreadPoolExecutor(max_workers=4) as pool:
        answers = [answer for answer in pool.map(_ask, candidates) if answer]
    unique = {path: {"path": path, "version": version, "venv": ok} for path, version, ok in answers}
    return sorted(unique.values(), key=lambda each: [int(n) for n in each["version"].split(".")], reverse=True)


def _ask(path: str) -> tuple[str, str, bool] | None:
    try:
        command = [path, "-I", "-c", _ASK]
        answer = subprocess.run(command, capture_output=True, timeout=INTERPRETER_SECONDS, check=True, cwd="/")
        real, version, ok = json.loads(answer.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return (real, version, ok) if version.startswith("3.") else None


if __name__ == "__main__":
    sys.exit(main())
