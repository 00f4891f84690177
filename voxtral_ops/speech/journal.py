"""What of a long recording has been heard: kept on disk while the work lasts, so that an interrupted job goes on."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import IO, Any, Self

from voxtral_ops.audio import Span
from voxtral_ops.errors import HostError
from voxtral_ops.speech.transcript import Transcript


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
            self._stream = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b")
            self._read(self._stream)
        except OSError as error:
            raise HostError(
                f"the progress of this job cannot be kept in {self.path.parent}: {error.strerror}",
                hint="free some space there, or go on without keeping it",
                path=self.path,
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
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
