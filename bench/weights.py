"""What fetching and verifying weights cost: ``python -m bench.weights [--gigabytes N] [--runs N]``.

On one machine, from one hub on the loopback, page cache warm: fetching against `hf download`; verifying against
sha256sum, openssl, `hf cache verify` and what Python's own hashlib reaches; verifying again what did not change.
Wall and CPU seconds (children counted) are medians, memory is the highest. Writes bench/results/weights.md, .json
and .svg. Nothing stays on the disk but these.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.faults.bulk import bulk_hub
from tests.faults.kills import HUB, OURS, Subject, environment, upstream
from tests.faults.small import BIG, FIRST, NAME, REPOSITORY, model_of_files, write_release
from voxtral_ops.release import ReleaseFile
from voxtral_ops.weights.verify import verify_files, write_stamps

RESULTS = Path(__file__).resolve().parent / "results"
AGAIN = 30
"""Files of the model that is verified again."""


@dataclass(frozen=True)
class Row:
    """One thing that was measured."""

    part: str
    name: str
    wall: float
    cpu: float
    memory_mb: float
    megabytes: float

    @property
    def rate(self) -> float:
        """MB a second."""
        return self.megabytes / self.wall


Cost = tuple[float, float, float]
"""Wall seconds, CPU seconds, MB at the peak."""


SHIM = """import json, os, subprocess, sys, time
began = time.perf_counter()
process = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
wall, cpu = time.perf_counter() - began, used.ru_utime + used.ru_stime
open(sys.argv[1], "w").write(json.dumps([wall, cpu, used.ru_maxrss / 1024]))
process.returncode = os.waitstatus_to_exitcode(status)
sys.exit(process.returncode)
"""
"""A process begins with its parent's peak memory: so the parent must be a small one."""


