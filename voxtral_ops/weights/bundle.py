"""Bundles for sites without a hub: a release's weights and wheels, in one plain tar or in one folder.

::

    bundle.json                    the release, and the wheels, each file by its size and sha256
    models/<model>/<file> …        in the order of bundle.json
    wheels/<file> …

A bundle is read from its beginning to its end and nowhere else, so that it may come through a pipe. What may come next
is always known: anything else is refused before its bytes are looked at. ``bundle.json`` is believed as far as the
operator's own release says the same, or as the operator has accepted its sha256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from voxtral_ops.errors import ReleaseError
from voxtral_ops.release import Release, ReleaseFile, ReleaseModel
from voxtral_ops.weights.transport import Reading

HEAD = "bundle.json"
CHUNK = 1 << 20
HEAD_LIMIT = 4 << 20
"""No honest list is longer."""
CARRY_AGAIN = "carry it here again; nothing of this was installed"


class Wheels(BaseModel):
    """Packages for hosts that have no package index: for which engine build, and which Python and processor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    build: str
    python: str
    machine: str
    files: tuple[ReleaseFile, ...]


class Contents(BaseModel):
    """What a bundle holds besides the release's models."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    whisper: ReleaseModel | None = None
    """The fallback's weights."""
    wheels: Wheels | None = None


class Bundle(BaseModel):
    """``bundle.json``. It is also a release for an inventory: Ansible reads ``voxtral_release`` out of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    voxtral_release: Release
    voxtral_bundle: Contents

    @property
    def models(self) -> tuple[ReleaseModel, ...]:
        """Every model whose weights are in the bundle, in their order."""
        whisper = self.voxtral_bundle.whisper
        return (*self.voxtral_release.models, *((whisper,) if whisper else ()))

    @property
    def members(self) -> tuple[ReleaseFile, ...]:
        """Every member behind ``bundle.json``, in its order."""
        wheels = self.voxtral_bundle.wheels
        listed = [(member_name(model, file), file) for model in self.models for file in model.files]
        listed += [(f"wheels/{file.path}", file) for file in (wheels.files if wheels else ())]
        return tuple(ReleaseFile(path=name, size=file.size, sha256=file.sha256) for name, file in listed)

    @property
    def text(self) -> bytes:
        """The bytes of ``bundle.json``."""
        return (self.model_dump_json(indent=1) + "\n").encode()

    @property
    def fingerprint(self) -> str:
        """The sha256 of ``bundle.json``, which holds every other one."""
        return hashlib.sha256(self.text).hexdigest()


def member_name(model: ReleaseModel, file: ReleaseFile) -> str:
    """Say where a model's file lies in a bundle."""
    return f"models/{model.name}/{file.path}"


@dataclass(frozen=True)
class Member:
    """One file of a bundle, at the moment when it can be read. ``kind`` is what it is instead, if it is none."""

    name: str
    size: int
    stream: IO[bytes] | None
    kind: str = "file"


class Carrier(Protocol):
    """What a bundle comes in: a tar, or a folder."""

    name: str

    def members(self) -> Iterator[Member]:
        """Yield what is there, ``bundle.json`` first; each is read before the next is asked for."""
        ...

    def damaged(self, error: Exception) -> ReleaseError:
        """Say that the carrier itself cannot be read."""
        ...


