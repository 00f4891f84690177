"""What a request costs the application: ``python bench/client.py [--requests N]``.

Sends the same 1 MB recording to a trivial server in another process, through this package's connections and through
openai-python, synchronous and asynchronous, in turns. Preparing the sound is left out: everybody sends the same bytes.
CPU milliseconds of the client for one request (median of the turns), and requests a second over one connection.
Writes bench/results/client.md, .json and .svg.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
SIZE = 1 << 20
GOAL = 0.8
REPLY = b'{"text": "turn on the kitchen lights"}'


@dataclass(frozen=True)
class Row:
    """One client: CPU milliseconds a request and requests a second."""

    name: str
    cpu_ms: float
    rate: float


def serve(port: Any) -> None:
    """Read whatever is posted and answer the same words."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(REPLY)}\r\n\r\n".encode()
        try:
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                if b"chunked" in request.lower():
                    while await reader.readuntil(b"\r\n") != b"0\r\n":
                        pass
                fields = dict(line.split(b": ", 1) for line in request.lower().split(b"\r\n")[1:] if b": " in line)
                rest = int(fields.get(b"content-length", 0))
                while rest:
                    rest -= len(await reader.read(min(rest, 1 << 20)))
                writer.write(head + REPLY)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=1 << 20)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


@contextmanager
def server() -> Iterator[str]:
    """The server's address while the block lasts."""
    context = multiprocessing.get_context("spawn")
    port = context.Queue()
    process = context.Process(target=serve, args=(port,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{port.get(timeout=60)}"
    finally:
        process.kill()
        process.join()


def clients(url: str, recording: bytes) -> dict[str, Callable[[int], None]]:
    """Each client as a function that sends so many requests one after the other."""
    ours, theirs = our_client(url, recording), openai_client(url, recording)

    async def ours_asyncio(count: int) -> None:
        for _ in range(count):
            await asyncio.to_thread(ours, 1)

    return {
        "voxtral_ops": ours,
        "voxtral_ops, asyncio": lambda count: asyncio.run(ours_asyncio(count)),
        "openai-python": theirs,
        "openai-python, asyncio": lambda count: asyncio.run(openai_asyncio(url, recording, count)),
    }


def our_client(url: str, recording: bytes) -> Callable[[int], None]:
    """What VoxtralBackend does with a recording that is ready."""
    from voxtral_ops.speech.connection import Connections, upload  # noqa: PLC0415
    from voxtral_ops.speech.voxtral import PATH  # noqa: PLC0415

    connections = Connections(url, connect_timeout=5, timeout=60)
    fields = {"model": "m", "response_format": "json", "temperature": "0"}

    def send(count: int) -> None:
        for _ in range(count):
            json.loads(connections.post(PATH, upload(fields, "recording.wav", [recording])).body)

    return send


def openai_client(url: str, recording: bytes) -> Callable[[int], None]:
    """The same with the client that most people take."""
    import openai  # noqa: PLC0415

    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

    def send(count: int) -> None:
        for _ in range(count):
            client.audio.transcriptions.create(file=("recording.wav", recording), model="m", temperature=0)

    return send


async def openai_asyncio(url: str, recording: bytes, count: int) -> None:
    """The same again, asynchronous."""
    import openai  # noqa: PLC0415

    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        for _ in range(count):
            await client.audio.transcriptions.create(file=("recording.wav", recording), model="m", temperature=0)


def measure(requests: int, turns: int = 5) -> list[Row]:
    """Every client in turn, so that a busy moment of the machine hits them alike."""
    found: dict[str, list[tuple[float, float]]] = {}
    with server() as url:
        subjects = clients(url, os.urandom(SIZE))
        for turn in range(turns + 1):
            for name, send in subjects.items():
                cpu, wall = time.process_time(), time.perf_counter()
                send(requests)
                took = (time.process_time() - cpu, time.perf_counter() - wall)
                if turn:  # the first one warms up
                    found.setdefault(name, []).append(took)
    return [
        Row(
            name,
            round(statistics.median(cpu for cpu, _ in all_turns) / requests * 1000, 3),
            round(requests / statistics.median(wall for _, wall in all_turns)),
        )
        for name, all_turns in found.items()
    ]


def table(rows: list[Row]) -> str:
    """The result in Markdown."""
    ours = rows[0].cpu_ms
    lines = ["| client | CPU ms a request of 1 MB | of ours | requests a second |", "| --- | --- | --- | --- |"]
    lines += [f"| {row.name} | {row.cpu_ms:.2f} | {row.cpu_ms / ours:.1f} x | {row.rate:.0f} |" for row in rows]
    load = os.getloadavg()[0]
    return "\n".join([*lines, "", f"Goal: {GOAL} ms. Load of the machine at the end: {load:.1f}.", ""])


def plot(rows: list[Row], path: Path) -> None:
    """Horizontal bars of CPU time, the goal as a line."""
    import matplotlib  # noqa: PLC0415

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(figsize=(8, 2.4))
    axes.barh([row.name for row in rows], [row.cpu_ms for row in rows], color="#4c72b0")
    axes.axvline(GOAL, color="#c44e52", linewidth=2)
    axes.invert_yaxis()
    axes.set_xlabel("CPU milliseconds of the client for one request of 1 MB (red: goal)")
    figure.tight_layout()
    figure.savefig(path)


def main() -> int:
    """Measure, print the table, write table and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200)
    rows = measure(parser.parse_args().requests)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "client.md").write_text(table(rows), encoding="utf-8")
    (RESULTS / "client.json").write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    plot(rows, RESULTS / "client.svg")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
