"""How models go away: what lies in the store, who needs it, and removing the rest so that a crash leaves no half.

A directory is renamed to a name that nobody reads, and only then emptied: at any moment a model is whole or gone, and
what a crash left under such a name is removed by the next run.
"""

from __future__ import annotations

import errno
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from voxtral_ops.catalog import catalog
from voxtral_ops.errors import HostError, ReleaseError
from voxtral_ops.paths import Layout
from voxtral_ops.release import ReleaseModel
from voxtral_ops.weights.files import sync_directory
from voxtral_ops.weights.locks import alone, beside
from voxtral_ops.weights.place import ORDERED
from voxtral_ops.weights.verify import MANIFEST
from voxtral_ops.weights.whisper import WHISPER, whisper_model, whisper_path

Kind = Literal["model", "unproven", "partial", "leftover", "lock"]
GRACE_SECONDS = 3600.0
"""A model this young may be waiting for the release that will name it."""
FEWEST_RELEASES = 2
"""The current one and the one before it."""

_LEFTOVERS = ("old", "trash", "partial.old", "package")
_REVISION = re.compile(r"[0-9a-f]{40}")
_BESIDE = re.compile(r"\.([0-9a-f]{40}|tiny\.en)\.(partial\.old|partial|old|trash|lock)")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class NamedRelease(_Record):
    """A release that is on this host, and the directories of its models, relative to the store."""

    id: str
    current: bool
    models: frozenset[str]


class Needs(_Record):
    """Who needs what: the releases, newest first, and the models that a running server has open."""

    releases: tuple[NamedRelease, ...] = ()
    served: frozenset[str] = frozenset()

    def kept(self, keep_releases: int | None) -> tuple[NamedRelease, ...]:
        """The releases that count: all, or the newest ones, and always the current one and the one before."""
        if keep_releases is None:
            return self.releases
        if keep_releases < FEWEST_RELEASES:
            raise ReleaseError(
                f"keeping {keep_releases} releases would leave no way back",
                hint=f"keep at least {FEWEST_RELEASES}: the current one and the one before it",
            )
        # Sorting is stable: the current one first, the others from the newest on.
        return tuple(sorted(self.releases, key=lambda release: not release.current)[:keep_releases])


class Held(_Record):
    """One thing that lies in the store. ``total`` is how large it will be, where that is known."""

    path: Path
    directory: str
    """``<repository>/<revision>``, whichever of its names this is."""
    kind: Kind
    model: str = ""
    bytes: int = 0
    total: int | None = None
    age: float = 0.0
    releases: tuple[str, ...] = ()
    current: bool = False
    served: bool = False


class Decision(_Record):
    """Whether something goes, and why."""

    held: Held
    remove: bool
    reason: str


class _PlannedInstance(BaseModel):
    repository: str
    revision: str


class _Planned(BaseModel):
    """The part of a plan that says which models it serves; the rest is the planner's."""

    instances: tuple[_PlannedInstance, ...]


def find_needs(layout: Layout, root: Path, running: Iterable[Path] = ()) -> Needs:
    """Read the releases of this host. ``running`` are the directories of the instances that servers run from.

    Raises ReleaseError when a release cannot be read: who cannot know what is needed must not remove anything.
    """
    current = layout.current.resolve() if layout.current.exists() else None
    found = [
        (path, NamedRelease(id=path.parent.name, current=path.parent.resolve() == current, models=_models(path, root)))
        for path in layout.releases.glob("*/plan.json")
    ]
    found.sort(key=lambda pair: pair[0].stat().st_mtime, reverse=True)
    served = {name for directory in running for name in _linked(directory, root)}
    return Needs(releases=tuple(release for _, release in found), served=frozenset(served))


def _models(plan: Path, root: Path) -> frozenset[str]:
    try:
        instances = _Planned.model_validate_json(plan.read_bytes()).instances
    except (OSError, ValidationError) as error:
        raise ReleaseError(
            f"{plan} cannot be read, so nobody knows which models it needs",
            hint=f"provision again, or remove {plan.parent} if that release is not wanted any more",
            path=plan,
        ) from error
    planned = {f"{instance.repository}/{instance.revision}" for instance in instances}
    folders = tuple(plan.parent.glob("instances/*"))
    # The links are what servers follow; a release that is only half written has not got them yet.
    whole = len(folders) >= len(instances) and all((each / "model").is_symlink() for each in folders)
    return frozenset(name for each in folders for name in _linked(each, root)) if whole else frozenset(planned)


