"""The process that holds Whisper: run as a file by an interpreter that has faster-whisper, without this package.

Spoken on stdin and stdout: four bytes of length (big endian), that many bytes of JSON; a request names its
``task`` and is followed by ``samples`` float32 numbers. It ends when stdin ends or when whoever started it dies.

Usage: python whisper_worker.py WEIGHTS THREADS PARENT_PID
"""

from __future__ import annotations

import ctypes
import json
import math
import operator
import os
import signal
import struct
import sys
from typing import Any, BinaryIO

PR_SET_PDEATHSIG = 1


def main(weights: str, threads: int, parent: int) -> int:
    """Load the model, say so, then answer one request after the other."""
    _die_with(parent)
    # Only messages may go to stdout: what libraries print there goes to stderr.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests = os.fdopen(os.dup(0), "rb")
    try:
        model = _load(weights, threads)
    except Exception as error:
        _send(answers, {"error": f"{type(error).__name__}: {error}"})
        return 1
    _send(answers, {"ready": True, "multilingual": bool(model.model.is_multilingual)})
    while (request := _receive(requests)) is not None:
        samples = _exactly(requests, 4 * request["samples"])
        if samples is None:
            return 0
        try:
            _send(answers, TASKS[request["task"]](model, samples, request))
        except Exception as error:
            _send(answers, {"error": f"{type(error).__name__}: {error}"})
    return 0


def _load(weights: str, threads: int) -> Any:
    from faster_whisper import WhisperModel  # noqa: PLC0415

    return WhisperModel(weights, device="cpu", compute_type="int8", cpu_threads=threads, local_files_only=True)


def _sound(samples: bytes) -> Any:
    import numpy as np  # noqa: PLC0415

    # A copy, because numpy's view of bytes is read-only and feature extraction may write.
    return np.frombuffer(samples, dtype="<f4").copy()


def _transcribe(model: Any, samples: bytes, request: dict[str, Any]) -> dict[str, Any]:
    options = {"beam_size": 5, "condition_on_previous_text": False}
    found, info = model.transcribe(_sound(samples), language=request.get("language"), **options)
    segments = list(found)
    weights = [max(1, len(segment.tokens)) for segment in segments]
    chances = [math.exp(min(0.0, segment.avg_logprob)) for segment in segments]
    return {
        "text": "".join(segment.text for segment in segments).strip(),
        "language": info.language,
        "confidence": round(sum(map(operator.mul, weights, chances)) / sum(weights), 3) if segments else None,
    }


def _align(model: Any, samples: bytes, request: dict[str, Any]) -> dict[str, Any]:
    """Find the words of a text in at most 30 s of sound, by the attention of the decoder's alignment heads."""
    from faster_whisper.audio import pad_or_trim  # noqa: PLC0415
    from faster_whisper.tokenizer import Tokenizer  # noqa: PLC0415

    multilingual = model.model.is_multilingual
    language = (request.get("language") or "en") if multilingual else "en"
    tokenizer = Tokenizer(model.hf_tokenizer, multilingual, task="transcribe", language=language)
    features = model.feature_extractor(_sound(samples))
    encoded = model.encode(pad_or_trim(features))
    tokens = tokenizer.encode(" " + request["text"].strip())
    found = model.find_alignment(tokenizer, [tokens], encoded, features.shape[-1])[0]
    numbers = ("start", "end", "probability")
    return {"words": [[each["word"], *(round(float(each[name]), 3) for name in numbers)] for each in found]}


TASKS = {"transcribe": _transcribe, "align": _align}


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It died before we could ask to be told.
        sys.exit(0)


def _send(stream: BinaryIO, message: dict[str, Any]) -> None:
    body = json.dumps(message).encode()
    stream.write(struct.pack(">I", len(body)) + body)
    stream.flush()


def _receive(stream: BinaryIO) -> dict[str, Any] | None:
    head = _exactly(stream, 4)
    body = _exactly(stream, struct.unpack(">I", head)[0]) if head else None
    return json.loads(body) if body else None


def _exactly(stream: BinaryIO, size: int) -> bytes | None:
    """That many bytes, or None when the stream ends before."""
    data = stream.read(size)
    return data if len(data) == size else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
