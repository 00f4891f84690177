"""`voxtral-ops test`: set up what the tests need, run everything this machine can run, say what it could not."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from voxtral_ops.cli.output import colour, emit, say
from voxtral_ops.errors import ConfigurationError, HostError
from voxtral_ops.provisioning import ansible_environment, find_project

EXAMPLES = """examples:
  voxtral-ops test                 everything that this machine can run
  voxtral-ops test unit lint       only these stages
  voxtral-ops test --full          also what is too long for every day
"""


@dataclass(frozen=True)
class Stage:
    """One part of the tests: what it proves, what it runs, the programs and rights it cannot do without."""

    name: str
    proves: str
    commands: tuple[tuple[str, ...], ...]
    programs: Mapping[str, str]
    """Program (or a path that must exist) → the Debian package that brings it."""
    root: bool = False
    full: bool = False
    """Only under --full."""


@dataclass(frozen=True)
class Outcome:
    """How one stage ended: passed, failed or not run, and why."""

    stage: str
    verdict: str
    seconds: float
    reason: str = ""


PYTHON = sys.executable
PYTEST = (PYTHON, "-m", "pytest", "-q")

STAGES = (
    Stage("locks", "every lock is whole and current in form", ((PYTHON, "tools/lock.py", "check"),), {}),
    Stage(
        "lint",
        "style, types, import rules and Ansible's own rules",
        (
            ("ruff", "check", "."),
            ("ruff", "format", "--check", "."),
            ("mypy",),
            ("lint-imports",),
            ("ansible-lint", "--offline", "-q"),
        ),
        {},
    ),
    Stage(
        "unit",
        "every room by itself",
        # They mostly wait for processes that they started: more workers than cores.
        ((*PYTEST, "-n", "4", "tests/unit", "tests/modules", "tests/roles"),),
        {"gcc": "gcc"},
    ),
    Stage(
        "faults",
        "kill -9, full disks and failing calls at every step of a fetch, an import and a switch",
        ((*PYTEST, "tests/faults"),),
        {"strace": "strace"},
    ),
    Stage(
        "story",
        "up, transcribe, kill -9, fallback and down with real vLLM and real Whisper",
        ((*PYTEST, "-x", "tests/integration"),),
        {
            "/usr/share/doc/python3-venv": "python3-venv",
            "/usr/share/doc/libnuma1": "libnuma1",
            "ss": "iproute2",
            "npm": "npm",
        },
    ),
    Stage(
        "host",
        "over SSH into systemd containers: site.yml in check mode, for real and again; four hosts share weights",
        (
            ("tools/test_image.sh",),
            ("molecule", "test", "--scenario-name", "weights"),
            ("molecule", "test", "--scenario-name", "site"),
        ),
        {
            "podman": "podman",
            "runc": "runc",
            "debootstrap": "debootstrap",
            "ssh": "openssh-client",
            "ssh-keygen": "openssh-client",
        },
        root=True,
    ),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Which stages, and how much."""
    names = ", ".join(stage.name for stage in STAGES)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"{names} (all)")
    parser.add_argument("--full", action="store_true", help="also what is too long for continuous integration")


def run(args: argparse.Namespace) -> int:
    """Run the stages; the last line says what could not run."""
    root = _checkout()
    stages = _chosen(args.stages, args.full)
    began = time.monotonic()
    _install_tools(root)
    _install_packages(stages)
    outcomes = [_run_stage(stage, root, args.full) for stage in stages]
    emit(args, {"ok": _ok(outcomes), "stages": [vars(outcome) for outcome in outcomes]}, _summary(outcomes, began))
    return 0 if _ok(outcomes) else 1


def _checkout() -> Path:
    root = find_project().root
    if not (root / "tests").is_dir():
        raise HostError(
            "the tests are not part of an installed package", hint="clone the repository, then ./voxtral test"
        )
    return root


def _chosen(names: Sequence[str], full: bool) -> tuple[Stage, ...]:
    known = {stage.name: stage for stage in STAGES}
    for name in names:
        if name not in known:
            raise ConfigurationError(f"no stage {name!r}", hint=f"the stages are {', '.join(known)}")
    if names:
        return tuple(known[name] for name in names)
    return tuple(stage for stage in STAGES if full or not stage.full)


