"""``python -m tests.faults.fuzz [--cases N]``: bad recordings through the decoder; each is read or is an AudioError.

A case that violates something is told by its number; ``--case N`` runs that one again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.faults.mutate import mutated
from voxtral_ops.audio import AudioLimits, VoxtralAudioProcessor
from voxtral_ops.audio.decoder import POOL
from voxtral_ops.errors import AudioError

LIMITS = AudioLimits(bytes=1 << 24, seconds=300, channels=16, rate=200_000, cpu_seconds=10, wall_seconds=60)
MEMORY = 256 << 20
"""Bytes that a decoder may have had at most."""


@dataclass
class Findings:
    """What became of the cases. ``violations`` must be empty."""

    cases: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    crashes: int = 0
    """Files on which the decoder itself crashed or hung; the caller got an AudioError."""
    slowest: float = 0.0
    memory: int = 0
    violations: list[str] = field(default_factory=list)


def fuzz(cases: Iterable[int]) -> Findings:
    """Run the cases on as many decoders as there are processors."""
    found, began = Findings(), time.monotonic()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for case, outcome, seconds, memory in threads.map(judged, cases):
            found.cases += 1
            if found.cases % 5000 == 0:
                print(f"{found.cases} cases, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            found.outcomes[outcome] += 1
            found.slowest = max(found.slowest, round(seconds, 3))
            found.memory = max(found.memory, memory)
            found.crashes += "crash" in outcome or "too " in outcome
            if outcome.startswith("VIOLATION") or memory > MEMORY:
                found.violations.append(f"case {case}: {outcome}, {memory >> 20} MB")
    found.seconds = round(time.monotonic() - began, 1)
    return found


def judged(case: int) -> tuple[int, str, float, int]:
    """One case: its number, what became of it, how long that took, the decoders' largest memory."""
    data, began = mutated(case), time.monotonic()
    try:
        audio = VoxtralAudioProcessor(LIMITS).load(data, name="bad")
        outcome = "decoded" if 0 < audio.seconds <= LIMITS.seconds else f"VIOLATION: {audio.seconds} s"
    except AudioError as error:
        outcome = "refused: " + re.sub(r"[\d.]+", "N", error.message.removeprefix("bad "))[:60]
        if not error.message.startswith("bad ") or not error.hint:
            outcome = f"VIOLATION: no name or no cure: {error.message}"
    except Exception as error:
        outcome = f"VIOLATION: {type(error).__name__}: {str(error)[-300:]}"
    return case, outcome, time.monotonic() - began, max((_memory(each.pid) for each in list(POOL._idle)), default=0)


def _memory(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    return int(found[1]) << 10 if found else 0


def main() -> int:
    """Run and print. Returns 1 where something was violated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="how many (100000)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first (0)")
    parser.add_argument("--case", type=int, help="only this one")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the findings there, as JSON")
    arguments = parser.parse_args()
    numbers = (
        [arguments.case] if arguments.case is not None else range(arguments.first, arguments.first + arguments.cases)
    )
    found = fuzz(numbers)
    text = json.dumps({**asdict(found), "outcomes": dict(found.outcomes.most_common())}, indent=2)
    print(text)
    if arguments.report:
        arguments.report.write_text(text + "\n", encoding="utf-8")
    return 1 if found.violations else 0


if __name__ == "__main__":
    sys.exit(main())
