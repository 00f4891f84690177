"""VoxtralAudioProcessor: any recording in, ``Audio`` out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from voxtral_ops.audio.audio import RATE, Audio
from voxtral_ops.audio.decode import Job
from voxtral_ops.audio.decoder import POOL
from voxtral_ops.audio.limits import AudioLimits
from voxtral_ops.audio.loudness import TARGET, TENTH, Meter
from voxtral_ops.audio.source import Opened, Source, opened
from voxtral_ops.audio.spool import WIDTH, InMemory, Pcm, Spool, folder_for, kept
from voxtral_ops.audio.voice import Voice
from voxtral_ops.audio.wav import plain_wav

SMALL = 4 * TENTH
"""Samples that BLAS works on in one thread: to wake others costs more than the work."""


@dataclass(frozen=True)
class VoxtralAudioProcessor:
    """Reads recordings: WAV, MP3, M4A, FLAC, OGG, Opus, WebM, AIFF and what else FFmpeg's decoders know."""

    limits: AudioLimits = field(default_factory=AudioLimits)
    loudness: float | None = TARGET
    """LUFS that reading brings a recording to; None leaves it as loud as it is."""
    voice: Voice = field(default_factory=Voice)
    """Who finds the speech."""

    def load(self, source: Source, name: str = "") -> Audio:
        """Decode to 16 kHz mono. Raises AudioError, which names the recording and the cure, for everything else."""
        with opened(source, self.limits, name) as file:
            return self._plain(file) or self._decoded(file)

    def _plain(self, file: Opened) -> Audio | None:
        import numpy as np  # noqa: PLC0415

        wav = plain_wav(file.descriptor, file.size)
        if wav is None or len(wav.data) > self.limits.seconds * RATE * WIDTH or self.limits.rate < RATE:
            return None
        meter, pcm = Meter(), np.frombuffer(wav.data, dtype="<i2")
        for start in range(0, len(pcm), SMALL):
            meter.add(pcm[start : start + SMALL])
        facts = {"container": "wav", "codec": "pcm_s16le", "rate": RATE, "channels": 1, "claimed": wav.claimed}
        return self._audio(InMemory(wav.data), file, levels=meter.levels(self.loudness), **facts)

    def _decoded(self, file: Opened) -> Audio:
        spool = Spool(folder_for(int(self.limits.seconds) * RATE * WIDTH))
        job = Job(file.name, self.limits, self.loudness)
        found = POOL.decode(job, file.descriptor, spool.descriptor)
        return self._audio(kept(spool), file, **vars(found))

    def _audio(self, pcm: Pcm, file: Opened, **facts: Any) -> Audio:
        return Audio(pcm, source=file.name, voice=self.voice, **facts)
