"""What of a long recording has been heard: kept on disk while the work lasts, so that an interrupted job goes on.

A journal that nobody went on with for ``KEPT_DAYS`` is erased by the next job.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

from voxtral_ops.audio import Span
from voxtral_ops.errors import HostError
from voxtral_ops.speech.transcript import Transcript

KEPT_DAYS = 30


class Journal:
    """One job's finished pieces, one JSON object a line, readable by its user alone. For one process at a time."""

    def __init__(self, folder: Path, **job: Any) -> None:
        """``job`` is all that the words depend on: another job has another file."""
        text = json.dumps(job, sort_keys=True, default=str)
        self.path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.jsonl"
        self._stream: IO[bytes] | None = None
        self.done: dict[Span, Transcript] = {}

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _erase_abandoned(self.path.parent)
            self._stream = self._locked()
            self._read(self._stream)
        except BlockingIOError as error:
            raise HostError(
                "this very recording is being heard by another job, which keeps its progress",
                hint="wait until that one is finished, or go on without keeping it",
                path=self.path,
            ) from error
        except OSError as error:
            raise HostError(
                f"the progress of this job cannot be kept in {self.path.parent}: {error.strerror}",
                hint="free some space there, or go on without keeping it",
                path=self.path,
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            # What a full disk refused once it refuses again, and that was told.
            with suppress(OSError):
                self._stream.close()
            self._stream = None

    def add(self, span: Span, transcript: Transcript) -> None:
        """Write down that this piece is heard; it is on the disk when this returns. Raises HostError."""
        assert self._stream is not None
        entry = {"start": span.start, "stop": span.stop, "transcript": transcript.model_dump(mode="json")}
        try:
            self._stream.write(json.dumps(entry).encode() + b"\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise HostError(f"{self.path}: {error.strerror}", hint="free some space there", path=self.path) from error
        self.done[span] = transcript

    def forget(self) -> None:
        """The job is finished and its words are handed out: nothing of them stays here."""
        self.path.unlink(missing_ok=True)

    def _locked(self) -> IO[bytes]:
        """The file, ours alone. Raises BlockingIOError while another job has it."""
        while True:
            stream = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b")
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self.path.exists() and os.path.samestat(os.fstat(stream.fileno()), self.path.stat()):
                    return stream
            except OSError:
                stream.close()
                raise
            stream.close()  # its job was finished, and the file removed, between opening and locking

    def _read(self, stream: IO[bytes]) -> None:
        whole = 0
        for line in stream:
            try:
                entry = json.loads(line)
                transcript = Transcript.model_validate(entry["transcript"])
                self.done[Span(entry["start"], entry["stop"])] = transcript
            except (ValueError, KeyError, TypeError):
                break  # the line that was being written when the power went
            if not line.endswith(b"\n"):
                break
            whole += len(line)
        stream.truncate(whole)


def _erase_abandoned(folder: Path) -> None:
    """Other people's words are not kept for a job that nobody will finish."""
    before = time.time() - KEPT_DAYS * 86_400
    for path in folder.glob("*.jsonl"):
        with suppress(OSError):
            if path.stat().st_mtime < before:
                path.unlink()