class BundleReader:
    """Reads a bundle once, checking every step: the next member must be the one that ``bundle.json`` names next."""

    def __init__(self, carrier: Carrier) -> None:
        self.name = carrier.name
        self._carrier = carrier
        self._members = carrier.members()
        raw = self._head()
        self.fingerprint = hashlib.sha256(raw).hexdigest()
        self.bundle = self._parsed(raw)
        self._ahead = list(self.bundle.members)
        self._seen: set[str] = {HEAD}

    def _head(self) -> bytes:
        member = self._next()
        if member is None or member.name != HEAD or member.stream is None:
            found = f"begins with {member.name!r}" if member else "is empty"
            raise ReleaseError(
                f"{self.name} is not a bundle: it {found}, not with {HEAD}",
                hint="`voxtral-ops weights export` makes bundles",
                path=self.name,
            )
        if member.size > HEAD_LIMIT:
            raise self._refused(HEAD, f"claims {member.size:,} bytes, and no list is longer than {HEAD_LIMIT:,}")
        return b"".join(self._blocks(member, HEAD, member.size))

    def _parsed(self, raw: bytes) -> Bundle:
        try:
            bundle = Bundle.model_validate_json(raw)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise self._refused(HEAD, f"is not a list of ours: {where}: {first['msg']}") from error
        names = [file.path for file in bundle.members]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise self._refused(HEAD, f"names {twice} twice")
        wheels = bundle.voxtral_bundle.wheels
        if any("/" in file.path or file.path.startswith(".") for file in (wheels.files if wheels else ())):
            raise self._refused(HEAD, "names a wheel that lies in a folder")
        return bundle

    def blocks(self, file: ReleaseFile) -> Iterator[bytes]:
        """Yield a member's bytes; what lies before it is read past, and checked all the same.

        Raises ReleaseError when the member is not the next, is no plain file, lies about its size, ends early,
        or has other bytes: the last block is held back until the sha256 is right.
        """
        if file not in self._ahead:
            raise ReleaseError(
                f"{self.name}: {file.path} has gone by, and what was kept of it is wrong",
                hint="import again: it is then taken anew",
                path=file.path,
                source=self.name,
            )
        while self._ahead[0] != file:
            self._pass()
        yield from self._proven(self._ahead.pop(0))

    def skip(self, model: ReleaseModel) -> None:
        """Read past what is left of a model."""
        wanted = {member_name(model, file) for file in model.files}
        while self._ahead and self._ahead[0].path in wanted:
            self._pass()

    def finish(self) -> None:
        """Read to the end. Raises ReleaseError where something is left that nobody named."""
        while self._ahead:
            self._pass()
        member = self._next()
        if member is not None:
            raise self._unexpected(member, None)

    def _pass(self) -> None:
        for _ in self._proven(self._ahead.pop(0)):
            pass

    def _proven(self, file: ReleaseFile) -> Iterator[bytes]:
        member = self._next()
        if member is None:
            raise ReleaseError(
                f"{self.name} is cut short: {file.path} is missing", hint=CARRY_AGAIN, path=file.path, source=self.name
            )
        if member.name != file.path or member.stream is None:
            raise self._unexpected(member, file)
        if member.size != file.size:
            raise self._refused(file.path, f"has {member.size:,} bytes, and {HEAD} names {file.size:,}")
        self._seen.add(member.name)
        digest, held = hashlib.sha256(), b""
        for block in self._blocks(member, file.path, file.size):
            digest.update(block)
            if held:
                yield held
            held = block
        if digest.hexdigest() != file.sha256:
            raise self._refused(file.path, f"has sha256 {digest.hexdigest()}, not {file.sha256}")
        if held:
            yield held

    def _blocks(self, member: Member, name: str, size: int) -> Iterator[bytes]:
        left = size
        while left:
            try:
                block = member.stream.read(min(CHUNK, left)) if member.stream else b""
            except Exception as error:
                raise self._carrier.damaged(error) from error
            if not block:
                raise ReleaseError(
                    f"{self.name} is cut short in {name}: {left:,} bytes are missing",
                    hint=CARRY_AGAIN,
                    path=name,
                    source=self.name,
                )
            left -= len(block)
            yield block

    def _next(self) -> Member | None:
        return next(self._members, None)

    def _unexpected(self, member: Member, wanted: ReleaseFile | None) -> ReleaseError:
        if member.kind != "file":
            return self._refused(member.name, f"is {member.kind}; a bundle holds plain files only")
        if member.name.startswith("/") or ".." in member.name.split("/"):
            return self._refused(member.name, "leads out of the bundle")
        if member.name in self._seen:
            return self._refused(member.name, "is there twice")
        if wanted is None or member.name not in {file.path for file in self._ahead}:
            return self._refused(member.name, f"is not named in {HEAD}")
        return self._refused(member.name, f"stands where {wanted.path} should be")

    def _refused(self, member: str, problem: str) -> ReleaseError:
        return ReleaseError(
            f"{self.name}: {member!r} {problem}",
            hint=f"the bundle is damaged or was tampered with: {CARRY_AGAIN}",
            path=member,
            source=self.name,
        )


class BundleSource:
    """One model of a bundle, as a place that its files come from: each once, in their order."""

    streams = 1

    def __init__(self, reader: BundleReader, model: ReleaseModel) -> None:
        self.name = reader.name
        self._reader, self._model = reader, model

    def open(self, file: ReleaseFile, start: int, stop: int) -> Reading:
        """Read on to the file and give all that is left of it: nobody can jump in a pipe."""
        member = ReleaseFile(path=member_name(self._model, file), size=file.size, sha256=file.sha256)
        return Reading(file.size, _from(self._reader.blocks(member), start))


def _from(blocks: Iterable[bytes], start: int) -> Generator[bytes, None, None]:
    """Leave out what is there already; it is hashed all the same."""
    for block in blocks:
        part = block[start:]
        start = max(0, start - len(block))
        if part:
            yield part


def agree(bundle: Bundle, release: Release, name: str, only: frozenset[str] | None = None) -> None:
    """Compare a bundle with the operator's own release: each model that it holds, or those of ``only``.

    Raises ReleaseError at the first that differs, or is missing on one side.
    """
    held = {model.name: model for model in bundle.voxtral_release.models}
    wanted = {model.name: model for model in release.models}
    for model_name in sorted(only or held):
        problem = _difference(held.get(model_name), wanted.get(model_name), model_name)
        if problem:
            raise ReleaseError(
                f"{name} is not of this release: {problem}",
                hint="export again from the release that the site runs, or name the other release",
                source=name,
            )


def _difference(held: ReleaseModel | None, wanted: ReleaseModel | None, name: str) -> str:
    if held is None:
        return f"it does not hold {name}"
    if wanted is None or wanted.repository != held.repository:
        return f"the release does not name {name} of {held.repository}"
    if wanted.revision != held.revision:
        return f"{name} is at {held.revision} there, and the release names {wanted.revision}"
    return "" if wanted.files == held.files else f"the files of {name} are not those that the release names"


def accept(reader: BundleReader, fingerprint: str) -> None:
    """Compare a bundle with the sha256 that the operator was told by whoever made it."""
    if fingerprint.lower() != reader.fingerprint:
        raise ReleaseError(
            f"{reader.name} has the fingerprint {reader.fingerprint}, not {fingerprint}",
            hint="`voxtral-ops weights export` printed the right one when it made the bundle",
            source=reader.name,
        )
