"""`voxtral-ops audio`: what recordings are, what is wrong with them, and what would be sent of them."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from voxtral_ops.cli.main import program_name
from voxtral_ops.cli.output import complain, emit

if TYPE_CHECKING:
    from voxtral_ops.audio import Audio, VoxtralAudioProcessor

EXAMPLES = """examples:
  voxtral-ops audio inspect talk.mp3
  voxtral-ops audio inspect *.m4a --json
  arecord -d 5 -f cd - | voxtral-ops audio inspect -
"""
LONGEST = 30.0
"""Seconds: what one segment of a long recording has at most."""
LIE = 0.02
"""The share by which a claimed length may differ from what is there: encoders pad."""
SHOWN = 6
"""Stretches of speech that are listed for a person; --json has all."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The verb, and which recordings."""
    parser.add_argument("verb", choices=["inspect"])
    parser.add_argument("files", nargs="+", metavar="FILE", help="a recording of any common format; - is stdin")


def run(args: argparse.Namespace) -> int:
    """Inspect each file. 0: all are good, 1: something is wrong with one, 2: none can be read."""
    from voxtral_ops.audio import Voice, VoxtralAudioProcessor  # noqa: PLC0415
    from voxtral_ops.config import VoxtralConfig  # noqa: PLC0415
    from voxtral_ops.errors import VoxtralError  # noqa: PLC0415
    from voxtral_ops.manager import whisper_setup  # noqa: PLC0415

    processor = VoxtralAudioProcessor(voice=Voice(whisper_setup(VoxtralConfig.load()).python))
    results: list[dict[str, Any]] = []
    for file in args.files:
        try:
            found = _inspected(_load(processor, file))
        except VoxtralError as error:
            complain(error, debug=args.debug, program=program_name())
            results.append({"file": file, "ok": False, "error": error.as_dict()})
            continue
        results.append({"file": file, "ok": not found["problems"], **found})
        if not args.json:
            emit(args, None, _text(file, found))
    emit(args, {"ok": all(result["ok"] for result in results), "results": results}, "")
    if all("error" in result for result in results):
        return 2
    return 0 if all(result["ok"] for result in results) else 1


def _load(processor: VoxtralAudioProcessor, file: str) -> Audio:
    return processor.load(sys.stdin.buffer, name="stdin") if file == "-" else processor.load(file)


def _inspected(audio: Audio) -> dict[str, Any]:
    from voxtral_ops.audio import RATE, segments  # noqa: PLC0415

    quality = audio.quality
    cut = segments(audio, LONGEST)
    sent = sum(span.seconds for span in cut)
    return {
        "container": audio.container,
        "codec": audio.codec,
        "rate": audio.rate,
        "channels": audio.channels,
        "seconds": round(audio.seconds, 3),
        "claimed_seconds": audio.claimed,
        "sha256": audio.sha256,
        "quality": asdict(quality),
        "problems": _problems(audio) + list(quality.problems),
        "speech": [asdict(span) for span in audio.speech],
        "sent": {
            "rate": RATE,
            "channels": 1,
            "gain": audio.levels.gain,
            "segments": [asdict(span) for span in cut],
            "seconds": round(sent, 3),
            "bytes": 2 * round(sent * RATE) + 44 * len(cut),
        },
    }


def _problems(audio: Audio) -> list[str]:
    found = []
    if audio.damaged:
        found.append(f"{audio.damaged} packets are damaged and were left out")
    if audio.claimed is not None and abs(audio.claimed - audio.seconds) > max(0.2, LIE * audio.seconds):
        found.append(f"it claims {audio.claimed:.2f} s and holds {audio.seconds:.2f} s")
    return found


def _text(file: str, found: dict[str, Any]) -> str:
    quality, sent = found["quality"], found["sent"]
    channels = {1: "mono", 2: "stereo"}.get(found["channels"], f"{found['channels']} channels")
    loudness = "silent" if quality["loudness"] is None else f"{quality['loudness']:.1f} LUFS"
    snr = "" if quality["snr"] is None else f", speech {quality['snr']:.0f} dB above the noise"
    form = f"{found['codec']} in {found['container']}, {found['rate']} Hz {channels}"
    lines = [
        file,
        f"  is        {form}, {found['seconds']:.2f} s",
        f"  loudness  {loudness}, peak {quality['peak']:.1f} dBFS, {quality['clipping']:.2%} clipped{snr}",
        f"  speech    {quality['speech']:.0%} of it ({quality['detector']}){_spans(found['speech'])}",
        f"  sent      {sent['rate']} Hz mono, {sent['gain']:+.1f} dB, {len(sent['segments'])} segment(s),"
        f" {sent['seconds']:.1f} s, {sent['bytes']} bytes",
    ]
    return "\n".join([*lines, *(f"  wrong     {problem}" for problem in found["problems"])])


def _spans(spans: list[dict[str, Any]]) -> str:
    shown = ", ".join(f"{span['start']:.1f}-{span['stop']:.1f}" for span in spans[:SHOWN])
    more = f" and {len(spans) - SHOWN} more" if len(spans) > SHOWN else ""
    return f": {shown}{more}" if shown else ""
