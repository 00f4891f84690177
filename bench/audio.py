"""What it costs to make an hour of stereo ready for a model: ``python bench/audio.py [--runs N] [--minutes N]``.

Side by side in one run, in turns: CPU-seconds (children counted) and peak memory of this package (decode, resample,
mix, measure loudness, and read everything with the gain applied) against ffmpeg's command line, librosa, pydub and
faster-whisper's decoder, none of which measure loudness. Needs ffmpeg and uv; the rivals get an environment of their
own from bench/audio-rivals.txt. Writes bench/results/audio.md, .json and .svg.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
RESULTS = ROOT / "bench" / "results"
CACHE = ROOT / ".cache" / "bench"
FORMATS = ("mp3", "m4a", "flac", "ogg", "wav")
GOAL_CPU, GOAL_MB, GOAL_LU = 4.2, 128, 0.01

OURS = """
import json, re, sys
from voxtral_ops.audio import VoxtralAudioProcessor
from voxtral_ops.audio.decoder import POOL
audio = VoxtralAudioProcessor().load(sys.argv[1])
start, loudest = 0.0, 0.0
while start < audio.seconds:
    loudest = max(loudest, float(abs(audio.read(start, start + 60)).max()))
    start += 60
peaks = [int(re.search(r"VmHWM:\\s*(\\d+)", open(f"/proc/{pid}/status").read())[1]) / 1024
         for pid in ("self", *(each.pid for each in POOL._idle))]
print(json.dumps({"megabytes": sum(peaks), "loudness": audio.levels.loudness, "seconds": audio.seconds}))
"""
RIVALS = {
    "librosa": "import librosa, sys; librosa.load(sys.argv[1], sr=16000, mono=True)",
    "pydub": "import sys; from pydub import AudioSegment as A;"
    "A.from_file(sys.argv[1]).set_channels(1).set_frame_rate(16000).get_array_of_samples()",
    "faster-whisper": "import sys; from faster_whisper.audio import decode_audio; decode_audio(sys.argv[1])",
}
PYLOUDNORM = """
import sys, numpy, pyloudnorm
samples = numpy.frombuffer(sys.stdin.buffer.read(), "<i2") / 32768
print(pyloudnorm.Meter(16000).integrated_loudness(samples))
"""
SPEECH = """
[0:a]aresample=44100,asplit[left][before];[before]adelay=37[right];[left][right]join=inputs=2:channel_layout=stereo[voice];
anoisesrc=d={seconds}:c=pink:r=44100:a=0.01:s=1,asplit[n1][n2];[n2]adelay=500[n3];[n1][n3]join=inputs=2[noise];
[voice][noise]amix=inputs=2:duration=first
"""


@dataclass(frozen=True)
class Cost:
    """What one way took for one file: median CPU-seconds and wall seconds, largest memory."""

    way: str
    form: str
    cpu: float
    wall: float
    megabytes: float


def recordings(minutes: int) -> dict[str, Path]:
    """The same speech with noise, in stereo, in each format. Made once."""
    from tests.support.recordings import jfk  # noqa: PLC0415

    CACHE.mkdir(parents=True, exist_ok=True)
    base, seconds = CACHE / f"speech-{minutes}.wav", minutes * 60
    if not base.exists():
        graph = SPEECH.format(seconds=seconds).replace("\n", "")
        source = ("-stream_loop", "-1", "-i", str(jfk()), "-t", str(seconds), "-filter_complex", graph)
        _ffmpeg(*source, "-ar", "44100", "-c:a", "pcm_s16le", target=base)
    found = {"wav": base}
    for form in FORMATS[:-1]:
        found[form] = base.with_suffix(f".{form}")
        if not found[form].exists():
            _ffmpeg("-i", str(base), *(() if form == "flac" else ("-b:a", "128k")), target=found[form])
    return found


def _ffmpeg(*words: str, target: Path) -> None:
    part = target.with_name(f"part-{target.name}")
    subprocess.run(["ffmpeg", "-v", "error", "-y", *words, str(part)], check=True)
    part.replace(target)


def rivals_python() -> Path:
    """An environment with the rivals, made by uv from the pinned list."""
    folder = CACHE / "rivals"
    python = folder / "bin" / "python"
    listed = ROOT / "bench" / "audio-rivals.txt"
    made = folder / "made-from"
    if not made.exists() or made.read_bytes() != listed.read_bytes():
        subprocess.run(["uv", "venv", "--quiet", "--clear", "--python", "3.11", str(folder)], check=True)
        subprocess.run(["uv", "pip", "install", "--quiet", "--python", str(python), "-r", str(listed)], check=True)
        made.write_bytes(listed.read_bytes())
    return python


def ways(python: Path) -> dict[str, list[str]]:
    """How each one is asked; the file's name is appended (ffmpeg: put in its place)."""
    ffmpeg = ["ffmpeg", "-v", "error", "-threads", "1", "-i", "FILE", "-ac", "1", "-ar", "16000", "-f", "s16le", "-y"]
    found = {"voxtral_ops": [sys.executable, "-c", OURS, "FILE"], "ffmpeg": [*ffmpeg, "/dev/null"]}
    return found | {name: [str(python), "-c", code, "FILE"] for name, code in RIVALS.items()}


