"""Bring files into a directory: from the byte that is there already, hashed as they pass, kept only when right."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from voxtral_ops.ansible_plugins.module_utils.voxtral_progress import report
from voxtral_ops.errors import NetworkError, ReleaseError, ServerError, VoxtralError
from voxtral_ops.release import ReleaseFile
from voxtral_ops.weights.journal import SYNC_EVERY, Journal
from voxtral_ops.weights.patience import Limit, Patience
from voxtral_ops.weights.pieces import PIECE, Window, planned
from voxtral_ops.weights.ranges import RangeSums
from voxtral_ops.weights.sources import Source

BLOCK = 1 << 20
AHEAD_SECONDS = 2.0
"""More streams are opened only as far as they hold what comes in this time: a kill on a slow line costs seconds too."""
TELL_SECONDS = 0.25

Watch = Callable[[str, int, int], None]
"""Is told what goes on, the bytes that are here, and the bytes there will be."""


class Meter:
    """Tells how far a fetch is: whoever watches, and the file that VOXTRAL_PROGRESS names."""

    def __init__(self, files: Sequence[ReleaseFile], watch: Watch | None) -> None:
        self._total = sum(file.size for file in files)
        self._done = 0
        self._watch = watch
        self._told = 0.0
        self._came = 0
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Tell something that has no measure."""
        report(text)
        if self._watch is not None:
            self._watch(text, self._done, self._total)

    def at(self, file: ReleaseFile, position: int, count: int, *, verb: str) -> None:
        """Tell that ``count`` more bytes of a file are here."""
        self._done += count
        self._came += count if verb == "fetching" else 0
        now = time.monotonic()
        if position < file.size and now - self._told < TELL_SECONDS:
            return
        self._told = now
        report(f"{verb} {file.path}", position / max(1, file.size))
        if self._watch is not None:
            self._watch(f"{verb} {file.path}", self._done, self._total)

    def back(self, count: int) -> None:
        """Tell that bytes were of no use."""
        self._done -= count

    @property
    def pieces_ahead(self) -> int:
        """How many pieces came in AHEAD_SECONDS, so far."""
        seconds = max(0.001, time.monotonic() - self._began)
        return int(self._came / seconds * AHEAD_SECONDS / PIECE)


class Tape:
    """One file that is written in order and hashed on the way."""

    def __init__(self, folder: Path, file: ReleaseFile, journal: Journal, meter: Meter) -> None:
        self.file, self.at = file, 0
        self.sums = RangeSums()
        self._journal, self._meter = journal, meter
        self._hash = hashlib.sha256()
        self._synced = 0
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def keep(self, size: int) -> None:
        """Read what an interrupted fetch left."""
        while self.at < size and (block := os.read(self._descriptor, min(BLOCK, size - self.at))):
            self._take(block, "reading again")
        self._synced = self.at

    def write(self, block: bytes) -> None:
        """Write what came."""
        view = memoryview(block)
        while view:
            view = view[os.write(self._descriptor, view) :]
        self._take(block, "fetching")
        if self.at - self._synced >= SYNC_EVERY:
            self._sync()

    def finish(self) -> str:
        """Sync, and say the sha256 of all of it."""
        self._sync()
        return self._hash.hexdigest()

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def _sync(self) -> None:
        os.fdatasync(self._descriptor)
        self._synced = self.at
        self._journal.synced(self.file.path, self.at)

    def _take(self, block: bytes, verb: str) -> None:
        self._hash.update(block)
        self.sums.feed(block)
        self.at += len(block)
        self._meter.at(self.file, self.at, len(block), verb=verb)


class Fetch:
    """Fills one directory that only this process writes to."""

    def __init__(self, folder: Path, journal: Journal, meter: Meter, limit: int | None) -> None:
        self.folder, self.journal, self.meter = folder, journal, meter
        self._limit = Limit(limit)
        self.sums: dict[str, tuple[int, ...]] = {}

    def run(self, files: Sequence[ReleaseFile], source: Source, plain: Source) -> None:
        """Bring every file from ``source``. What was kept and proves wrong is brought anew, once, from ``plain``."""
        kept = {file.path: kept_bytes(self.folder, file) for file in files}
        wrong = self._bring(files, kept, source, final=source is plain)
        if wrong:
            self._bring(wrong, {}, plain, final=True)

    def _bring(
        self, files: Sequence[ReleaseFile], kept: dict[str, int], source: Source, *, final: bool
    ) -> list[ReleaseFile]:
        wrong = []
        plan = [piece for file in files for piece in planned(file, kept.get(file.path, 0))]
        window, patience = Window(source, plan, self._limit), Patience(self.meter.say)
        try:
            for file in files:
                had = kept.get(file.path, 0)
                digest = self._one(file, had, window, patience, source)
                if digest == file.sha256:
                    continue
                self._drop(file)
                if final and not had:
                    raise _wrong(file, source, digest)
                wrong.append(file)
        finally:
            window.close()
        return wrong

    def _one(self, file: ReleaseFile, had: int, window: Window, patience: Patience, source: Source) -> str:
        tape = Tape(self.folder, file, self.journal, self.meter)
        try:
            window.fill(1)
            tape.keep(had)
            while tape.at < file.size:
                window.fill(self.meter.pieces_ahead)
                self._drain(tape, window, patience, source)
            self.sums[file.path] = tape.sums.sums
            return tape.finish()
        finally:
            tape.close()

    def _drain(self, tape: Tape, window: Window, patience: Patience, source: Source) -> None:
        """Write the piece at the head of the window, however often its line breaks."""
        piece = window.head()
        try:
            for block in piece.blocks():
                window.only_head_if_it_goes_on()
                if tape.at + len(block) > piece.stop:
                    raise _endless(tape.file, source)
                tape.write(block)
                patience.got(len(block))
                window.fill(self.meter.pieces_ahead)
            if tape.at < piece.stop:
                raise _early(tape, source)
            window.done()
        except VoxtralError as error:
            patience.pause(error)
            window.again(tape.at)

    def _drop(self, file: ReleaseFile) -> None:
        self.meter.back(file.size)
        self.journal.forget(file.path)
        (self.folder / file.path).unlink(missing_ok=True)


def kept_bytes(folder: Path, file: ReleaseFile) -> int:
    """Say how much of a file is there to go on from; remove what cannot be gone on with."""
    path = folder / file.path
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return 0
    # A shorter file with two names is an installed model's too: to write into it would change what is served.
    shared = facts.st_nlink > 1 and facts.st_size != file.size
    if stat.S_ISREG(facts.st_mode) and facts.st_size <= file.size and not shared:
        return facts.st_size
    path.unlink()
    return 0


def _wrong(file: ReleaseFile, source: Source, digest: str) -> ReleaseError:
    return ReleaseError(
        f"{file.path} from {source.name} is not the release's: sha256 {digest}, not {file.sha256}",
        hint="the source is damaged, or the release names other bytes; nothing was installed",
        path=file.path,
        source=source.name,
    )


def _early(tape: Tape, source: Source) -> NetworkError:
    return NetworkError(
        f"{tape.file.path} from {source.name} ended after {tape.at} of {tape.file.size} bytes",
        hint="run the same command again: it goes on from there",
        path=tape.file.path,
    )


def _endless(file: ReleaseFile, source: Source) -> ServerError:
    return ServerError(
        f"{file.path} from {source.name} does not end after {file.size} bytes",
        hint="use another place: set HF_ENDPOINT, or name a directory with the files (--from)",
        path=file.path,
        source=source.name,
    )
