"""What a recording costs the server before the model hears it: ``python bench/audio_server.py --engine DIR``.

The decoding function of the engine's own vLLM, on thirty seconds as people have them (stereo MP3, M4A and FLAC of
48 kHz) and as this package sends them (16 kHz mono WAV). Median CPU-milliseconds. Writes bench/results/audio-server.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
RESULT = ROOT / "bench" / "results" / "audio-server.md"

PROBE = """
import io, json, statistics, sys, time
from vllm.multimodal.media.audio import load_audio
taken = {}
for path in sys.argv[2:]:
    data = open(path, "rb").read()
    times = []
    for _ in range(int(sys.argv[1]) + 1):
        began = time.process_time()
        load_audio(io.BytesIO(data), sr=16000)
        times.append((time.process_time() - began) * 1000)
    taken[path] = statistics.median(times[1:])
print(json.dumps(taken))
"""


def clips(folder: Path) -> dict[str, Path]:
    """Half a minute of speech in stereo, and what this package makes of it."""
    from tests.support.recordings import jfk  # noqa: PLC0415
    from voxtral_ops.audio import VoxtralAudioProcessor  # noqa: PLC0415

    base, found = folder / "speech.wav", {}
    source = ("-stream_loop", "-1", "-i", str(jfk()), "-t", "30", "-ac", "2", "-ar", "48000")
    subprocess.run(["ffmpeg", "-v", "error", *source, str(base)], check=True)
    for form in ("mp3", "m4a", "flac"):
        found[f"{form}, 48 kHz stereo"] = folder / f"speech.{form}"
        subprocess.run(["ffmpeg", "-v", "error", "-i", str(base), str(folder / f"speech.{form}")], check=True)
    sent = folder / "sent.wav"
    sent.write_bytes(VoxtralAudioProcessor().load(base).wav_bytes())
    return {**found, "as sent: WAV, 16 kHz mono": sent}


def main() -> int:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=Path, required=True, help="an engine's environment, as `engine list` names it")
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = clips(Path(folder))
        command = [str(arguments.engine / "bin" / "python"), "-I", "-c", PROBE, str(arguments.runs)]
        ran = subprocess.run([*command, *map(str, files.values())], stdout=subprocess.PIPE, check=True)
    taken = json.loads(ran.stdout.splitlines()[-1])
    cheapest = min(taken.values())
    lines = ["| 30 seconds of speech | CPU ms in the server | times the cheapest |", "| --- | --- | --- |"]
    lines += [f"| {name} | {taken[str(p)]:.1f} | {taken[str(p)] / cheapest:.0f} |" for name, p in files.items()]
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