def once(command: list[str], file: Path) -> tuple[float, float, float, dict[str, Any]]:
    """CPU-seconds, wall seconds, megabytes and what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    began = time.perf_counter()
    process = subprocess.Popen(
        [str(file) if word == "FILE" else word for word in command], stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[:2]} failed on {file}")
    told = json.loads(printed) if printed.startswith(b"{") else {}
    megabytes = told.get("megabytes", used.ru_maxrss / 1024)
    return used.ru_utime + used.ru_stime, time.perf_counter() - began, megabytes, told


def measure(files: dict[str, Path], commands: dict[str, list[str]], runs: int) -> tuple[list[Cost], dict[str, float]]:
    """Each way on each file, in turns, so that a busy machine is busy for all. Also our loudness of each file."""
    seen: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    loudness: dict[str, float] = {}
    for turn in range(runs):
        for form, file in files.items():
            for way, command in commands.items():
                if turn and way in {"librosa", "pydub"}:
                    continue  # ten times slower: once is enough to see that
                cpu, wall, megabytes, told = once(command, file)
                seen.setdefault((way, form), []).append((cpu, wall, megabytes))
                if told:
                    loudness[form] = told["loudness"]
                print(f"{way:>15} {form:>4} {cpu:6.2f} CPU-s {megabytes:6.0f} MB", file=sys.stderr)
    costs = [
        Cost(
            way,
            form,
            round(statistics.median(cpu for cpu, _, _ in found), 2),
            round(statistics.median(wall for _, wall, _ in found), 2),
            round(max(megabytes for _, _, megabytes in found)),
        )
        for (way, form), found in seen.items()
    ]
    return costs, loudness


def loudness_error(files: dict[str, Path], ours: dict[str, float], python: Path) -> float:
    """The largest difference to pyloudnorm, in LU."""
    from voxtral_ops.audio import VoxtralAudioProcessor  # noqa: PLC0415

    worst = 0.0
    for form, file in files.items():
        audio = VoxtralAudioProcessor(loudness=None).load(file)
        pcm = audio.pcm.read(0, audio.count).tobytes()
        ran = subprocess.run([str(python), "-c", PYLOUDNORM], input=pcm, stdout=subprocess.PIPE, check=True)
        worst = max(worst, abs(float(ran.stdout) - ours[form]))
    return worst


def latency(files: dict[str, Path]) -> dict[str, float]:
    """Milliseconds that a voice command of three seconds waits, median of 30: plain WAV, MP3 warm, MP3 cold."""
    from voxtral_ops.audio import VoxtralAudioProcessor  # noqa: PLC0415
    from voxtral_ops.audio.decoder import POOL  # noqa: PLC0415

    load = VoxtralAudioProcessor().load
    command = load(files["wav"]).part(0, 3)
    mp3 = CACHE / "command.mp3"
    (CACHE / "command.wav").write_bytes(command.wav_bytes())
    _ffmpeg("-i", str(CACHE / "command.wav"), target=mp3)

    def median(source: Path, times: int, *, cold: bool = False) -> float:
        taken = []
        for _ in range(times):
            if cold:
                POOL.close()
            began = time.perf_counter()
            load(source)
            taken.append((time.perf_counter() - began) * 1000)
        return round(statistics.median(taken), 1)

    return {
        "plain WAV, in this process": median(CACHE / "command.wav", 30),
        "MP3, decoder kept warm": median(mp3, 30),
        "MP3, decoder started for it": median(mp3, 5, cold=True),
    }


def table(costs: list[Cost], facts: dict[str, Any]) -> str:
    """The result in Markdown."""
    cost = {(each.way, each.form): each for each in costs}
    ways_seen = list(dict.fromkeys(each.way for each in costs))
    lines = [
        f"CPU-seconds for {facts['minutes']} minutes of stereo (44.1 kHz), and peak MB; {facts['machine']}.",
        "voxtral_ops also measures loudness and applies the gain; the others do not.",
        "",
        "| | " + " | ".join(FORMATS) + " | peak MB |",
        "| --- |" + " --- |" * (len(FORMATS) + 1),
    ]
    for way in ways_seen:
        cells = [f"{cost[way, form].cpu:.2f}" for form in FORMATS]
        lines.append(f"| {way} | {' | '.join(cells)} | {max(cost[way, form].megabytes for form in FORMATS):.0f} |")
    for way in ways_seen[1:]:
        ratios = [f"{cost['voxtral_ops', form].cpu / cost[way, form].cpu:.2f}" for form in FORMATS]
        lines.append(f"| ours ÷ {way} | {' | '.join(ratios)} | |")
    lines += [
        "",
        f"- Loudness: at most {facts['loudness_error']:.4f} LU from pyloudnorm (goal {GOAL_LU}).",
        f"- Memory by length (MP3): {', '.join(f'{name} {mb:.0f} MB' for name, mb in facts['memory'].items())}"
        f" (goal {GOAL_MB}, flat).",
        *(f"- A voice command of 3 s, {name}: {taken} ms." for name, taken in facts["latency"].items()),
    ]
    return "\n".join(lines) + "\n"


def plot(costs: list[Cost], path: Path) -> None:
    """Bars in groups, one group for each format; the goal as a line."""
    import matplotlib  # noqa: PLC0415 - a bench without a plot need not load it

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    names = list(dict.fromkeys(each.way for each in costs))
    figure, axes = pyplot.subplots(figsize=(8, 4))
    for index, way in enumerate(names):
        heights = [next(each.cpu for each in costs if (each.way, each.form) == (way, form)) for form in FORMATS]
        axes.bar([place + index * 0.16 for place in range(len(FORMATS))], heights, 0.15, label=way)
    axes.axhline(GOAL_CPU, color="#c44e52", linestyle="--", linewidth=1, label=f"goal for MP3: {GOAL_CPU} CPU-s")
    axes.set_xticks([place + 0.32 for place in range(len(FORMATS))], [form.upper() for form in FORMATS])
    axes.set_yscale("log")
    axes.set_ylabel("CPU-seconds for an hour of stereo")
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path)


def main() -> int:
    """Measure, print the table, write table, numbers and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--minutes", type=int, default=60)
    arguments = parser.parse_args()
    for program in ("ffmpeg", "uv"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is needed (Debian: apt-get install ffmpeg; pip install uv)")
    files, python = recordings(arguments.minutes), rivals_python()
    costs, loudness = measure(files, ways(python), arguments.runs)
    facts = {
        "minutes": arguments.minutes,
        "machine": f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, median of {arguments.runs}",
        "loudness_error": loudness_error(files, loudness, python),
        "memory": memory(files["mp3"], arguments.minutes),
        "latency": latency(files),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "audio.md").write_text(table(costs, facts), encoding="utf-8")
    numbers = {**facts, "loudness": loudness, "costs": [asdict(each) for each in costs]}
    (RESULTS / "audio.json").write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    plot(costs, RESULTS / "audio.svg")
    print(table(costs, facts))
    return 0


def memory(mp3: Path, minutes: int) -> dict[str, float]:
    """Peak MB for a tenth of the MP3, all of it, and four times as much."""
    data, found = mp3.read_bytes(), {}
    for share in (0.1, 1, 4):
        file = CACHE / "length.mp3"
        file.write_bytes(data[: int(len(data) * share)] if share < 1 else data * int(share))
        found[f"{minutes * share:g} min"] = once([sys.executable, "-c", OURS, "FILE"], file)[2]
        file.unlink()
    return found


if __name__ == "__main__":
    sys.exit(main())
