"""Decode and resample as a stream with PyAV. Nothing is sized or looped by what a file says of itself."""

from __future__ import annotations

import ctypes
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from voxtral_ops.audio.audio import RATE, Audio
from voxtral_ops.audio.limits import AudioLimits
from voxtral_ops.audio.loudness import Meter, pcm16
from voxtral_ops.audio.source import Opened
from voxtral_ops.audio.spool import InMemory
from voxtral_ops.errors import AudioError

if TYPE_CHECKING:
    import av
    import numpy as np
    from numpy.typing import NDArray

# Demuxers that read one file and nothing else: no playlists, no network, no devices.
FORMATS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,eac3,flac,flv,gsm,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,"
    "mp3,mpeg,mpegts,mpc,mpc8,ogg,oma,opus,qcp,rm,spx,swf,tta,voc,w64,wav,wv,xwma"
)
MOSTLY_DAMAGED = 0.5
"""Above this share of undecodable packets a recording is refused."""

LARGEST_BLOCK = 1 << 26
"""Bytes."""

HINT = "play it to see whether it is whole; WAV, MP3, M4A, FLAC, OGG, Opus, WebM and AIFF are understood"


@dataclass
class _Sound:
    """What has been decoded so far."""

    blocks: list[NDArray[np.float32]]
    samples: int = 0
    packets: int = 0
    damaged: int = 0
    rate: int = 0
    channels: int = 0


def decode(opened: Opened, limits: AudioLimits, target: float | None) -> Audio:
    """All the sound of the first audio track. Raises AudioError, whatever PyAV raised."""
    import av  # noqa: PLC0415

    bound_allocations()
    try:
        with av.open(
            opened.stream,
            mode="r",
            container_options={"format_whitelist": FORMATS, "protocol_whitelist": "none"},
            io_open=_refuse,
        ) as container:
            return _decode(opened, container, limits, target)
    except (AudioError, TypeError, AttributeError, NameError):
        raise  # the latter are faults of ours: a recording is never blamed for them
    except MemoryError as error:
        raise AudioError(f"{opened.name} needs more memory than there is", hint="cut it into parts") from error
    except Exception as error:
        # PyAV is known to leak IndexError and UnicodeDecodeError beside its own errors.
        raise AudioError(f"{opened.name} is not a readable recording: {_words(error)}", hint=HINT) from error


@cache
def bound_allocations() -> bool:
    """Tell FFmpeg once to refuse any single block above LARGEST_BLOCK. Returns whether its library was found.

    A WAV of 70 kB whose text chunk claims 1.8 GB makes FFmpeg reserve and clear them. PyAV has no option for it.
    It holds for PyAV's own copy of FFmpeg in this process, which has no use for larger blocks of sound.
    """
    maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    found = set(re.findall(r"(/\S*/libavutil[^/\s]*\.so\S*)", maps))
    for library in found:
        ctypes.CDLL(library).av_max_alloc(ctypes.c_size_t(LARGEST_BLOCK))
    return bool(found)


def _decode(opened: Opened, container: av.container.InputContainer, limits: AudioLimits, target: float | None) -> Audio:
    if not container.streams.audio:
        kinds = ", ".join(sorted({str(stream.type) for stream in container.streams})) or "nothing"
        raise AudioError(f"{opened.name} holds no sound, only {kinds}", hint="name a file with an audio track")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise AudioError(f"{opened.name} is in a codec that nobody here knows", hint=HINT)
    codec = stream.codec_context.name
    sound = _Sound(blocks=[])
    deadline = time.monotonic() + limits.wall_seconds
    resampler: Any = None
    shape: Any = None
    for frame in _frames(container, stream, sound, opened.name, deadline):
        frame_shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if frame_shape != shape:
            # A stream may change its own format half way; a resampler may not.
            _check_shape(opened.name, frame, limits)
            _collect(sound, resampler.resample(None) if resampler else [], opened.name, limits)
            resampler, shape = _resampler(), frame_shape
            sound.rate = sound.rate or frame.sample_rate
            sound.channels = sound.channels or frame.layout.nb_channels
        frame.pts = None
        _collect(sound, resampler.resample(frame), opened.name, limits)
    _collect(sound, resampler.resample(None) if resampler else [], opened.name, limits)
    return _finished(opened, container.format.name, codec, sound, target)


