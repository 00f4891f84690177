"""Models appear whole or not at all, and verifying again what did not change costs nothing."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import pytest

from voxtral_ops.errors import HostError, ReleaseError
from voxtral_ops.release import ReleaseModel
from voxtral_ops.weights import DirectorySource, WeightsStore
from voxtral_ops.weights.verify import STAMPS


@pytest.fixture
def installed(store: WeightsStore, model: ReleaseModel, folder: Path) -> Path:
    assert store.install(model, DirectorySource(folder)) is True
    return store.path(model)


def test_install_from_a_directory(store: WeightsStore, model: ReleaseModel, installed: Path) -> None:
    assert store.verify(model).ok
    assert store.models() == (model,)
    assert store.install(model, DirectorySource(Path("/nowhere"))) is False


def test_a_fresh_model_is_verified_for_nothing(store: WeightsStore, model: ReleaseModel, installed: Path) -> None:
    assert store.verify(model).hashed == 0
    assert store.verify(model, deep=True).hashed == model.size


def test_same_size_other_bytes_are_found(store: WeightsStore, model: ReleaseModel, installed: Path) -> None:
    before = (installed / "tekken.json").stat()
    (installed / "tekken.json").write_bytes(b"z" * before.st_size)
    os.utime(installed / "tekken.json", ns=(before.st_atime_ns, before.st_mtime_ns))  # as a careful attacker would
    result = store.verify(model)
    assert not result.ok
    assert [(each.path, "sha256" in each.problem) for each in result.problems] == [("tekken.json", True)]


def test_a_stamp_as_young_as_its_file_is_not_trusted(store: WeightsStore, model: ReleaseModel, installed: Path) -> None:
    # Something was written in the same tick of the clock as the stamps: git calls such an entry racy.
    now = time.time_ns()
    os.utime(installed / STAMPS, ns=(now, (installed / "tekken.json").stat().st_ctime_ns))
    assert store.verify(model).hashed >= (installed / "tekken.json").stat().st_size


def test_touching_costs_one_reading_and_then_nothing(store: WeightsStore, model: ReleaseModel, installed: Path) -> None:
    (installed / "tekken.json").touch()
    first, second = store.verify(model), store.verify(model)
    assert first.ok
    assert (first.hashed, second.hashed) == (5000, 0)


@pytest.mark.parametrize(
    ("harm", "path", "problem"),
    [
        (lambda place: (place / "params.json").unlink(), "params.json", "is missing"),
        (lambda place: (place / "params.json").write_bytes(b"{}"), "params.json", "has 2 bytes, not 13"),
        (lambda place: (place / "consolidated-2.safetensors").touch(), "consolidated-2.safetensors", "does not name"),
        (
            lambda place: (
                (place / "params.json").rename(place.parent / "p"),
                (place / "params.json").symlink_to(place.parent / "p"),
            ),
            "params.json",
            "not a regular file",
        ),
    ],
)
def test_what_is_wrong_is_named(
    store: WeightsStore, model: ReleaseModel, installed: Path, harm: object, path: str, problem: str
) -> None:
    harm(installed)  # type: ignore[operator]
    result = store.verify(model)
    assert not result.ok
    assert [each.path for each in result.problems] == [path]
    assert problem in result.problems[0].problem


def test_a_damaged_model_is_mended_and_good_files_are_kept(
    store: WeightsStore, model: ReleaseModel, installed: Path, tmp_path: Path, folder: Path
) -> None:
    (installed / "params.json").write_bytes(b"broken")
    only = tmp_path / "only"
    only.mkdir()
    (folder / "params.json").rename(only / "params.json")  # nothing else can come from there
    assert store.install(model, DirectorySource(only)) is True
    assert store.verify(model, deep=True).ok


def test_a_directory_without_the_files(store: WeightsStore, model: ReleaseModel, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"has no consolidated\.safetensors"):
        store.install(model, DirectorySource(tmp_path))
    assert not store.path(model).exists()


def test_other_bytes_are_refused(store: WeightsStore, model: ReleaseModel, folder: Path) -> None:
    (folder / "consolidated.safetensors").write_bytes(b"0" * 102400)
    with pytest.raises(ReleaseError, match=r"consolidated\.safetensors"):
        store.install(model, DirectorySource(folder))
    assert not store.path(model).exists()
    assert [path for path in store.root.rglob("*") if path.is_file() and not path.name.endswith(".lock")] == []


def test_two_at_once(store: WeightsStore, model: ReleaseModel, folder: Path) -> None:
    parent = store.path(model).parent
    parent.mkdir(parents=True)
    with (parent / f".{model.revision}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = threading.Thread(target=store.install, args=(model, DirectorySource(folder)))
        waiting.start()
        waiting.join(0.6)
        assert waiting.is_alive()
        assert not store.path(model).exists()
    waiting.join()
    assert store.verify(model).ok
    assert not list(parent.glob(".*.lock"))


def test_an_unfinished_directory_is_not_a_model(store: WeightsStore, model: ReleaseModel, folder: Path) -> None:
    store.path(model).mkdir(parents=True)
    (store.path(model) / "params.json").write_bytes(b"half")
    assert store.models() == ()
    assert store.install(model, DirectorySource(folder)) is True
    assert store.verify(model).ok


def test_a_private_checkpoint_becomes_readable_for_the_service(
    store: WeightsStore, model: ReleaseModel, folder: Path
) -> None:
    for path in folder.iterdir():
        path.chmod(0o600)
    store.install(model, DirectorySource(folder))
    assert {path.stat().st_mode & 0o777 for path in store.path(model).iterdir()} == {0o640}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_files_belong_to_whom_the_store_belongs_to(store: WeightsStore, model: ReleaseModel, folder: Path) -> None:
    store.root.mkdir()
    os.chown(store.root, 65534, 65534)
    store.install(model, DirectorySource(folder))
    everything = [store.path(model), *store.path(model).iterdir()]
    assert {(path.stat().st_uid, path.stat().st_gid) for path in everything} == {(65534, 65534)}
    assert {path.stat().st_mode & 0o777 for path in everything} == {0o750, 0o640}
    os.chown(store.root, 1, 1)
    assert store.install(model, DirectorySource(folder)) is True
    assert {(path.stat().st_uid, path.stat().st_gid) for path in everything} == {(1, 1)}
    assert store.verify(model).hashed == 0, "giving files away is no reason to read them"
    assert store.install(model, DirectorySource(folder)) is False


def test_no_right_to_write(model: ReleaseModel, folder: Path) -> None:
    # Root may write everywhere, so the store is used as nobody, in a place that nobody can look into.
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as place:
        source, closed = Path(place) / "source", Path(place) / "closed"
        shutil.copytree(folder, source)
        closed.mkdir(mode=0o555)
        Path(place).chmod(0o755)
        source.chmod(0o755)
        if root:
            os.seteuid(65534)
        try:
            with pytest.raises(HostError, match="cannot be written"):
                WeightsStore(closed / "models").install(model, DirectorySource(source))
        finally:
            if root:
                os.seteuid(0)
