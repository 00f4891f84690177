"""A fetch that is interrupted goes on from there: after a kill to the byte, after a power cut from what was synced."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.hub import Fault, Hub, Repository, running_hub
from tests.unit.weights.conftest import FILES, REPOSITORY
from voxtral_ops.errors import VoxtralError
from voxtral_ops.release import ReleaseFile, ReleaseModel
from voxtral_ops.weights import DirectorySource, HubSource, WeightsStore, fetch, journal, patience, pieces, transport
from voxtral_ops.weights.journal import JOURNAL
from voxtral_ops.weights.verify import OWN

BIG = "consolidated.safetensors"
PIECE = 10_000
CHUNK = PIECE * transport.STREAMS
"""What is under way at most, and so what an interruption can cost."""


class Killed(BaseException):
    """Ends a fetch as a signal would: no handler of errors sees it."""


def killer(at: int) -> fetch.Watch:
    """Kill when so many bytes are here."""

    def watch(text: str, done: int, total: int) -> None:
        if done >= at:
            raise Killed

    return watch


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", PIECE)
    monkeypatch.setattr(fetch, "PIECE", PIECE)
    monkeypatch.setattr(fetch, "TELL_SECONDS", 0)


@pytest.fixture
def partial(store: WeightsStore, model: ReleaseModel) -> Path:
    return store.path(model).with_name(f".{model.revision}.partial")


def interrupted(store: WeightsStore, model: ReleaseModel, folder: Path, at: int) -> None:
    with pytest.raises(Killed):
        store.install(model, DirectorySource(folder), watch=killer(at))


def test_what_was_written_is_kept_and_nothing_is_to_be_seen(
    store: WeightsStore, model: ReleaseModel, folder: Path, partial: Path
) -> None:
    interrupted(store, model, folder, 30_000)
    assert store.models() == ()
    kept = (partial / BIG).stat().st_size
    assert kept >= 30_000
    assert (partial / BIG).read_bytes() == FILES[BIG][:kept]
    assert partial.stat().st_mode & 0o777 == 0o700
    assert store.install(model, DirectorySource(folder)) is True
    assert not partial.exists()


def test_after_another_boot_only_what_was_synced_counts(
    store: WeightsStore, model: ReleaseModel, folder: Path, partial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "SYNC_EVERY", 30_000)
    interrupted(store, model, folder, 80_000)
    synced = json.loads((partial / JOURNAL).read_text())["synced"][BIG]
    assert 30_000 <= synced < (partial / BIG).stat().st_size
    with (partial / BIG).open("rb+") as stream:  # the pages that never reached the disk
        stream.seek(synced)
        stream.write(bytes((partial / BIG).stat().st_size - synced))
    monkeypatch.setattr(journal, "boot_id", lambda: "after the power cut")
    notes = journal.Journal(partial)
    notes.open()
    assert (partial / BIG).read_bytes() == FILES[BIG][:synced]
    assert store.install(model, DirectorySource(folder)) is True
    assert store.verify(model, deep=True).ok


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"boot": 1, "synced": {"x": "y"}}'])
def test_without_notes_nothing_is_believed(
    store: WeightsStore, model: ReleaseModel, folder: Path, partial: Path, text: str | None
) -> None:
    interrupted(store, model, folder, 50_000)
    (partial / JOURNAL).unlink()
    if text is not None:
        (partial / JOURNAL).write_text(text)
    journal.Journal(partial).open()
    assert (partial / BIG).stat().st_size == 0
    assert store.install(model, DirectorySource(folder)) is True


def test_a_sealed_directory_that_was_not_renamed_is_taken_as_it_is(
    hub: Hub, store: WeightsStore, model: ReleaseModel, partial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.install(model, HubSource(model.repository, model.revision))
    store.path(model).rename(partial)
    monkeypatch.setattr(journal, "boot_id", lambda: "another boot")
    hub.sent.clear()
    assert store.install(model, HubSource(model.repository, model.revision)) is True
    assert hub.sent.total() == 0


def test_a_boot_without_a_name_is_every_time_another_one(
    store: WeightsStore, model: ReleaseModel, folder: Path, partial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "boot_id", lambda: "")
    interrupted(store, model, folder, 50_000)
    journal.Journal(partial).open()
    assert (partial / BIG).stat().st_size == 0


def test_kept_garbage_is_fetched_anew_and_nobody_is_blamed(
    hub: Hub, store: WeightsStore, model: ReleaseModel, folder: Path, partial: Path
) -> None:
    interrupted(store, model, folder, 50_000)
    (partial / BIG).write_bytes(b"\0" * 50_000)
    assert store.install(model, HubSource(model.repository, model.revision)) is True
    assert store.verify(model, deep=True).ok


SIZES = st.sampled_from([0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 77_777])
PASSING = st.one_of(
    st.builds(Fault, kind=st.sampled_from(["cut", "reset"]), at=st.integers(0, PIECE)),
    st.builds(Fault, kind=st.just("status"), status=st.sampled_from([408, 500, 502, 503, 504])),
    st.builds(Fault, kind=st.just("status"), status=st.just(429), headers=st.just({"Retry-After": "0"})),
)
REFUSED = st.one_of(
    st.builds(Fault, kind=st.sampled_from(["html", "loop", "packed", "short"])),
    st.builds(Fault, kind=st.just("etag"), at=st.integers(1, 3)),
    st.builds(Fault, kind=st.just("shift"), at=st.integers(1, PIECE)),
)


@pytest.fixture(scope="module")
def place() -> Iterator[Hub]:
    with running_hub() as hub:
        yield hub


@settings(max_examples=15, deadline=None)
@given(
    sizes=st.lists(SIZES, min_size=1, max_size=3),
    faults=st.lists(st.one_of(PASSING, PASSING, REFUSED), max_size=8),
    kills=st.lists(st.integers(0, 150_000), max_size=4),
)
def test_any_sequence_ends_in_the_right_bytes_or_says_why(
    place: Hub, sizes: list[int], faults: list[Fault], kills: list[int]
) -> None:
    contents = {f"part-{number}.bin": bytes([number]) * size for number, size in enumerate(sizes)}
    files = tuple(
        ReleaseFile(path=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())
        for name, data in contents.items()
    )
    model = ReleaseModel(name="any", repository=REPOSITORY, revision="b" * 40, files=files)
    place.sent.clear()
    place.repositories[REPOSITORY] = Repository(contents, faults={files[0].path: list(faults)})
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", place.url)
        patch.setattr(patience, "FIRST_PAUSE", 0)
        store, waiting, interruptions = WeightsStore(Path(folder)), list(kills), len(faults)
        while True:
            try:
                watch = killer(waiting.pop()) if waiting else None
                assert store.install(model, HubSource(model.repository, model.revision), watch=watch) is True
                break
            except Killed:
                interruptions += 1
            except VoxtralError:
                interruptions += 1
            assert not store.path(model).exists()
            assert interruptions <= 2 * len(faults) + len(kills)
        assert store.verify(model, deep=True).ok
        assert {path.name for path in store.path(model).parent.iterdir()} == {model.revision}
        assert {path.name for path in store.path(model).iterdir()} == set(contents) | OWN
    assert place.sent.total() <= model.size + CHUNK * interruptions