def _frames(
    container: av.container.InputContainer, stream: Any, sound: _Sound, name: str, deadline: float
) -> Iterator[av.AudioFrame]:
    """Decoded frames; a damaged packet is counted and left out, as players do."""
    import av  # noqa: PLC0415

    packets = container.demux(stream)
    while True:
        if time.monotonic() > deadline:
            raise AudioError(f"{name} takes too long to decode", hint="convert it to WAV or FLAC first")
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError:
            # The container breaks off here; what came before is good.
            sound.damaged += 1
            return
        try:
            frames = packet.decode()
        except av.error.DecoderNotFoundError:
            raise
        except av.error.FFmpegError:
            # Damaged AAC comes as "operation not permitted" and as unknown numbers, not only as invalid data.
            sound.damaged += 1
            continue
        sound.packets += 1
        yield from frames


def _check_shape(name: str, frame: av.AudioFrame, limits: AudioLimits) -> None:
    channels, rate = frame.layout.nb_channels, frame.sample_rate
    if not 1 <= channels <= limits.channels:
        raise AudioError(f"{name} has {channels} channels; at most {limits.channels} are read", hint="mix it down")
    if not 1 <= rate <= limits.rate:
        raise AudioError(f"{name} has {rate} samples a second; at most {limits.rate} are read", hint="resample it")


def _resampler() -> Any:
    import av  # noqa: PLC0415

    return av.AudioResampler(format="flt", layout="mono", rate=RATE, frame_size=RATE)


def _collect(sound: _Sound, frames: list[Any], name: str, limits: AudioLimits) -> None:
    for frame in frames:
        block = frame.to_ndarray()[0]
        sound.blocks.append(block)
        sound.samples += len(block)
        if sound.samples > limits.seconds * RATE:
            raise AudioError(
                f"{name} is longer than {limits.seconds:g} s", hint="cut it into parts", limit=limits.seconds
            )


def _finished(opened: Opened, container: str, codec: str, sound: _Sound, target: float | None) -> Audio:
    import numpy as np  # noqa: PLC0415

    if not sound.samples:
        found = f"{sound.damaged} damaged packets" if sound.damaged else "no samples"
        raise AudioError(f"{opened.name} ({codec} in {container}) holds {found}", hint=HINT)
    if sound.damaged > MOSTLY_DAMAGED * (sound.packets + sound.damaged):
        raise AudioError(
            f"{opened.name} is damaged: {sound.damaged} of {sound.packets + sound.damaged} packets cannot be decoded",
            hint=HINT,
        )
    samples = np.concatenate(sound.blocks)
    if not np.isfinite(samples).all():
        raise AudioError(f"{opened.name} holds samples that are not numbers", hint="export it again as 16 bit PCM")
    meter, pcm = Meter(), pcm16(samples)
    meter.add(pcm)
    return Audio(
        pcm=InMemory(pcm.tobytes()),
        levels=meter.levels(target),
        source=opened.name,
        container=container,
        codec=codec,
        rate=sound.rate,
        channels=sound.channels,
        sha256=opened.sha256,
        damaged=sound.damaged,
    )


def _refuse(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    """A recording that wants to open another file or an address does not get it."""
    raise PermissionError(f"a recording may not open {url}")


def _words(error: Exception) -> str:
    """The part of PyAV's message that a person can use."""
    import av  # noqa: PLC0415

    if isinstance(error, av.error.DecoderNotFoundError):
        return "no decoder for its codec"
    if isinstance(error, av.error.InvalidDataError | av.error.ArgumentError):
        return "the bytes are no audio format that is understood"
    return str(error) or type(error).__name__
