"""Small files written whole or not at all, under fixed names: what a killed process leaves, the next one uses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from voxtral_ops.errors import HostError, VoxtralError


@contextmanager
def host_errors(path: Path) -> Iterator[None]:
    """Say which file it was and what the system said about it, where nothing better is known."""
    try:
        yield
    except VoxtralError:
        raise
    except OSError as error:
        raise HostError(
            f"{error.filename or path}: {error.strerror or error}",
            hint="check the space and the rights there; then run the same command again",
            path=path,
        ) from error


def write_synced(path: Path, text: str, like: Path | None = None) -> None:
    """Write beside it, sync, rename; with the owner and mode of ``like``, where that is given."""
    # One spare name is enough: what two writers make of it at worst is a file that cannot be read, and is made again.
    spare = path.with_name(f"{path.name}.new")
    spare.unlink(missing_ok=True)
    # The directory may be the service's own: never write through a link that was put there.
    descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        if like is not None:
            facts = like.lstat()
            os.fchmod(descriptor, facts.st_mode & 0o777)
            if os.geteuid() == 0:
                os.fchown(descriptor, facts.st_uid, facts.st_gid)
        os.fsync(descriptor)
    spare.replace(path)


def sync_directory(path: Path) -> None:
    """Make a rename inside a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
