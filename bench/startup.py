"""How long a person waits before anything happens: ``python bench/startup.py [--runs N]``.

Measures, side by side in one run, importing this package and starting its command against what else one would
import or start. Wall milliseconds (median) and CPU milliseconds (median, children counted). Writes
bench/results/startup.md and .svg.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"


@dataclass(frozen=True)
class Row:
    """One thing measured: its name, median wall and CPU milliseconds, and the goal in ms where there is one."""

    name: str
    wall: float
    cpu: float
    goal: float | None


def subjects() -> list[tuple[str, list[str], float | None]]:
    """What is measured: name, command, goal. A command that is not installed here is left out."""
    python = sys.executable
    binaries = Path(python).parent
    rows: list[tuple[str, list[str], float | None]] = [("python (nothing)", [python, "-c", ""], None)]
    for module, goal in (("voxtral_ops", 40.0), ("pydantic", None), ("openai", None), ("huggingface_hub", None)):
        rows.append((f"import {module}", [python, "-c", f"import {module}"], goal))
    rows.append(("./voxtral version", [str(ROOT / "voxtral"), "version"], 150.0))
    rows.append(("./voxtral --help", [str(ROOT / "voxtral"), "--help"], None))
    for tool in ("ansible", "uv"):
        program = shutil.which(tool, path=str(binaries))
        if program:
            rows.append((f"{tool} --version", [program, "--version"], None))
    return rows


def measure(command: list[str], runs: int) -> tuple[float, float]:
    """Median wall and CPU milliseconds of a command, after one run that warms the caches."""
    walls, cpus = [], []
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(runs + 1):
        before, began = os.times(), time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, env=environment)
        walls.append((time.perf_counter() - began) * 1000)
        after = os.times()
        cpus.append(
            (after.children_user + after.children_system - before.children_user - before.children_system) * 1000
        )
    return statistics.median(walls[1:]), statistics.median(cpus[1:])


def table(rows: list[Row]) -> str:
    """The result in Markdown. The import rows are also given without the interpreter's own start."""
    base = rows[0]
    lines = ["| what | wall ms | CPU ms | wall ms above bare python | goal |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        goal = "" if row.goal is None else f"≤ {row.goal:.0f} ms"
        lines.append(f"| {row.name} | {row.wall:.0f} | {row.cpu:.0f} | {row.wall - base.wall:.0f} | {goal} |")
    return "\n".join(lines) + "\n"


def plot(rows: list[Row], path: Path) -> None:
    """Horizontal bars of wall time, goals as a mark."""
    import matplotlib  # noqa: PLC0415 - a bench without a plot need not load it

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(figsize=(8, 0.45 * len(rows) + 1))
    axes.barh([row.name for row in rows], [row.wall for row in rows], color="#4c72b0")
    for index, row in enumerate(rows):
        if row.goal is not None:
            axes.plot([row.goal, row.goal], [index - 0.4, index + 0.4], color="#c44e52", linewidth=2)
    axes.invert_yaxis()
    axes.set_xlabel("wall milliseconds, median (red: goal)")
    figure.tight_layout()
    figure.savefig(path)


def main() -> int:
    """Measure, print the table, write table and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    rows = [Row(name, *measure(command, runs), goal) for name, command, goal in subjects()]
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "startup.md").write_text(table(rows), encoding="utf-8")
    plot(rows, RESULTS / "startup.svg")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
