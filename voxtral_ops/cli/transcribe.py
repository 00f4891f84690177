"""`voxtral-ops transcribe`: recordings in, words on stdout or into files, decisions on stderr."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxtral_ops.cli.main import program_name
from voxtral_ops.cli.output import colour, complain, emit, say
from voxtral_ops.cli.recordings import STDIN, recordings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voxtral_ops.manager import VoxtralManager
    from voxtral_ops.speech.batch import Heard
    from voxtral_ops.speech.formats import Format

EXAMPLES = """examples:
  voxtral-ops transcribe talk.mp3
  voxtral-ops transcribe interviews/ --format srt --output-dir subtitles
  voxtral-ops transcribe lecture.m4a --resume       two hours; stop it and it goes on where it was
  voxtral-ops transcribe *.m4a --json
  voxtral-ops transcribe command.wav --backend voxtral
  arecord -d 5 -f cd - | voxtral-ops transcribe -
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Which recordings, who should hear them, and where the words go."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="a recording, a folder or a pattern; - is stdin")
    parser.add_argument(
        "--backend",
        choices=("auto", "voxtral", "whisper"),
        help="auto: Voxtral, and Whisper when it must be (the default)",
    )
    parser.add_argument("--language", metavar="XX", help="two letters, as en or fr (found out when not given)")
    parser.add_argument("--format", choices=("text", "json", "verbose_json", "srt", "vtt"), default="text")
    parser.add_argument("--output-dir", type=Path, metavar="DIR", help="one file for each recording instead of stdout")
    parser.add_argument("--concurrency", type=_count, default=2, metavar="N", help="recordings at a time (%(default)s)")
    parser.add_argument("--resume", action="store_true", help="keep what is heard of long ones, and go on from there")
    parser.add_argument("--server", metavar="URL", help="the server (this host's own)")
    parser.add_argument("--model", metavar="NAME", help="the served name of the model (the one that is served)")


def _count(word: str) -> int:
    if not word.isdigit() or not 1 <= int(word) <= 64:
        raise argparse.ArgumentTypeError("a number from 1 to 64")
    return int(word)


def run(args: argparse.Namespace) -> int:
    """Transcribe each file. 0: all of them, 1: some, 2: none."""
    from voxtral_ops.config import VoxtralConfig  # noqa: PLC0415
    from voxtral_ops.manager import VoxtralManager  # noqa: PLC0415
    from voxtral_ops.speech.formats import TIMED  # noqa: PLC0415

    config = VoxtralConfig.load(server=args.server, model=args.model, backend=args.backend)
    files, began = recordings(args.files), time.monotonic()
    if args.output_dir is not None:
        _ready(args.output_dir)
    heard: dict[str, Heard] = {}
    with VoxtralManager(config) as manager, _bar(files) as bar:
        options: dict[str, Any] = {"language": args.language, "resume": args.resume, "times": args.format in TIMED}
        for each in _hear(manager, files, args.concurrency, options, bar):
            heard[each.name] = each
            bar.finished()
            _tell(each, args, several=len(files) > 1)
    return _finish([heard[name] for name in files], args, time.monotonic() - began)


def _hear(manager: VoxtralManager, files: Sequence[str], at_once: int, options: dict[str, Any], bar: _Bar) -> Any:
    from voxtral_ops.speech.batch import heard_of  # noqa: PLC0415

    def one(name: Any) -> Any:
        source = sys.stdin.buffer if name == STDIN else name
        audio = manager.processor.load(source, name="stdin" if name == STDIN else "")
        if audio.damaged:
            bar.say(f"{name}: {audio.damaged} damaged packets were left out")
        return manager.transcribe(audio, report=bar.report(name, audio.seconds), **options)

    return heard_of(files, one, at_once)


def _tell(heard: Heard, args: argparse.Namespace, *, several: bool) -> None:
    """Hand out the words as soon as they are there; what was decided goes to stderr."""
    from voxtral_ops.speech.formats import formatted  # noqa: PLC0415

    if heard.error is not None:
        complain(heard.error, debug=args.debug, program=program_name())
        return
    transcript, note = heard.transcript, colour("note:", "1;33")
    assert transcript is not None
    if transcript.fallback_reason:
        answered = f"{transcript.fallback_reason}; Whisper {transcript.model} answered"
        say(f"{note}  {heard.name}: {answered}")
    if not transcript.text:
        say(f"{note}  {heard.name}: {transcript.model} heard no speech")
    if args.output_dir is not None:
        _write(args.output_dir / _name(heard.name, args.format), formatted(transcript, args.format))
    elif not args.json:
        prefix = f"{heard.name}: " if several and args.format == "text" else ""
        emit(args, None, f"{prefix}{formatted(transcript, args.format).rstrip()}")
        sys.stdout.flush()


