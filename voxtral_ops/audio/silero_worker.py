"""Silero over a recording: run as a file by an interpreter that has faster-whisper, without this package.

Reads 16-bit samples from descriptor 0, which is a file; writes one byte for each 512 samples: the probability of
speech times 255. Only the model file of faster-whisper is used, so that importing takes little.

Usage: python silero_worker.py FIRST COUNT FACTOR
"""

from __future__ import annotations

import importlib.util
import os
import resource
import sys
from pathlib import Path
from typing import Any

WINDOW, CONTEXT, STATE = 512, 64, 128
WINDOWS = 1024
"""Handled at once: half a minute."""


def main(first: int, count: int, factor: float) -> int:
    """Tell of ``count`` samples from ``first`` on, each multiplied by ``factor``."""
    import numpy as np  # noqa: PLC0415

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    session = _session()
    memory = [np.zeros((1, 1, STATE), np.float32) for _ in range(2)]
    context = np.zeros(CONTEXT, np.float32)
    for place in range(0, count, WINDOW * WINDOWS):
        wanted = min(WINDOW * WINDOWS, count - place)
        pcm = np.frombuffer(os.pread(0, 2 * wanted, 2 * (first + place)), "<i2")
        if len(pcm) < wanted:
            return 1
        sound = np.pad(pcm * np.float32(factor), (0, -wanted % WINDOW))
        whole = np.concatenate([context, sound])
        windows = np.lib.stride_tricks.sliding_window_view(whole, CONTEXT + WINDOW)[::WINDOW]
        found, *memory = session.run(None, {"input": np.ascontiguousarray(windows), "h": memory[0], "c": memory[1]})
        context = sound[-CONTEXT:]
        sys.stdout.buffer.write((np.clip(found.reshape(-1), 0, 1) * 255).astype(np.uint8).tobytes())
    return 0


def _session() -> Any:
    import onnxruntime  # noqa: PLC0415

    package = importlib.util.find_spec("faster_whisper")
    if package is None or package.origin is None:
        sys.exit("faster-whisper is not installed")
    model = next((Path(package.origin).parent / "assets").glob("silero_vad*.onnx"))
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"], sess_options=options)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
