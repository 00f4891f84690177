"""A long recording and an odd one: ``python bench/long.py --server URL [--minutes 120]``.

Needs a running server, as `voxtral-ops up` leaves one. Two questions, each answered side by side on that server:

1. How much sooner is a long recording heard when its pieces are sent together than one at a time, and are the words
   the same? The recording is golden clips with pauses between them, cut as `voxtral-ops transcribe` cuts.
2. What does it cost the *server* to be sent a recording as it was made, instead of 16 kHz mono? CPU seconds of the
   server's processes for the same sound as WAV of 16 kHz, as WAV of 48 kHz stereo and as MP3 of 48 kHz stereo.

Writes bench/results/long.md, .json and .svg.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voxtral_ops.audio import RATE, Audio, VoxtralAudioProcessor, segments
from voxtral_ops.server.golden import golden_clips
from voxtral_ops.speech import VoxtralBackend, word_error_rate
from voxtral_ops.speech.connection import Connections, upload
from voxtral_ops.speech.recording import Listening, listen
from voxtral_ops.speech.voxtral import PATH, Endpoint

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
PAUSE = 1.5
ODD_RATE = 48_000


@dataclass(frozen=True)
class Row:
    """One way: wall seconds, CPU seconds of the server and of this process, and what was found in the words."""

    name: str
    wall: float
    server_cpu: float
    client_cpu: float
    note: str = ""


def lecture(minutes: float) -> Audio:
    """Golden clips one after the other, with pauses, for so many minutes."""
    quiet = np.zeros(round(PAUSE * RATE), np.float32)
    sounds = [VoxtralAudioProcessor().load(clip.path).samples for clip in golden_clips() if clip.text]
    once = np.concatenate([part for sound in sounds for part in (sound, quiet)])
    return Audio.of(np.tile(once, max(1, round(minutes * 60 * RATE / len(once)))), source="lecture")


def server_cpu(port: int) -> float:
    """CPU seconds of the process that listens on the port and of all its children."""
    from voxtral_ops.hardware.holders import listeners  # noqa: PLC0415

    holder = next(each["pid"] for each in listeners(Path("/proc")) if each["port"] == port)
    parents, ticks = dict[int, int](), dict[int, int]()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
        ticks[int(stat.parent.name)] = int(fields[11]) + int(fields[12])
    family = {holder}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(ticks[pid] for pid in family) / os.sysconf("SC_CLK_TCK")


def timed(name: str, port: int, work: Callable[[], str]) -> Row:
    """Do it once and count."""
    before, mine, began = server_cpu(port), time.process_time(), time.perf_counter()
    note = work()
    wall, own = time.perf_counter() - began, time.process_time() - mine
    return Row(name, round(wall, 2), round(server_cpu(port) - before, 2), round(own, 2), note)


def together(url: str, port: int, minutes: float) -> list[Row]:
    """One piece at a time against several."""
    backend, audio = VoxtralBackend(Endpoint(url)), lecture(minutes)
    longest = backend.served().longest
    count = len(segments(audio, longest))
    texts: list[str] = []

    def hear(at_once: int) -> str:
        how = Listening(lambda piece: backend.transcribe(piece, "en"), longest=longest, concurrency=at_once)
        texts.append(listen(audio, how).text)
        off = word_error_rate(texts[0], texts[-1])
        return f"{count} pieces, {off:.2%} of the words differ from the first row's"

    hear(2)  # a server that has just started is slower
    texts.clear()
    rows = [timed(f"{at_once} at a time", port, lambda at_once=at_once: hear(at_once)) for at_once in (1, 2, 4, 8)]
    backend.close()
    return rows


def as_made(url: str, port: int, requests: int) -> list[Row]:
    """The same sound as a phone or a camera would store it."""
    audio = lecture(0.1).part(0, 9.5)
    backend = VoxtralBackend(Endpoint(url))
    model = backend.served().served_name
    kinds = {
        "WAV, 16 kHz mono (what we send)": audio.wav_bytes(),
        "WAV, 48 kHz stereo": encoded(audio, "wav", "pcm_s16le"),
        "MP3, 48 kHz stereo": encoded(audio, "mp3", "libmp3lame"),
    }
    connections = Connections(url, connect_timeout=5, timeout=300)

    def send(data: bytes) -> str:
        fields = {"model": model, "response_format": "json", "temperature": "0", "language": "en"}
        texts = {connections.post(PATH, upload(fields, "clip", [data])).body for _ in range(requests)}
        return f"{len(data) / 1e6:.2f} MB, {requests} requests, answers: {len(texts)} kind(s)"

    for data in kinds.values():
        send(data)
    rows = [timed(name, port, lambda data=data: send(data)) for name, data in kinds.items()]
    connections.close()
    backend.close()
    return rows


def encoded(audio: Audio, container: str, codec: str) -> bytes:
    """Stereo at 48 kHz, by PyAV."""
    import av  # noqa: PLC0415

    sound = audio.read()
    wide = np.interp(np.arange(0, len(sound), RATE / ODD_RATE), np.arange(len(sound)), sound).astype(np.float32)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=ODD_RATE, layout="stereo")
        shape = "s16" if codec.startswith("pcm") else "fltp"
        resampler = av.AudioResampler(format=shape, layout="stereo", rate=ODD_RATE)
        frame = av.AudioFrame.from_ndarray(np.stack([wide, wide]), format="fltp", layout="stereo")
        frame.sample_rate = ODD_RATE
        for part in resampler.resample(frame):
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return buffer.getvalue()


def table(title: str, rows: Sequence[Row]) -> str:
    """One question's answer in Markdown."""
    first = rows[0]
    lines = [f"**{title}**", "", "| | wall s | of the first | server CPU s | of the first | client CPU s | |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        shares = f"{row.wall / first.wall:.2f}", f"{row.server_cpu / max(first.server_cpu, 0.01):.2f}"
        lines.append(
            f"| {row.name} | {row.wall:.1f} | {shares[0]} | {row.server_cpu:.1f} | {shares[1]} | {row.client_cpu:.1f} "
            f"| {row.note} |"
        )
    return "\n".join([*lines, ""])


def plot(rows: Sequence[Row], odd: Sequence[Row], path: Path) -> None:
    """Wall time of the first question, server CPU of the second."""
    import matplotlib  # noqa: PLC0415

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 2.6))
    left.barh([row.name for row in rows], [row.wall for row in rows], color="#4c72b0")
    left.set_xlabel("wall seconds for the whole recording")
    right.barh([row.name for row in odd], [row.server_cpu for row in odd], color="#55a868")
    right.set_xlabel("CPU seconds of the server")
    for axes in (left, right):
        axes.invert_yaxis()
    figure.tight_layout()
    figure.savefig(path)


def main() -> int:
    """Measure, print the tables, write tables and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="http://127.0.0.1:8000")
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--requests", type=int, default=60)
    args = parser.parse_args()
    port = int(args.server.rsplit(":", 1)[1])
    rows, odd = together(args.server, port, args.minutes), as_made(args.server, port, args.requests)
    RESULTS.mkdir(parents=True, exist_ok=True)
    load = f"{len(os.sched_getaffinity(0))} cores, load of the machine at the end: {os.getloadavg()[0]:.1f}.\n"
    text = "\n".join(
        [table(f"{args.minutes:g} minutes in pieces", rows), table("The same sound as it was made", odd), load]
    )
    (RESULTS / "long.md").write_text(text, encoding="utf-8")
    found = {"pieces": [asdict(row) for row in rows], "as made": [asdict(row) for row in odd]}
    (RESULTS / "long.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    plot(rows, odd, RESULTS / "long.svg")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