def cost(command: Sequence[str], variables: dict[str, str]) -> Cost:
    """Run one process and its children, and take what the kernel counted."""
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as told:
        small = [sys.executable, "-S", "-c", SHIM, told.name, *command]
        ran = subprocess.run(small, env=variables, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise RuntimeError(f"{' '.join(command[:5])} ended with {ran.returncode}: {ran.stderr[-2000:]}")
        wall, cpu, memory = json.load(told)
    return wall, cpu, memory


def middle(part: str, name: str, costs: Sequence[Cost], megabytes: float) -> Row:
    """The medians of several runs, and the most memory that any of them took."""
    walls, cpus, memory = zip(*costs, strict=True)
    return Row(part, name, statistics.median(walls), statistics.median(cpus), max(memory), megabytes)


def fetching(subjects: Sequence[Subject], root: Path, release: Path, runs: int, megabytes: float) -> list[Row]:
    """Fetch in turns, so that a busy moment hits all of them. What the last turn fetched stays for verifying."""
    costs: dict[str, list[Cost]] = {subject.name: [] for subject in subjects}
    with bulk_hub(root / "upstream") as hub:
        for _ in range(runs):
            for subject in subjects:
                home = root / subject.name.split()[0]
                shutil.rmtree(home, ignore_errors=True)
                home.mkdir()
                costs[subject.name].append(cost(subject.command(home, release), environment(hub, home)))
    return [middle("fetch", name, each, megabytes) for name, each in costs.items()]


def verifying(root: Path, release: Path, runs: int, megabytes: float) -> list[Row]:
    """Every byte again, by each tool; hashlib is the ceiling of a Python program."""
    ours, theirs = root / OURS.name.split()[0], root / HUB.name.split()[0]
    files = sorted(str(path) for path in OURS.finished(ours).iterdir() if not path.name.startswith((".", "manifest")))
    read = "import hashlib, sys\nfor n in sys.argv[1:]:\n    hashlib.file_digest(open(n, 'rb'), 'sha256')"
    mine = [sys.executable, "-m", "voxtral_ops", "weights", "verify", "--deep", "--models", str(ours / "models")]
    hf = str(Path(sys.executable).parent / "hf")
    with bulk_hub(root / "upstream") as hub:
        commands: dict[str, list[str]] = {
            "voxtral-ops weights verify --deep": [*mine, "--release", str(release), NAME],
            "sha256sum": ["sha256sum", *files],
            "openssl dgst -sha256": ["openssl", "dgst", "-sha256", *files],
            "hf cache verify": [hf, "cache", "verify", REPOSITORY, "--revision", FIRST],
            "hashlib alone": [sys.executable, "-c", read, *files],
        }
        costs: dict[str, list[Cost]] = {name: [] for name in commands}
        for _ in range(runs):
            for name, command in commands.items():
                costs[name].append(cost(command, environment(hub, theirs)))
    return [middle("verify", name, each, megabytes) for name, each in costs.items()]


def again(root: Path) -> float:
    """Microseconds to verify 30 files that did not change since they were verified."""
    place = root / "again"
    place.mkdir()
    files = []
    for number in range(AGAIN):
        data = str(number).encode() * 1000
        (place / f"{number}.safetensors").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        files.append(ReleaseFile(path=f"{number}.safetensors", size=len(data), sha256=digest))
    write_stamps(place, {})
    if not verify_files(place, files).hashed or verify_files(place, files).hashed:
        raise RuntimeError("the second look was not free")
    return statistics.median(_timed(lambda: verify_files(place, files)) for _ in range(500)) * 1e6


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def table(rows: Sequence[Row], micro: float, load: tuple[float, float]) -> str:
    """The results in Markdown; ratios are against ours in the same part."""
    lines = ["| | wall s | MB/s | CPU s | peak MB | wall ÷ ours | CPU ÷ ours |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        ours = next(each for each in rows if each.part == row.part)
        numbers = f"{row.wall:.2f} | {row.rate:.0f} | {row.cpu:.2f} | {row.memory_mb:.0f}"
        ratios = f"{row.wall / ours.wall:.2f} | {row.cpu / ours.cpu:.2f}"
        lines.append(f"| {row.part}: {row.name} | {numbers} | {ratios} |")
    size = f"{rows[0].megabytes / 1000:.1f} GB, {os.cpu_count()} cores"
    return (
        "\n".join(lines)
        + f"\n\nVerifying {AGAIN} unchanged files again: {micro:.0f} µs.\n"
        + f"{size}; the machine's load was {load[0]:.1f} before and {load[1]:.1f} after.\n"
    )


def plot(rows: Sequence[Row], path: Path) -> None:
    """Horizontal bars: wall and CPU seconds."""
    import matplotlib  # noqa: PLC0415 - a bench without a plot need not load it

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(figsize=(8, 0.5 * len(rows) + 1))
    places = range(len(rows))
    axes.barh([place - 0.2 for place in places], [row.wall for row in rows], 0.4, color="#4c72b0", label="wall")
    axes.barh([place + 0.2 for place in places], [row.cpu for row in rows], 0.4, color="#dd8452", label="CPU")
    axes.set_yticks(list(places), [f"{row.part}: {row.name}" for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel(f"seconds for {rows[0].megabytes / 1000:.1f} GB")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="voxtral-bench-") as folder:
        root = Path(folder)
        hashes = upstream(root / "upstream", int(arguments.gigabytes * 1e9) >> 20)
        place = root / "upstream" / FIRST
        release = write_release(root / "release.json", model_of_files(place, hashes))
        megabytes = sum((place / name).stat().st_size for name in hashes) / 1e6
        rows = fetching((OURS, HUB), root, release, arguments.runs, megabytes)
        rows += verifying(root, release, arguments.runs, megabytes)
        micro = again(root)
    text = table(rows, micro, (before, os.getloadavg()[0]))
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "weights.md").write_text(text, encoding="utf-8")
    data = {"rows": [asdict(row) for row in rows], "again_us": micro, "load": before, "file": BIG}
    (RESULTS / "weights.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    plot(rows, RESULTS / "weights.svg")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
