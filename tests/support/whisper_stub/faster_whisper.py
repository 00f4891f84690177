"""Stands in for faster-whisper in a worker: hears what a file called ``script`` beside the weights says."""

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class WhisperModel:
    def __init__(self, weights: str, **options: Any) -> None:
        self.script = Path(weights) / "script"
        if self.script.read_text() == "broken weights":
            raise RuntimeError("model.bin is truncated")
        if self.script.read_text() == "slow start":
            time.sleep(60)
        assert options["local_files_only"]
        assert options["device"] == "cpu"
        assert options["compute_type"] == "int8"
        print("a library that talks on stdout")
        self.model = SimpleNamespace(is_multilingual="multilingual" in self.script.read_text())

    def transcribe(self, sound: Any, language: str | None, **options: Any) -> Any:
        script = self.script.read_text()
        if script == "crash":
            os.write(2, b"terminate called: no more memory\n")
            os.abort()
        if script == "hang":
            time.sleep(60)
        if script == "raise":
            raise ValueError("cannot make sense of this")
        assert options["beam_size"] == 5
        text = f" {len(sound)} samples, peak {abs(sound).max():.2f},"
        texts = [text, f" pid {os.getpid()}"]
        segments = [SimpleNamespace(text=each, tokens=[1, 2], avg_logprob=-0.1) for each in texts]
        return iter(segments), SimpleNamespace(language=language or "en")
