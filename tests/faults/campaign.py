"""Many faults at once: a hub, a scratch directory, one process for each core, and a table of what they found."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults import injection
from tests.faults.bulk import bulk_hub
from tests.faults.injection import Verdict
from tests.faults.small import FIRST, SECOND, contents
from tests.faults.tracing import Fault


@dataclass(frozen=True)
class Campaign:
    """Processes that inject faults."""

    pool: ProcessPoolExecutor

    def faults(self, scenario: str) -> list[Fault]:
        """Every fault there is for a scenario."""
        return self.pool.submit(injection.faults, scenario).result()

    def inject(self, scenario: str, faults: Sequence[Fault]) -> list[Verdict]:
        """Inject them, several at a time."""
        return list(self.pool.map(injection.inject, [scenario] * len(faults), faults, chunksize=4))


@contextmanager
def campaign(workers: int | None = None) -> Iterator[Campaign]:
    """A hub that has both revisions, and processes to work with, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="voxtral-faults-") as folder:
        upstream = Path(folder) / "upstream"
        for revision in (FIRST, SECOND):
            (upstream / revision).mkdir(parents=True)
            for name, data in contents(revision).items():
                (upstream / revision / name).write_bytes(data)
        with bulk_hub(upstream) as hub, _environment(folder, hub.url):
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=context) as pool:
                yield Campaign(pool)


@contextmanager
def _environment(scratch: str, endpoint: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(VOXTRAL_FAULTS_SCRATCH=scratch, HF_ENDPOINT=endpoint, HF_HUB_DISABLE_TELEMETRY="1")
    os.environ.pop("HF_TOKEN", None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass(frozen=True)
class Row:
    """One scenario's line in the table."""

    scenario: str
    points: int
    struck: int
    violations: tuple[str, ...]
    seconds: float


def run(running: Campaign, scenario: str) -> Row:
    """Inject every fault of one scenario."""
    began = time.monotonic()
    verdicts = running.inject(scenario, running.faults(scenario))
    found = [f"{each.fault}: {words}" for each in verdicts for words in each.violations]
    return Row(scenario, len(verdicts), sum(each.struck for each in verdicts), tuple(found), time.monotonic() - began)


def table(rows: Sequence[Row]) -> str:
    """The result in Markdown."""
    lines = ["| scenario | faults injected | struck | violations |", "| --- | --- | --- | --- |"]
    lines += [f"| {row.scenario} | {row.points} | {row.struck} | {len(row.violations)} |" for row in rows]
    points, struck = sum(row.points for row in rows), sum(row.struck for row in rows)
    seconds = sum(row.seconds for row in rows)
    lines.append(f"| **all** | **{points}** | **{struck}** | **{sum(len(row.violations) for row in rows)}** |")
    return "\n".join(lines) + f"\n\n{seconds:.0f} seconds, {points / seconds:.0f} faults a second.\n"


def summary(violations: Sequence[str]) -> str:
    """The most frequent violations, with an example of each."""
    kinds = Counter(text.split(": ", 1)[1][:80] for text in violations)
    example = {text.split(": ", 1)[1][:80]: text for text in violations}
    return "\n".join(f"  {count} x {example[kind]}" for kind, count in kinds.most_common(10))
