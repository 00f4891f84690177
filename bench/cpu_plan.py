"""Nano on this machine's processor, as planned and as vLLM would do it: ``python bench/cpu_plan.py --engine DIR``.

Real servers stand side by side; rounds of the same load go to one after the other, the order turned about each time,
so that whatever else the machine does meets all of them. Requests per second, the 95th percentile of their
latency, and processor seconds a request, at several numbers of clients. Writes bench/results/cpu_plan.md, .json, .svg.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.serving import Server, nano_plan, serving
from voxtral_ops.planning.plan import Instance
from voxtral_ops.server.golden import golden_clips

RESULTS = Path(__file__).resolve().parent / "results"
OURS = ("enforce-eager", "max-num-seqs", "max-num-batched-tokens", "dtype")
"""What the plan sets for speed; vLLM has a default for each."""
THREADS = ("OMP_NUM_THREADS", "VLLM_CPU_OMP_THREADS_BIND")


@dataclass(frozen=True)
class Round:
    """One round of load on one server."""

    variant: str
    clients: int
    requests_per_second: float
    p95: float
    cpu_per_request: float


def variants(plan: Instance) -> dict[str, Instance]:
    """The plan, vLLM's own choices, and the plan with one thing changed.

    All have the plan's cache: vLLM's own takes 92 % of the machine's memory, and a second server would not start.
    """
    environment = {name: value for name, value in plan.environment.items() if name not in THREADS}
    arguments = {name: value for name, value in plan.arguments.items() if name not in OURS}
    cores = str(len(os.sched_getaffinity(0)))
    changed = {
        "planned": {},
        "vLLM's defaults": {"arguments": arguments, "environment": environment},
        "planned, compiled": {"arguments": {k: v for k, v in plan.arguments.items() if k != "enforce-eager"}},
        f"planned, {cores} threads": {"environment": {**plan.environment, "OMP_NUM_THREADS": cores}},
        "planned, vLLM binds": {"environment": environment},
    }
    return {name: plan.model_copy(update=changes) for name, changes in changed.items()}


def transcribe(server: Server, clip: bytes) -> float:
    """One request; its seconds. Raises when the answer has no words."""
    boundary = "voxtral-bench"
    fields = {"model": server.model, "language": "en", "temperature": "0"}
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{fields[key]}\r\n' for key in fields]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="clip.flac"\r\n\r\n'
    body = "".join(parts).encode() + head.encode() + clip + f"\r\n--{boundary}--\r\n".encode()
    request = urllib.request.Request(
        f"{server.url}/v1/audio/transcriptions",
        data=body,
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    began = time.perf_counter()
    with urllib.request.urlopen(request, timeout=120) as response:
        answer = json.load(response)
    if not answer["text"].strip():
        raise RuntimeError("no words came back")
    return time.perf_counter() - began


def load(name: str, server: Server, clips: list[bytes], clients: int, seconds: float) -> Round:
    """So many clients, each sending its next request when the last was answered, until the time is up."""
    before, began = server.cpu_seconds(), time.perf_counter()

    def client(number: int) -> list[float]:
        took = []
        while time.perf_counter() - began < seconds:
            took.append(transcribe(server, clips[(number + len(took)) % len(clips)]))
        return took

    with ThreadPoolExecutor(clients) as pool:
        took = sorted(second for mine in pool.map(client, range(clients)) for second in mine)
    rate = len(took) / (time.perf_counter() - began)
    p95 = took[min(len(took) - 1, int(0.95 * len(took)))]
    return Round(name, clients, rate, p95, (server.cpu_seconds() - before) / len(took))


def table(rounds: list[Round], starts: dict[str, float], facts: str) -> str:
    """Medians over the rounds, in Markdown, with the slowest and fastest round."""
    lines = [
        facts,
        "",
        "| variant | clients | requests/s (slowest to fastest round) | p95 s | CPU s a request | start s |",
    ]
    lines.append("| --- | --: | --: | --: | --: | --: |")
    for name in dict.fromkeys(each.variant for each in rounds):
        for clients in sorted({each.clients for each in rounds}):
            mine = [each for each in rounds if (each.variant, each.clients) == (name, clients)]
            rates = [each.requests_per_second for each in mine]
            rate = f"{statistics.median(rates):.2f} ({min(rates):.2f} to {max(rates):.2f})"
            p95 = statistics.median(each.p95 for each in mine)
            cpu = statistics.median(each.cpu_per_request for each in mine)
            lines.append(f"| {name} | {clients} | {rate} | {p95:.2f} | {cpu:.3f} | {starts[name]:.0f} |")
    return "\n".join(lines) + "\n"


def plot(rounds: list[Round], path: Path) -> None:
    """Every round as a point, the medians as lines."""
    import matplotlib  # noqa: PLC0415

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4))
    clients = sorted({each.clients for each in rounds})
    for name in dict.fromkeys(each.variant for each in rounds):
        for chart, field in ((axes[0], "requests_per_second"), (axes[1], "p95")):
            mine = {
                count: [getattr(each, field) for each in rounds if (each.variant, each.clients) == (name, count)]
                for count in clients
            }
            (line,) = chart.plot(clients, [statistics.median(mine[count]) for count in clients], label=name)
            for count in clients:
                chart.plot([count] * len(mine[count]), mine[count], ".", color=line.get_color(), alpha=0.5)
    for chart, label in zip(axes, ("requests per second", "95th percentile, seconds"), strict=True):
        chart.set_xlabel("clients")
        chart.set_xticks(clients)
        chart.set_ylabel(label)
        chart.set_ylim(bottom=0)
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path)


def main() -> int:
    """Start the servers, send the rounds, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=Path, required=True, help="an installed engine's directory")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each round")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 8])
    args = parser.parse_args()
    clips = [clip.path.read_bytes() for clip in golden_clips() if clip.container == "flac"]
    rounds: list[Round] = []
    starts: dict[str, float] = {}
    plans = variants(nano_plan())
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        began = time.monotonic()

        def start(index: int, name: str) -> Server:
            server = stack.enter_context(serving(args.engine, plans[name], Path(folder) / f"s{index}"))
            starts[name] = time.monotonic() - began
            load(name, server, clips, max(args.clients), args.seconds)
            return server

        with ThreadPoolExecutor(len(plans)) as pool:
            servers = dict(zip(plans, pool.map(start, range(len(plans)), plans), strict=True))
        busy = os.getloadavg()[0]
        for number in range(args.rounds):
            order = list(servers) if number % 2 == 0 else list(reversed(servers))
            for clients in args.clients:
                rounds += [load(name, servers[name], clips, clients, args.seconds) for name in order]
    facts = (
        f"{len(os.sched_getaffinity(0))} cores, {args.rounds} rounds of {args.seconds:g} s with golden clips; "
        "all servers were started at once; the machine's load was "
        f"{busy:.1f} when they began and {os.getloadavg()[0]:.1f} when they ended."
    )
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "cpu_plan.md").write_text(table(rounds, starts, facts), encoding="utf-8")
    data = {"facts": facts, "starts": starts, "rounds": [asdict(each) for each in rounds]}
    (RESULTS / "cpu_plan.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    plot(rounds, RESULTS / "cpu_plan.svg")
    print(table(rounds, starts, facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
