"""Run inside an engine's virtual environment: ``python engine_probe.py CLIP…``; prints JSON.

Imports what vLLM needs for audio and decodes each clip the way vLLM does (soundfile first, PyAV where that fails).
Standard library and the engine's own packages only: voxtral_ops is not installed there.
"""

from __future__ import annotations

import importlib
import io
import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

MODULES = {
    "torch": "torch",
    "soundfile": "soundfile",
    "soxr": "soxr",
    "av": "av",
    "scipy": "scipy",
    "mistral-common": "mistral_common",
}
# torchaudio comes with CUDA, and older engines resample with resampy: looked at where they are installed.
SOME_BUILDS = ("torchaudio", "resampy")
# Read, not imported: importing vLLM takes tens of seconds.
DISTRIBUTIONS = ("vllm", "transformers", *MODULES)


def versions() -> dict[str, str]:
    """Distribution → version; absent ones are left out."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def broken_imports() -> dict[str, str]:
    """Package → why it cannot be imported."""
    broken = {}
    wanted = dict(MODULES)
    for name in SOME_BUILDS:
        try:
            version(name)
            wanted[name] = name
        except PackageNotFoundError:
            pass
    for name, module in wanted.items():
        try:
            importlib.import_module(module)
        except Exception as error:  # a broken native library raises anything
            broken[name] = f"{type(error).__name__}: {error}"
    return broken


def decoded_seconds(data: bytes) -> float:
    """Seconds of sound in a file, counted in decoded samples; the container's own word is not taken."""
    import soundfile  # noqa: PLC0415

    try:
        samples, rate = soundfile.read(io.BytesIO(data))
        return len(samples) / float(rate)
    except soundfile.LibsndfileError:
        import av  # noqa: PLC0415

        with av.open(io.BytesIO(data), mode="r") as container:
            return float(
                sum(frame.samples / frame.sample_rate for frame in container.decode(container.streams.audio[0]))
            )


def main(clips: list[str]) -> int:
    """Print what is here and what is wrong with it."""
    broken = broken_imports()
    decoded: dict[str, float] = {}
    undecoded: dict[str, str] = {}
    for clip in map(Path, clips):
        try:
            decoded[clip.name] = round(decoded_seconds(clip.read_bytes()), 3)
        except Exception as error:  # whatever it is, this format does not work here
            undecoded[clip.name] = f"{type(error).__name__}: {error}"
    report = {"python": platform.python_version(), "versions": versions(), "broken": broken}
    print(json.dumps({**report, "decoded": decoded, "undecoded": undecoded}))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
