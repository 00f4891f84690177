"""`voxtral-ops transcribe`: recordings in, words on stdout or into files, decisions on stderr."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

from voxtral_ops.cli.main import program_name
from voxtral_ops.cli.output import colour, complain, emit, say
from voxtral_ops.cli.recordings import STDIN, recordings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voxtral_ops.manager import VoxtralManager
    from voxtral_ops.speech.batch import Heard

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
    from voxtral_ops.speech.language import checked_language  # noqa: PLC0415

    config = VoxtralConfig.load(server=args.server, model=args.model, backend=args.backend)
    language = checked_language(args.language)
    files, began = recordings(args.files), time.monotonic()
    places = _places(files, args) if args.output_dir is not None else {}
    heard: dict[str, Heard] = {}
    try:
        with VoxtralManager(config) as manager, _bar(len(files)) as bar:
            options: dict[str, Any] = {"language": language, "resume": args.resume, "times": args.format in TIMED}
            for each in _hear(manager, files, args.concurrency, options, bar):
                with bar.aside(each.name):
                    heard[each.name] = _told(each, args, places.get(each.name), several=len(files) > 1)
    except KeyboardInterrupt:
        if args.resume:
            raise
        say("\nstopped; with --resume what is heard of a long recording is kept, and the next run goes on from there")
        return 2
    return _finish([heard[name] for name in files], args, time.monotonic() - began)


def _hear(
    manager: VoxtralManager, files: Sequence[str], at_once: int, options: dict[str, Any], bar: _Bar
) -> Iterator[Heard]:
    from voxtral_ops.errors import VoxtralError  # noqa: PLC0415
    from voxtral_ops.speech.batch import heard_of  # noqa: PLC0415

    stopped = Event()

    def one(name: Any) -> Any:
        source = sys.stdin.buffer if name == STDIN else name
        audio = manager.processor.load(source, name="stdin" if name == STDIN else "")
        if audio.damaged:
            bar.say(f"{name}: {audio.damaged} damaged packets were left out")
        if stopped.is_set():
            raise VoxtralError("stopped while it was decoded", hint="run it again")
        return manager.transcribe(audio, report=bar.report(name, audio.seconds), **options)

    try:
        yield from heard_of(files, one, at_once)
    finally:
        stopped.set()


def _told(heard: Heard, args: argparse.Namespace, place: Path | None, *, several: bool) -> Heard:
    """Hand out the words as soon as they are there; what was decided goes to stderr. What cannot be written failed."""
    from voxtral_ops.errors import VoxtralError  # noqa: PLC0415

    try:
        if heard.error is not None:
            raise heard.error
        _hand_out(heard, args, place, several=several)
    except VoxtralError as error:
        complain(error, debug=args.debug, program=program_name())
        return replace(heard, transcript=None, error=error)
    return heard


def _hand_out(heard: Heard, args: argparse.Namespace, place: Path | None, *, several: bool) -> None:
    from voxtral_ops.speech.formats import formatted  # noqa: PLC0415

    transcript, note = heard.transcript, colour("note:", "1;33")
    assert transcript is not None
    if transcript.fallback_reason:
        answered = f"{transcript.fallback_reason}; Whisper {transcript.model} answered"
        say(f"{note}  {heard.name}: {answered}")
    if not transcript.text:
        say(f"{note}  {heard.name}: {transcript.model} heard no speech")
    if place is not None:
        _write(place, formatted(transcript, args.format))
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


def _places(files: Sequence[str], args: argparse.Namespace) -> dict[str, Path]:
    """Which file gets whose words. Recordings of one name in several folders get those folders."""
    from voxtral_ops.speech.formats import SUFFIXES  # noqa: PLC0415

    # The whole name: talk.mp3 and talk.wav may lie in one folder.
    names = {each: "stdin" if each == STDIN else Path(each).name for each in files}
    alike = {name for name, count in Counter(names.values()).items() if count > 1}
    # Not resolve: what a link is called is what its owner calls it.
    shared = [os.path.abspath(each) for each, name in names.items() if name in alike]  # noqa: PTH100
    above = os.path.commonpath(shared) if shared else ""
    places = {
        each: args.output_dir / f"{os.path.relpath(each, above) if name in alike else name}{SUFFIXES[args.format]}"
        for each, name in names.items()
    }
    for folder in dict.fromkeys(place.parent for place in places.values()):
        _ready(folder)
    return places


def _ready(folder: Path) -> None:
    from voxtral_ops.errors import HostError  # noqa: PLC0415

    hint = "choose a directory that can be written"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(f"{folder}: {error.strerror}", hint=hint) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise HostError(f"{folder} cannot be written", hint=hint, path=folder)


def _write(path: Path, text: str) -> None:
    """Whole or not at all; other people's words are for their owner's eyes."""
    from voxtral_ops.errors import HostError  # noqa: PLC0415

    temporary = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".voxtral-")
        temporary = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise HostError(f"{path}: {error.strerror}", hint="check space and rights there", path=path) from error


class _Bar:
    """How far all of it is: drawn on a terminal, silent elsewhere. Told by the threads that hear."""

    def __init__(self, files: int, progress: Any = None) -> None:
        self._files, self._done, self._progress = files, 0, progress
        self._task = progress.add_task("", total=files) if progress else None
        self._shares: dict[str, float] = {}
        self._lock = Lock()

    def report(self, name: str, seconds: float) -> Any:
        """What one recording tells after each of its pieces."""

        def told(progress: Any) -> None:
            with self._lock:
                self._shares[name] = progress.seconds / progress.of
            if progress.of_pieces > 1:
                self._draw(f"{name}: {progress.seconds / 60:.0f} of {seconds / 60:.0f} minutes")

        return told

    @contextmanager
    def aside(self, name: str) -> Iterator[None]:
        """One recording is done, well or badly: the bar makes room for what is said of it."""
        with self._lock:
            self._done += 1
            self._shares.pop(name, None)
        if self._progress:
            self._progress.stop()
        yield
        if self._progress:
            self._progress.start()
        self._draw(f"{self._done} of {self._files}")

    def say(self, text: str) -> None:
        """Talk beside the bar."""
        if self._progress:
            self._progress.console.print(text, markup=False, highlight=False)
        else:
            say(text)

    def _draw(self, text: str) -> None:
        if self._progress:
            with self._lock:
                done = self._done + sum(self._shares.values())
            self._progress.update(self._task, completed=min(self._files, done), description=text)


@contextmanager
def _bar(files: int) -> Iterator[_Bar]:
    if not sys.stderr.isatty():
        yield _Bar(files)
        return
    from rich.console import Console  # noqa: PLC0415 - only where there is a terminal
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeRemainingColumn())
    words, console = TextColumn("{task.description}", markup=False), Console(stderr=True)
    # Rich would take the words that belong on stdout to the terminal.
    with Progress(*columns, words, console=console, transient=True, redirect_stdout=False) as progress:
        yield _Bar(files, progress)
