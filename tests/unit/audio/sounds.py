"""Makes small recordings of any format in memory, by PyAV's encoders and by hand."""

import io
import struct
import wave
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

DATA = Path(__file__).resolve().parents[2] / "data" / "audio"

FORMATS = {
    "wav": ("wav", "pcm_s16le", 44_100),
    "wav24": ("wav", "pcm_s24le", 48_000),
    "aiff": ("aiff", "pcm_s16be", 22_050),
    "au": ("au", "pcm_mulaw", 8_000),
    "mp3": ("mp3", "libmp3lame", 44_100),
    "m4a": ("ipod", "aac", 48_000),
    "flac": ("flac", "flac", 16_000),
    "ogg": ("ogg", "vorbis", 44_100),
    "opus": ("ogg", "libopus", 48_000),
    "webm": ("webm", "libopus", 48_000),
    "mka": ("matroska", "pcm_s32le", 96_000),
}


def tone(seconds: float, rate: int = 16_000, hertz: float = 440.0, level: float = 0.5) -> NDArray[np.float32]:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def encoded(kind: str, seconds: float = 1.0, channels: int = 1) -> bytes:
    """A 440 Hz tone in that format. Vorbis, which PyAV's FFmpeg cannot write, comes from a file made by sox."""
    if kind == "ogg":
        return (DATA / "tone.ogg").read_bytes()
    rate = FORMATS[kind][2]
    return written(tone(seconds, rate), rate, kind, channels)


def written(samples: NDArray[np.float32], rate: int, kind: str, channels: int = 1) -> bytes:
    """Those samples in that format, the same on each channel."""
    container, codec, own_rate = FORMATS[kind]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
        stream = output.add_stream(codec, rate=own_rate, layout=layout)
        interleaved = np.repeat(samples[:, None], channels, axis=1).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
        frame.sample_rate = rate
        resampler = av.AudioResampler(format=stream.format, layout=layout, rate=own_rate, frame_size=stream.frame_size)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def wav(samples: NDArray[np.float32], rate: int = 16_000) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def float_wav(samples: NDArray[np.float32], rate: int = 16_000, channels: int = 1) -> bytes:
    """IEEE float samples, which the standard library cannot write."""
    data = samples.astype("<f4").tobytes()
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 3, channels, rate,
                       rate * 4 * channels, 4 * channels, 32, b"data", len(data))  # fmt: skip
    return head + data


def video() -> bytes:
    """A film without sound."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        output.mux(stream.encode(None))
    return buffer.getvalue()
