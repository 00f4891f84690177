"""What bundles come in: a plain tar, read and written as a stream, or a folder."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Self

from pydantic import ValidationError

from voxtral_ops.ansible_plugins.module_utils.voxtral_progress import report
from voxtral_ops.errors import HostError, ReleaseError
from voxtral_ops.release import ReleaseFile
from voxtral_ops.weights.bundle import CARRY_AGAIN, CHUNK, HEAD, Bundle, Member
from voxtral_ops.weights.files import host_errors, sync_directory
from voxtral_ops.weights.locks import beside
from voxtral_ops.weights.place import MARGIN

LONGEST_NAME = 512
KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.DIRTYPE: "a folder",
}
Part = tuple[ReleaseFile, Path]


class _PlainHeader(tarfile.TarInfo):
    """A header that is refused where the library would read on by itself: extended headers may be endless."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        long_name = header.type == tarfile.GNUTYPE_LONGNAME and header.size <= LONGEST_NAME
        if not long_name and header.type not in {*tarfile.REGULAR_TYPES[:2], *KINDS}:
            raise ReleaseError(
                f"{header.name!r} is something that our bundles never hold (tar type {header.type!r})",
                hint=f"the bundle is damaged or was tampered with: {CARRY_AGAIN}",
                path=header.name,
            )
        return header


class TarCarrier:
    """A tar that is read once, from a file or a pipe."""

    def __init__(self, name: str, stream: IO[bytes]) -> None:
        self.name = name
        self._stream = stream

    def members(self) -> Iterator[Member]:
        """Yield the members; links, devices and folders as what they are, so that they are refused by name."""
        try:
            with tarfile.open(fileobj=self._stream, mode="r|", tarinfo=_PlainHeader) as archive:
                for header in archive:
                    kind = KINDS.get(header.type, "file")
                    content = archive.extractfile(header) if kind == "file" else None
                    yield Member(header.name, header.size, content, kind)
        # A chain of long names without end exhausts the library's recursion.
        except (tarfile.TarError, EOFError, OSError, ValueError, RecursionError) as error:
            if isinstance(error, ReleaseError):
                raise
            raise self.damaged(error) from error

    def damaged(self, error: Exception) -> ReleaseError:
        """Say that the tar itself cannot be read."""
        return ReleaseError(f"{self.name} is cut short or no tar: {error}", hint=CARRY_AGAIN, path=self.name)


class FolderCarrier:
    """A folder, of which nothing is followed."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder

    def members(self) -> Iterator[Member]:
        """Yield what ``bundle.json`` names, in its order, and then whatever else lies there."""
        seen = {HEAD}
        yield from self._member(HEAD)
        for file in self._named():
            seen.add(file.path)
            yield from self._member(file.path)
        for path in sorted(self._folder.rglob("*")):
            name = path.relative_to(self._folder).as_posix()
            if name not in seen and (path.is_symlink() or not path.is_dir()):
                yield from self._member(name)

    def _named(self) -> tuple[ReleaseFile, ...]:
        try:
            return Bundle.model_validate_json((self._folder / HEAD).read_bytes()).members
        except (OSError, ValidationError):
            return ()  # it has changed since the reader accepted it

    def _member(self, name: str) -> Iterator[Member]:
        """Open a file so that no part of its name may be a link; what is missing is not yielded."""
        try:
            descriptor = self._open(name)
        except FileNotFoundError:
            return
        except OSError:
            yield Member(name, 0, None, "a link, or something that cannot be opened")
            return
        with os.fdopen(descriptor, "rb") as stream:
            facts = os.fstat(descriptor)
            if stat.S_ISREG(facts.st_mode):
                yield Member(name, facts.st_size, stream)
            else:
                yield Member(name, 0, None, "no plain file")

    def _open(self, name: str) -> int:
        *folders, last = name.split("/")
        place = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for folder in folders:
                below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place)
                os.close(place)
                place = below
            # A pipe without a writer must not hold us.
            return os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
        finally:
            os.close(place)

    def damaged(self, error: Exception) -> ReleaseError:
        """Say that the folder cannot be read."""
        return ReleaseError(f"{self.name} cannot be read: {error}", hint=CARRY_AGAIN, path=self.name)


def write_tar(stream: IO[bytes], bundle: Bundle, parts: Iterable[Part]) -> None:
    """Write a bundle to a stream. The same contents give the same bytes."""
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(_header(HEAD, len(bundle.text)), io.BytesIO(bundle.text))
        for file, path in parts:
            with _Proven(file, path) as content:
                archive.addfile(_header(file.path, file.size), content)
                content.check()


def write_folder(folder: Path, bundle: Bundle, parts: Iterable[Part]) -> None:
    """Write a bundle into a folder that is empty."""
    for file, path in parts:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        with _Proven(file, path) as content, target.open("wb") as output:
            shutil.copyfileobj(content, output, CHUNK)
            output.flush()
            os.fsync(output.fileno())
            content.check()
    (folder / HEAD).write_bytes(bundle.text)


def _header(name: str, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.mode = size, 0o644
    return header


class _Proven(io.RawIOBase):
    """A file that is hashed while it is read: what has changed since it was verified is not passed on unseen."""

    def __init__(self, file: ReleaseFile, path: Path) -> None:
        super().__init__()
        self._file, self._path = file, path
        self._stream = path.open("rb")
        self._digest, self._done = hashlib.sha256(), 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(size)
        self._digest.update(block)
        self._done += len(block)
        report(f"exporting {self._file.path}", min(1.0, self._done / max(1, self._file.size)))
        return block

    def check(self) -> None:
        if self._done != self._file.size or self._digest.hexdigest() != self._file.sha256:
            raise ReleaseError(
                f"{self._path} is not what the release names; nothing was exported",
                hint="`voxtral-ops weights verify --deep` says what is wrong here",
                path=self._path,
            )

    def close(self) -> None:
        self._stream.close()
        super().close()


@contextmanager
def appearing(target: Path, size: int) -> Iterator[Path]:
    """Give a place to write to, which becomes ``target`` when all is written; what a crash leaves is used up next."""
    if target.exists():
        raise HostError(f"{target} exists already", hint="remove it, or choose another name", path=target)
    temporary = beside(target.absolute(), "partial")
    if not temporary.parent.is_dir():
        raise HostError(f"{temporary.parent} is no folder", hint="make it first", path=temporary.parent)
    with host_errors(target):
        try:
            _remove(temporary)
            free = shutil.disk_usage(temporary.parent).free
            if size + MARGIN > free:
                raise HostError(
                    f"{temporary.parent} has {free:,} bytes free and the bundle needs {size + MARGIN:,}",
                    hint="choose a larger disk, or write to a pipe with -",
                    path=temporary.parent,
                )
            yield temporary
            temporary.rename(target)
            sync_directory(temporary.parent)
        finally:
            _remove(temporary)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_bundle(target: Path, bundle: Bundle, parts: Iterable[Part]) -> None:
    """Write a bundle to a file (``.tar``) or a folder, whole or not at all."""
    size = sum(file.size for file in bundle.members)
    with appearing(target, size) as temporary:
        if target.suffix == ".tar":
            with temporary.open("wb") as stream:
                write_tar(stream, bundle, parts)
                stream.flush()
                os.fsync(stream.fileno())
        else:
            temporary.mkdir()
            write_folder(temporary, bundle, parts)
