"""Decode and resample as a stream, from one open file into another. Nothing is sized or looped by what a file claims.

Runs in a process of its own (see worker.py), because a decoder may crash or hang on a file.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from voxtral_ops.audio.limits import AudioLimits
from voxtral_ops.audio.loudness import Meter, pcm16
from voxtral_ops.audio.quality import Levels
from voxtral_ops.errors import AudioError, HostError

if TYPE_CHECKING:
    import av
    import numpy as np
    from numpy.typing import NDArray

RATE = 16_000
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

BLOCK = 32_000
"""Samples that are handled at once: twenty measures of 100 ms, and as floats just below what malloc would map anew."""
LONG = 1 << 16
"""Bytes from which a file is worth decoding without a look at each packet."""
ORDINARY = frozenset(
    {"aac", "alac", "flac", "mp3", "mp3float", "opus", "vorbis", "pcm_s16be", "pcm_s16le", "pcm_s24be", "pcm_s24le"}
)
"""Codecs that give one frame of finite samples for one packet."""


@dataclass(frozen=True)
class Job:
    """One recording to decode."""

    name: str
    """For messages."""
    limits: AudioLimits
    loudness: float | None
    """LUFS that it shall be brought to."""


@dataclass(frozen=True)
class Decoded:
    """What was found in a file; its samples are in the spool."""

    container: str
    codec: str
    rate: int
    channels: int
    damaged: int
    claimed: float | None
    levels: Levels


class _Sink:
    """Where samples go: measured, then written. Knows when enough is enough."""

    def __init__(self, job: Job, spool: int) -> None:
        self.name, self.limits, self.spool = job.name, job.limits, spool
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        os.ftruncate(self.spool, 0)
        os.lseek(self.spool, 0, os.SEEK_SET)
        self.meter, self.samples = Meter(), 0

    def add(self, pcm: NDArray[np.int16]) -> None:
        self.samples += len(pcm)
        if self.samples > self.limits.seconds * RATE:
            raise AudioError(
                f"{self.name} is longer than {self.limits.seconds:g} s",
                hint="cut it into parts",
                limit=self.limits.seconds,
            )
        self.meter.add(pcm)
        data = memoryview(pcm).cast("B")
        while data:
            data = data[os.write(self.spool, data) :]


def decode(job: Job, file: int, spool: int) -> Decoded:
    """All the sound of the first audio track of the open ``file``. Raises AudioError, whatever PyAV raised."""
    import av  # noqa: PLC0415

    bound_allocations()
    name, sink = job.name, _Sink(job, spool)
    os.lseek(file, 0, os.SEEK_SET)
    try:
        with (
            os.fdopen(os.dup(file), "rb") as stream,
            av.open(
                stream,
                mode="r",
                container_options={"format_whitelist": FORMATS, "protocol_whitelist": "none"},
                io_open=_refuse,
                metadata_errors="replace",  # titles in Latin-1 are no reason to refuse a recording
            ) as container,
        ):
            return _decode(file, container, sink, job.loudness)
    except (AudioError, TypeError, AttributeError, NameError):
        raise  # the latter are faults of ours: a recording is never blamed for them
    except MemoryError as error:
        raise AudioError(f"{name} needs more memory than there is", hint="cut it into parts") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise HostError(
                f"there is no room for the samples of {name}", hint="free space, or name a folder in TMPDIR"
            ) from error
        # PyAV is known to leak IndexError and UnicodeDecodeError beside its own errors.
        raise AudioError(f"{name} is not a readable recording: {_words(error)}", hint=HINT) from error


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


def _decode(file: int, container: av.container.InputContainer, sink: _Sink, target: float | None) -> Decoded:
    stream = _track(container, sink.name)
    context = stream.codec_context
    damaged = 0
    rate, channels = context.sample_rate or 0, context.channels or 0
    if not (_is_ordinary(file, stream, sink) and _decode_whole(file, stream.index, sink)):
        sink.clear()
        damaged, rate, channels = _decode_packets(container, stream, sink)
    if not sink.samples:
        found = f"{damaged} damaged packets" if damaged else "no samples"
        raise AudioError(f"{sink.name} ({context.name} in {container.format.name}) holds {found}", hint=HINT)
    return Decoded(
        container=container.format.name,
        codec=context.codec.canonical_name,
        rate=rate,
        channels=channels,
        damaged=damaged,
        claimed=round(container.duration / 1e6, 3) if container.duration else None,
        levels=sink.meter.levels(target),
    )


def _track(container: av.container.InputContainer, name: str) -> Any:
    if not container.streams.audio:
        kinds = ", ".join(sorted({str(stream.type) for stream in container.streams})) or "nothing"
        raise AudioError(f"{name} holds no sound, only {kinds}", hint="name a file with an audio track")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise AudioError(f"{name} is in a codec that nobody here knows", hint=HINT)
    return stream


def _is_ordinary(file: int, stream: Any, sink: _Sink) -> bool:
    """Whether it is long, in a codec without surprises, and claims nothing beyond the limits."""
    context = stream.codec_context
    return (
        os.fstat(file).st_size >= LONG
        and context.name in ORDINARY
        and 1 <= (context.channels or 0) <= sink.limits.channels
        and 1 <= (context.sample_rate or 0) <= sink.limits.rate
    )


def _decode_whole(file: int, track: int, sink: _Sink) -> bool:
    """Let FFmpeg demux, decode and resample on its own: no Python for each packet. False when anything is odd."""
    import av  # noqa: PLC0415

    options = f"protocol_whitelist=file:format_whitelist={FORMATS}"
    graph = av.filter.Graph()
    try:
        last = graph.add(
            "amovie", filename=f"/proc/self/fd/{file}", stream_index=str(track), dec_threads="1", format_opts=options
        )
        _finish(graph, last, "s16")
        while (frame := _next(graph)) is not None:
            sink.add(frame.to_ndarray()[0])
    except av.error.FFmpegError:
        return False
    return True


def _decode_packets(container: av.container.InputContainer, stream: Any, sink: _Sink) -> tuple[int, int, int]:
    """Packet by packet: what is damaged is left out and counted. Returns that count, the rate and the channels."""
    tally = _Tally()
    graph: Any = None
    shape: Any = None
    rate = channels = 0
    for frame in _frames(container, stream, tally):
        frame_shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if frame_shape != shape:
            # A stream may change its own format half way; a graph may not.
            _check_shape(sink.name, frame, sink.limits)
            _feed(graph, None, sink)
            graph, shape = _graph_for(frame), frame_shape
            rate, channels = rate or frame.sample_rate, channels or frame.layout.nb_channels
        frame.pts = None
        _feed(graph, frame, sink)
    _feed(graph, None, sink)
    if tally.damaged > MOSTLY_DAMAGED * (tally.whole + tally.damaged):
        raise AudioError(
            f"{sink.name} is damaged: {tally.damaged} of {tally.whole + tally.damaged} packets cannot be decoded",
            hint=HINT,
        )
    return tally.damaged, rate, channels


@dataclass
class _Tally:
    whole: int = 0
    damaged: int = 0


def _frames(container: av.container.InputContainer, stream: Any, tally: _Tally) -> Iterator[av.AudioFrame]:
    """Decoded frames; a damaged packet is counted and left out, as players do."""
    import av  # noqa: PLC0415

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError:
            # The container breaks off here; what came before is good.
            tally.damaged += 1
            return
        try:
            frames = packet.decode()
        except av.error.DecoderNotFoundError:
            raise
        except av.error.FFmpegError:
            # Damaged AAC comes as "operation not permitted" and as unknown numbers, not only as invalid data.
            tally.damaged += 1
            continue
        tally.whole += 1
        yield from frames


def _check_shape(name: str, frame: av.AudioFrame, limits: AudioLimits) -> None:
    channels, rate = frame.layout.nb_channels, frame.sample_rate
    if not 1 <= channels <= limits.channels:
        raise AudioError(f"{name} has {channels} channels; at most {limits.channels} are read", hint="mix it down")
    if not 1 <= rate <= limits.rate:
        raise AudioError(f"{name} has {rate} samples a second; at most {limits.rate} are read", hint="resample it")


def _graph_for(frame: av.AudioFrame) -> Any:
    import av  # noqa: PLC0415

    graph: Any = av.filter.Graph()
    shape = {"sample_rate": frame.sample_rate, "format": frame.format, "layout": frame.layout.name}
    _finish(graph, graph.add_abuffer(**shape, time_base=Fraction(1, frame.sample_rate)), "flt")
    return graph


def _finish(graph: Any, last: Any, form: str) -> None:
    """To 16 kHz and the mean of the channels, in large blocks."""
    for name, settings in (
        ("aresample", f"{RATE}:out_chlayout=mono:osf={form}:rematrix_maxval=1.0:filter_size=16"),
        ("asetnsamples", f"n={BLOCK}:p=0"),
        ("abuffersink", None),
    ):
        following = graph.add(name, settings)
        last.link_to(following)
        last = following
    graph.configure()


def _next(graph: Any) -> Any:
    """What comes out next; None at the end, or when more has to go in first."""
    try:
        return graph.pull()
    except (EOFError, BlockingIOError):
        return None


def _feed(graph: Any, frame: av.AudioFrame | None, sink: _Sink) -> None:
    """Put a frame in (None ends it) and take out what is ready."""
    import numpy as np  # noqa: PLC0415

    if graph is None:
        return
    graph.push(frame)
    while (ready := _next(graph)) is not None:
        block = ready.to_ndarray()[0]
        if not np.isfinite(block).all():
            raise AudioError(f"{sink.name} holds samples that are not numbers", hint="export it again as 16 bit PCM")
        sink.add(pcm16(block))


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
    if isinstance(error, EOFError):
        return "it ends before there is any sound"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