def _linked(instance: Path, root: Path) -> Iterator[str]:
    """Name the model that an instance's link leads to, if it lies in this store."""
    target, store = (instance / "model").resolve(), root.resolve()
    if target != store and target.is_relative_to(store):
        yield target.relative_to(store).as_posix()


def survey(root: Path, needs: Needs, now: float | None = None) -> tuple[Held, ...]:
    """List everything of ours in the store. What has no name of ours is nobody's business here."""
    moment = time.time() if now is None else now
    places = sorted([*root.glob("*/*/*"), *root.glob("whisper/*")])
    return tuple(held for path in places if (held := _look(root, path, needs, moment)) is not None)


def _look(root: Path, path: Path, needs: Needs, now: float) -> Held | None:
    if path == whisper_path(root).with_name(".package"):
        return _held(root, path, whisper_path(root), "package", needs, now)
    match = _BESIDE.fullmatch(path.name)
    name = match[1] if match else path.name
    directory = path.with_name(name)
    if not _REVISION.fullmatch(name) and directory != whisper_path(root):
        return None
    try:
        return _held(root, path, directory, match[2] if match else "", needs, now)
    except FileNotFoundError:
        return None  # removed while we looked


def _held(root: Path, path: Path, directory: Path, suffix: str, needs: Needs, now: float) -> Held:  # noqa: PLR0913, PLR0917 - one look
    relative = directory.relative_to(root).as_posix()
    manifest = _manifest(root, path, directory)
    facts = path.lstat()
    kind: Kind = "leftover" if suffix in _LEFTOVERS else "unproven"
    if suffix in {"partial", "lock"}:
        kind = "partial" if suffix == "partial" else "lock"
    elif not suffix and manifest is not None:
        kind = "model"
    users = tuple(release for release in needs.releases if relative in release.models)
    return Held(
        path=path,
        directory=relative,
        kind=kind,
        model=manifest.name if manifest else "",
        bytes=manifest.size if kind == "model" and manifest else _size(path),
        total=manifest.size if manifest else None,
        age=now - max(facts.st_mtime, facts.st_ctime),
        releases=tuple(release.id for release in users),
        current=any(release.current for release in users),
        served=relative in needs.served,
    )


def _manifest(root: Path, path: Path, directory: Path) -> ReleaseModel | None:
    """Read what a directory says of itself, and believe it only where it lies where it says."""
    if directory == whisper_path(root):
        return whisper_model() if path != directory or (path / MANIFEST).is_file() else None
    try:
        name = ORDERED if path.name.endswith(".partial") else MANIFEST
        model = ReleaseModel.model_validate_json((path / name).read_bytes())
    except (OSError, ValidationError):
        return None
    return model if root / model.directory == directory else None


def _size(path: Path) -> int:
    """Count what a file or a directory occupies: a file that is being fetched may be longer than what it holds."""
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    return sum(each.lstat().st_blocks * 512 for each in path.rglob("*") if each.is_file())


def decide(
    held: Iterable[Held], needs: Needs, *, keep_releases: int | None = None, grace: float = GRACE_SECONDS
) -> tuple[Decision, ...]:
    """Say what goes and what stays, each with its reason. Changes nothing."""
    kept = {name: release for release in reversed(needs.kept(keep_releases)) for name in release.models}
    present = list(held)
    return tuple(_decide(each, present, needs, kept, grace) for each in present)


def _decide(held: Held, present: list[Held], needs: Needs, kept: dict[str, NamedRelease], grace: float) -> Decision:
    if held.kind == "leftover":
        return Decision(held=held, remove=True, reason="what an interrupted step left behind")
    if held.kind == "lock":
        others = any(each.directory == held.directory and each.kind != "lock" for each in present)
        reason = "guards what lies beside it" if others else "guards nothing any more"
        return Decision(held=held, remove=not others, reason=reason)
    reason = _why_kept(held, needs, kept, grace)
    unwanted = "an unfinished fetch that no release waits for" if held.kind == "partial" else "no release needs it"
    return Decision(held=held, remove=not reason, reason=reason or unwanted)


