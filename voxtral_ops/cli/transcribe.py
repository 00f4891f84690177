"""`voxtral-ops transcribe`: recordings in, words on stdout, decisions on stderr."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from voxtral_ops.cli.main import program_name
from voxtral_ops.cli.output import colour, complain, emit, say

if TYPE_CHECKING:
    from voxtral_ops.errors import VoxtralError
    from voxtral_ops.manager import VoxtralManager
    from voxtral_ops.speech import Transcript

EXAMPLES = """examples:
  voxtral-ops transcribe talk.mp3
  voxtral-ops transcribe *.m4a --json
  voxtral-ops transcribe command.wav --backend voxtral
  arecord -d 5 -f cd - | voxtral-ops transcribe -
"""


@dataclass(frozen=True)
class Outcome:
    """One file's transcript, or what went wrong with it."""

    file: str
    transcript: Transcript | None = None
    error: VoxtralError | None = None

    def as_dict(self) -> dict[str, Any]:
        """For --json: ``transcript`` or ``error``."""
        if self.error is not None:
            return {"file": self.file, "ok": False, "error": self.error.as_dict()}
        assert self.transcript is not None
        return {"file": self.file, "ok": True, "transcript": self.transcript.model_dump(mode="json")}


def configure(parser: argparse.ArgumentParser) -> None:
    """Which recordings, and who should hear them."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="a recording of any common format; - is stdin")
    parser.add_argument(
        "--backend",
        choices=("auto", "voxtral", "whisper"),
        help="auto: Voxtral, and Whisper when it must be (the default)",
    )
    parser.add_argument("--language", metavar="XX", help="two letters, as en or fr (found out when not given)")
    parser.add_argument("--server", metavar="URL", help="the server (this host's own)")
    parser.add_argument("--model", metavar="NAME", help="the served name of the model (the one that is served)")


def run(args: argparse.Namespace) -> int:
    """Transcribe each file. 0: all of them, 1: some, 2: none."""
    from voxtral_ops.config import VoxtralConfig  # noqa: PLC0415
    from voxtral_ops.manager import VoxtralManager  # noqa: PLC0415

    config = VoxtralConfig.load(server=args.server, model=args.model, backend=args.backend)
    outcomes: list[Outcome] = []
    with VoxtralManager(config) as manager:
        for file in args.files:
            outcome = _outcome(manager, file, args.language)
            outcomes.append(outcome)
            _tell(outcome, args)
    _tell_of_demonstration(outcomes)
    good = sum(outcome.error is None for outcome in outcomes)
    emit(args, {"ok": good == len(outcomes), "results": [outcome.as_dict() for outcome in outcomes]}, "")
    if good == len(outcomes):
        return 0
    return 1 if good else 2


def _tell_of_demonstration(outcomes: list[Outcome]) -> None:
    """Say once, however many recordings it heard, that the model knows little."""
    heard = [outcome.transcript for outcome in outcomes if outcome.transcript is not None]
    for model in sorted({transcript.model for transcript in heard if transcript.demonstration}):
        say(f"{colour('note:', '1;33')}  {model} is a demonstration model: it knows only its own commands")


def _outcome(manager: VoxtralManager, file: str, language: str | None) -> Outcome:
    from voxtral_ops.errors import VoxtralError  # noqa: PLC0415

    try:
        audio = manager.processor.load(sys.stdin.buffer, name="stdin") if file == "-" else manager.processor.load(file)
        if audio.damaged:
            say(f"{file}: {audio.damaged} damaged packets were left out")
        return Outcome(file, transcript=manager.transcribe(audio, language=language))
    except VoxtralError as error:
        return Outcome(file, error=error)


def _tell(outcome: Outcome, args: argparse.Namespace) -> None:
    """Print the words as soon as they are there; what was decided goes to stderr."""
    if outcome.error is not None:
        complain(outcome.error, debug=args.debug, program=program_name())
        return
    transcript = outcome.transcript
    assert transcript is not None
    if transcript.fallback_reason:
        answered = f"{transcript.fallback_reason}; Whisper {transcript.model} answered"
        say(f"{colour('note:', '1;33')}  {outcome.file}: {answered}")
    if not transcript.text:
        say(f"{colour('note:', '1;33')}  {outcome.file}: {transcript.model} heard no speech")
    if not args.json:
        prefix = f"{outcome.file}: " if len(args.files) > 1 else ""
        emit(args, None, f"{prefix}{transcript.text}")
        sys.stdout.flush()