def _install_tools(root: Path) -> None:
    """Bring the environment to dev.txt, which holds operator.txt's versions and the tools beside them."""
    lock, stamp = root / "requirements" / "dev.txt", Path(sys.prefix) / "dev.lock"
    if stamp.exists() and stamp.read_bytes() == lock.read_bytes():
        return
    say("installing the tools that look at the code")
    uv = shutil.which("uv") or str(Path(sys.prefix) / "bin" / "uv")
    command = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--compile-bytecode", "--no-deps"]
    result = subprocess.run([*command, "--require-hashes", "-r", str(lock)], check=False)
    if result.returncode:
        raise HostError(f"the tools of {lock} could not be installed", hint="is the Python package index reachable?")
    stamp.write_bytes(lock.read_bytes())


def _install_packages(stages: Sequence[Stage]) -> None:
    """As root on a Debian system, bring the programs that are missing; everybody else is told at the end."""
    missing = sorted({package for stage in stages for package in _missing(stage).values()})
    if not missing or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    say(f"installing {' '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing],
    ):
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)


def _missing(stage: Stage) -> dict[str, str]:
    return {name: package for name, package in stage.programs.items() if not _present(name)}


def _present(name: str) -> bool:
    return Path(name).exists() if name.startswith("/") else shutil.which(name) is not None


def _run_stage(stage: Stage, root: Path, full: bool) -> Outcome:
    reason = _why_not(stage)
    if reason:
        # Continuous integration must not grow a hole that nobody sees.
        verdict = "failed" if os.environ.get("CI") == "true" else "not run"
        return Outcome(stage.name, verdict, 0.0, reason)
    say(colour(f"── {stage.name}: {stage.proves}", "1"))
    began = time.monotonic()
    environment = _environment(full)
    for command in stage.commands:
        result = subprocess.run(command, cwd=root, env=environment, stdin=subprocess.DEVNULL, check=False)
        if result.returncode:
            words = f"`{' '.join(command)}` ended with {result.returncode}"
            return Outcome(stage.name, "failed", time.monotonic() - began, words.replace(PYTHON, "python"))
    return Outcome(stage.name, "passed", time.monotonic() - began)


def _why_not(stage: Stage) -> str:
    if stage.root and os.geteuid() != 0:
        return "needs root: containers with systemd"
    missing = _missing(stage)
    if missing:
        return f"{', '.join(missing)} missing; sudo apt-get install -y {' '.join(sorted(set(missing.values())))}"
    return ""


def _environment(full: bool) -> dict[str, str]:
    environment = ansible_environment(find_project())
    # The tests look at the code as it is; a test that passes only with an editor's path is none.
    environment.pop("VOXTRAL_PROGRAM", None)
    environment["VOXTRAL_TEST_FULL"] = "1" if full else ""
    environment["ANSIBLE_FORCE_COLOR"] = "0"
    return environment


def _ok(outcomes: Sequence[Outcome]) -> bool:
    return all(outcome.verdict != "failed" for outcome in outcomes)


def _summary(outcomes: Sequence[Outcome], began: float) -> str:
    lines = [""]
    for outcome in outcomes:
        took = f"{outcome.seconds:6.0f} s" if outcome.seconds else " " * 8
        lines.append(f"{outcome.stage:8} {outcome.verdict:8} {took}  {outcome.reason}".rstrip())
    passed = sum(outcome.verdict == "passed" for outcome in outcomes)
    failed = sum(outcome.verdict == "failed" for outcome in outcomes)
    idle = [outcome for outcome in outcomes if outcome.verdict == "not run"]
    lines += ["", f"took {time.monotonic() - began:.0f} s", f"stages: {passed} passed, {failed} failed"]
    why = "; ".join(f"{outcome.stage} ({outcome.reason})" for outcome in idle)
    lines.append(f"not run: {why}" if idle else "not run: nothing; everything this machine can run was run")
    lines.append("never run here: anything on an NVIDIA GPU" if shutil.which("nvidia-smi") is None else "")
    return "\n".join(lines).rstrip()
