"""The process that decodes: bounded, replaced after a crash, ended with whoever started it, nothing of it left."""

import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.audio.sounds import encoded, tone, wav
from voxtral_ops.audio import AudioLimits, VoxtralAudioProcessor
from voxtral_ops.audio import decoder as decoders
from voxtral_ops.audio.decode import Decoded, Job
from voxtral_ops.audio.decoder import POOL, Decoder, DecoderPool, answered
from voxtral_ops.audio.source import opened
from voxtral_ops.audio.spool import Spool
from voxtral_ops.errors import AudioError, HostError

FLAC = encoded("flac")


@pytest.fixture
def own() -> Iterator[Decoder]:
    """A decoder of this test alone, which has decoded once."""
    decoder = Decoder()
    decoded(decoder, FLAC)
    yield decoder
    if decoder.alive:
        decoder.end()


def decoded(decoder: Decoder, data: bytes, limits: AudioLimits | None = None) -> Decoded:
    with opened(data, AudioLimits(), "talk.flac") as file:
        spool = Spool(Path("/tmp"))
        job = Job("talk.flac", limits or AudioLimits(), None)
        answer = decoder.ask(job, file.descriptor, spool.descriptor)
        assert answer is not None
        return answered(answer)


def resident(pid: int) -> int:
    """Bytes of memory that the process has had at most."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) << 10


def test_a_decoder_is_kept_and_used_again() -> None:
    load = VoxtralAudioProcessor().load
    load(FLAC)
    before = [decoder.pid for decoder in POOL._idle]
    load(FLAC)
    assert [decoder.pid for decoder in POOL._idle] == before


def test_a_file_on_which_it_crashes_is_an_error_of_that_file(own: Decoder) -> None:
    os.kill(own.pid, signal.SIGSTOP)
    crash = threading.Timer(0.2, lambda: [os.kill(own.pid, number) for number in (signal.SIGSEGV, signal.SIGCONT)])
    crash.start()
    with pytest.raises(AudioError, match=r"talk\.flac makes the decoder crash \(SIGSEGV\)"):
        decoded(own, FLAC)


def test_after_a_crash_the_next_file_is_decoded() -> None:
    pool, spool = DecoderPool(), Spool(Path("/tmp"))
    job = Job("talk.flac", AudioLimits(), None)
    with opened(FLAC, AudioLimits()) as file:
        pool.decode(job, file.descriptor, spool.descriptor)
        victim = pool._idle[0].pid
        os.kill(victim, signal.SIGKILL)
        while pool._idle[0].alive:
            time.sleep(0.01)
        assert pool.decode(job, file.descriptor, spool.descriptor).codec == "flac"
    assert pool._idle[0].pid != victim
    pool.close()


def test_a_file_on_which_it_hangs_is_given_up_at_the_limit() -> None:
    own = Decoder()
    decoded(own, FLAC)
    os.kill(own.pid, signal.SIGSTOP)
    with pytest.raises(AudioError, match=r"talk\.flac takes too long to decode: 0\.2 s"):
        decoded(own, FLAC, AudioLimits(wall_seconds=0.2))
    assert not own.alive


def test_computing_is_bounded_by_the_kernel(own: Decoder) -> None:
    with pytest.raises(AudioError, match="too much computing"):
        decoded(own, encoded("flac", seconds=120), AudioLimits(cpu_seconds=0.02))


def test_one_that_retired_is_replaced_without_a_word(own: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, spool = DecoderPool(), Spool(Path("/tmp"))
    own._socket.shutdown(1)
    own._process.wait()
    monkeypatch.setattr(pool, "_take", iter([own, Decoder()]).__next__)
    with opened(FLAC, AudioLimits()) as file:
        assert pool.decode(Job("x", AudioLimits(), None), file.descriptor, spool.descriptor).damaged == 0
    pool.close()


def test_a_text_of_two_gigabytes_is_not_made_room_for(own: Decoder) -> None:
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 0x7FFFFFFF, b"WAVE", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16)
    text = struct.pack("<4sI4s4sI", b"LIST", 0x7F000000, b"INFO", b"ISFT", 0x70000000)
    before = resident(own.pid)
    with pytest.raises(AudioError):
        decoded(own, head + text + bytes(4000))
    assert resident(own.pid) - before < 100 << 20


def test_memory_is_flat_for_any_length(own: Decoder) -> None:
    decoded(own, encoded("flac", seconds=30))
    before = resident(own.pid)
    assert decoded(own, encoded("flac", seconds=480)).claimed == 480
    assert resident(own.pid) - before < 8 << 20


def test_a_broken_interpreter_is_a_fault_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "BOOT", "import sys  # {path} {ends}")
    own = Decoder()
    with pytest.raises(HostError, match="PyAV or numpy is broken"):
        decoded(own, FLAC)
    assert not own.alive


def test_several_threads_share_the_pool() -> None:
    load, lengths = VoxtralAudioProcessor().load, []
    threads = [threading.Thread(target=lambda: lengths.append(load(FLAC).count)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lengths == [16_000] * 8
    assert len(POOL._idle) <= (os.cpu_count() or 1)


def test_a_forked_child_has_decoders_of_its_own() -> None:
    load = VoxtralAudioProcessor().load
    load(FLAC)
    code = (
        "import os, sys; from voxtral_ops.audio import VoxtralAudioProcessor as P; data = sys.stdin.buffer.read();"
        "P().load(data); child = os.fork();"
        "same = P().load(data).count == 16000;"
        "os._exit(not same) if child == 0 else sys.exit(os.waitpid(child, 0)[1] or not same)"
    )
    subprocess.run([sys.executable, "-c", code], input=FLAC, check=True)


ORPHAN = """
import os, sys, threading, time
from voxtral_ops.audio import VoxtralAudioProcessor
from voxtral_ops.audio.decoder import POOL
load = VoxtralAudioProcessor().load
load(sys.argv[1])
pid = POOL._idle[0].pid
os.kill(pid, 19)
threading.Thread(target=load, args=[sys.argv[1]], daemon=True).start()
time.sleep(0.2)
print(pid, flush=True)
time.sleep(60)
"""


def test_nothing_is_left_when_its_user_is_killed(tmp_path: Path) -> None:
    recording = tmp_path / "talk.flac"
    recording.write_bytes(FLAC)
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", ORPHAN, recording], stdout=subprocess.PIPE, env=environment) as user:
        assert user.stdout is not None
        pid = int(user.stdout.readline())
        user.kill()
        user.wait()
        os.kill(pid, signal.SIGCONT)
        deadline = time.monotonic() + 30
        while Path(f"/proc/{pid}/cmdline").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
    assert not Path(f"/proc/{pid}/cmdline").exists()
    assert list(tmp_path.iterdir()) == [recording]


def test_a_spool_has_no_name_and_is_this_users_alone(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert os.fstat(spool.descriptor).st_mode & 0o777 == 0o600


def test_plain_wav_needs_no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders.DecoderPool, "decode", lambda *_: pytest.fail("a decoder was asked"))
    assert VoxtralAudioProcessor().load(wav(tone(1.0))).count == 16_000