def _finish(heard: list[Heard], args: argparse.Namespace, elapsed: float) -> int:
    """The summary, the whole result under --json, and the exit status."""
    words = [each.transcript for each in heard if each.transcript is not None]
    for model in sorted({each.model for each in words if each.demonstration}):
        say(f"{colour('note:', '1;33')}  {model} is a demonstration model: it knows only its own commands")
    seconds = sum(each.seconds for each in words)
    summary = {
        "files": len(heard),
        "failed": len(heard) - len(words),
        "seconds": round(seconds, 3),
        "elapsed": round(elapsed, 3),
        "real_time_factor": round(elapsed / seconds, 4) if seconds else None,
    }
    if len(heard) > 1:
        speed = f", {seconds / elapsed:.1f} times as fast as it was spoken" if seconds else ""
        say(f"{len(words)} of {len(heard)} files, {seconds / 60:.1f} minutes in {elapsed:.0f} s{speed}")
    results = [_as_dict(each) for each in heard]
    emit(args, {"ok": len(words) == len(heard), "summary": summary, "results": results}, "")
    if len(words) == len(heard):
        return 0
    return 1 if words else 2


def _as_dict(heard: Heard) -> dict[str, Any]:
    if heard.error is not None:
        return {"file": heard.name, "ok": False, "error": heard.error.as_dict()}
    assert heard.transcript is not None
    return {"file": heard.name, "ok": True, "transcript": heard.transcript.model_dump(mode="json")}


def _ready(folder: Path) -> None:
    from voxtral_ops.errors import HostError  # noqa: PLC0415

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(f"{folder}: {error.strerror}", hint="choose a directory that can be written") from error


def _name(source: str, form: Format) -> str:
    from voxtral_ops.speech.formats import SUFFIXES  # noqa: PLC0415

    # The whole name: talk.mp3 and talk.wav may lie in one folder.
    return f"{'stdin' if source == STDIN else Path(source).name}{SUFFIXES[form]}"


def _write(path: Path, text: str) -> None:
    """Whole or not at all; other people's words are for their owner's eyes."""
    from voxtral_ops.errors import HostError  # noqa: PLC0415

    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        raise HostError(f"{path}: {error.strerror}", hint="check space and rights there", path=path) from error


class _Bar:
    """How far all of it is: drawn on a terminal, silent elsewhere."""

    def __init__(self, files: int, progress: Any = None) -> None:
        self._files, self._done, self._progress = files, 0, progress
        self._task = progress.add_task("", total=files) if progress else None
        self._shares: dict[str, float] = {}

    def report(self, name: str, seconds: float) -> Any:
        """What one recording tells after each of its pieces."""

        def told(progress: Any) -> None:
            self._shares[name] = progress.seconds / progress.of
            if progress.of_pieces > 1:
                self._draw(f"{name}: {progress.seconds / 60:.0f} of {seconds / 60:.0f} minutes")

        return told

    def finished(self) -> None:
        """One recording is done, well or badly."""
        self._done += 1
        self._draw(f"{self._done} of {self._files}")

    def say(self, text: str) -> None:
        """Talk beside the bar."""
        if self._progress:
            self._progress.console.print(text, markup=False)
        else:
            say(text)

    def _draw(self, text: str) -> None:
        if self._progress:
            running = sum(share for share in self._shares.values() if share < 1)
            self._progress.update(self._task, completed=min(self._files, self._done + running), description=text)


def _bar(files: Sequence[str]) -> Any:
    if not sys.stderr.isatty():
        return nullcontext(_Bar(len(files)))
    from rich.console import Console  # noqa: PLC0415 - only where there is a terminal
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    class Drawn(Progress):
        def __enter__(self) -> Any:
            super().__enter__()
            return _Bar(len(files), self)

    columns = (BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeRemainingColumn())
    words = TextColumn("{task.description}", markup=False)
    return Drawn(*columns, words, console=Console(stderr=True), transient=True)
