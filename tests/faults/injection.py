"""One fault at a time: interrupt, look, run again, look again, and compare with a run that nobody disturbed."""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.faults.scenarios import SCENARIOS, Scenario, command, release_module
from tests.faults.small import listing
from tests.faults.tracing import KINDS, Ended, Fault, forked, places

NEEDED = (
    "ansible.module_utils.basic",
    "ansible.module_utils.testing",
    "huggingface_hub.hf_api",
    "httpx2",
    "voxtral_ops.cli.main",
    "voxtral_ops.cli.output",
    "voxtral_ops.cli.release",
    "voxtral_ops.cli.weights",
)


@dataclass(frozen=True)
class Verdict:
    """What became of one fault."""

    scenario: str
    fault: Fault
    struck: bool
    violations: tuple[str, ...]


@cache
def scratch() -> Path:
    """This process's own directory. Whatever a child would import lazily, this process imports once."""
    for name in NEEDED:
        importlib.import_module(name)
    release_module()
    command("weights", "list", "--models", "/nonexistent")
    root = os.environ["VOXTRAL_FAULTS_SCRATCH"]
    return Path(tempfile.mkdtemp(dir=root))


def named(name: str) -> Scenario:
    """Find a scenario."""
    return next(each for each in SCENARIOS if each.name == name)


@cache
def template(name: str) -> Path:
    """The scenario's beginning, made once in each process."""
    number = [each.name for each in SCENARIOS].index(name)
    place = scratch() / f"template-{number}"
    named(name).prepare(place)
    return place


def begin(name: str) -> Path:
    """A fresh copy of the beginning, always at the same place."""
    start, root = template(name), scratch() / "root"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(start, root, symlinks=True)
    return root


@cache
def undisturbed(name: str) -> tuple[Ended, frozenset[str]]:
    """A clean run's trace and what lies there afterwards."""
    scenario, root = named(name), begin(name)
    ended = forked(lambda: scenario.run(root), log=scratch() / "trace")
    if ended.answer != "done" or scenario.reached(root) or scenario.holds(root):
        raise RuntimeError(f"{name} fails even when nobody disturbs it: {ended.answer} {scenario.reached(root)}")
    return ended, listing(root)


def faults(name: str) -> list[Fault]:
    """Every state-changing call of a clean run, with every kind of fault, and a disk that stays full."""
    root = scratch() / "root"
    found = places(undisturbed(name)[0].log, root)
    full = [Fault(call, when, "FULL") for call, when in found if call in {"write", "pwrite64"}]
    return [Fault(call, when, kind) for call, when in found for kind in KINDS] + full


def inject(name: str, fault: Fault) -> Verdict:
    """Interrupt a scenario in one place and judge what is there."""
    scenario = named(name)
    _, clean = undisturbed(name)
    root = begin(name)
    ended = forked(lambda: scenario.run(root), fault, scratch() / "trace")
    wrong = [f"after the fault: {words}" for words in scenario.holds(root)]
    if ended.answer is None and not ended.killed:
        wrong.append("it hung or fell silent")
    elif ended.answer == "done":
        wrong += [f"it said done: {words}" for words in scenario.reached(root)]
    elif ended.answer is not None and not ended.answer.startswith("refused"):
        wrong.append(ended.answer)
    again = forked(lambda: scenario.run(root))
    if again.answer != "done":
        wrong.append(f"the next run did not converge: {again.answer}")
    wrong += [f"after the next run: {words}" for words in [*scenario.holds(root), *scenario.reached(root)]]
    left = listing(root) ^ clean
    if left:
        wrong.append(f"left over or missing: {', '.join(sorted(left))}")
    return Verdict(name, fault, ended.struck(root), tuple(wrong))