def _why_kept(held: Held, needs: Needs, kept: dict[str, NamedRelease], grace: float) -> str:
    if held.directory in needs.served:
        return "a running server has it open"
    if held.directory in kept:
        release = kept[held.directory]
        return f"{'the current ' if release.current else ''}release {release.id} needs it"
    if held.directory == f"whisper/{WHISPER}":
        return "the fallback needs it"
    if held.kind == "model" and held.age < grace:
        return f"fetched less than {grace / 3600:g} h ago: its release may be on the way"
    return ""


def collect(
    root: Path, look: Callable[[], Needs], *, keep_releases: int | None = None, grace: float = GRACE_SECONDS
) -> tuple[tuple[Decision, ...], tuple[str, ...]]:
    """Remove what nobody needs. Returns the decisions, and a line for everything that another process holds.

    ``look`` is asked again before each removal: what became needed meanwhile stays.
    """
    needs = look()
    decisions = decide(survey(root, needs), needs, keep_releases=keep_releases, grace=grace)
    busy: list[str] = []
    # Locks last: only then is known what they still guard.
    for decision in [each for each in decisions if each.remove and each.held.kind != "lock"]:
        fresh = look()
        if any(each.remove for each in decide((decision.held,), fresh, keep_releases=keep_releases, grace=grace)):
            busy += _remove_unless_busy(root, decision.held)
    remaining = survey(root, needs)
    for decision in decide(remaining, needs, keep_releases=keep_releases, grace=grace):
        if decision.remove and decision.held.kind == "lock":
            busy += _remove_unless_busy(root, decision.held)
    return decisions, tuple(busy)


def _remove_unless_busy(root: Path, held: Held) -> tuple[str, ...]:
    try:
        remove_held(root, held)
    except HostError as error:
        if not error.details.get("busy"):
            raise
        return (f"{held.path} is left alone: {error.message}",)
    return ()


def remove_model(
    root: Path, look: Callable[[], Needs], name: str, revision: str = "", *, force: bool = False
) -> tuple[Held, ...]:
    """Remove a model's directories and what is unfinished of it. Returns what went; empty where nothing was there.

    Raises ReleaseError where a server has it open, or a release names it and ``force`` is not given; then nothing
    of it has gone.
    """
    chosen = [
        held
        for held in survey(root, look())
        if name in _names(held) and held.directory.rpartition("/")[2].startswith(revision) and held.kind != "lock"
    ]
    check_unneeded(chosen, force=force)
    for held in chosen:
        remove_held(root, held)
    return tuple(chosen)


def check_unneeded(chosen: Iterable[Held], *, force: bool = False) -> None:
    """Raise ReleaseError where a server has one of them open, or a release names it and ``force`` is not given."""
    for held in chosen:
        if held.served or (held.releases and not force):
            users = "a running server" if held.served else f"release {', '.join(held.releases)}"
            raise ReleaseError(
                f"{held.directory} is needed by {users}",
                hint="stop the server first" if held.served else "--force removes it all the same",
                path=held.path,
            )


def _names(held: Held) -> set[str]:
    """Say what people call it: an unfinished fetch does not know its name, but its repository does."""
    repository, _, last = held.directory.rpartition("/")
    known = {name for name, model in catalog().items() if model.repository == repository}
    return {held.model, repository, *known, *({last} if last == WHISPER else ())} - {""}


def remove_held(root: Path, held: Held) -> None:
    """Make one thing be gone: all of it or nothing. Raises HostError when somebody works on it, or it will not go."""
    directory = root / held.directory
    try:
        with alone(directory):  # whose lock goes with it, so that there is nothing more to do for an old one
            if held.kind != "lock":
                _discard(held.path, directory)
    except HostError:
        raise
    except OSError as error:
        denied = error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}
        raise HostError(
            f"{error.filename or held.path} cannot be removed: {error.strerror}",
            hint="run as the owner of the models directory, or as root" if denied else "look at the disk, then again",
            path=held.path,
        ) from error
    _remove_empty(directory.parent, root)


def _discard(path: Path, directory: Path) -> None:
    trash = beside(directory, "trash")
    if trash.exists():
        shutil.rmtree(trash)
    if path != trash and path.exists():
        path.rename(trash)
        sync_directory(trash.parent)
        shutil.rmtree(trash)


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove the folders above the last model of a repository."""
    while folder != root:
        try:
            folder.rmdir()
        except OSError:
            return  # somebody else's model is in there
        folder = folder.parent
