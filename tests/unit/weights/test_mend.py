"""Damage is told to the range, and only that range is fetched again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.hub import Hub
from tests.unit.weights.conftest import FILES
from voxtral_ops.errors import NetworkError
from voxtral_ops.release import ReleaseModel
from voxtral_ops.weights import HubSource, WeightsStore, fetch, pieces, ranges, sources
from voxtral_ops.weights.verify import OWN

BIG = "consolidated.safetensors"
RANGE = 16_000


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (ranges, sources):
        monkeypatch.setattr(module, "RANGE", RANGE)
    for module in (pieces, fetch):
        monkeypatch.setattr(module, "PIECE", RANGE // 4)


@pytest.fixture
def installed(hub: Hub, store: WeightsStore, model: ReleaseModel) -> Path:
    store.install(model, HubSource(model.repository, model.revision))
    hub.sent.clear()
    return store.path(model)


def damage(path: Path, *places: int) -> None:
    data = bytearray(path.read_bytes())
    for place in places:
        data[place] ^= 1
    path.write_bytes(data)


def mend(store: WeightsStore, model: ReleaseModel) -> bool:
    return store.install(model, HubSource(model.repository, model.revision))


def test_the_wrong_ranges_are_named(store: WeightsStore, model: ReleaseModel, installed: Path) -> None:
    damage(installed / BIG, 0, 40_000, 50_000, 102_399)
    (problem,) = store.verify(model).problems
    assert problem.spans == ((0, 16_000), (32_000, 64_000), (96_000, 102_400))
    assert "bytes 0 to 15,999, 32,000 to 63,999, 96,000 to 102,399 are wrong" in problem.problem


def test_only_they_are_fetched_again(hub: Hub, store: WeightsStore, model: ReleaseModel, installed: Path) -> None:
    damage(installed / BIG, 40_000)
    assert mend(store, model) is True
    assert hub.sent == {BIG: RANGE}
    assert store.verify(model, deep=True).ok
    assert {path.name for path in installed.iterdir()} == {file.path for file in model.files} | OWN
    assert [path.name for path in installed.parent.iterdir()] == [model.revision]


def test_damage_that_left_the_stamps_alone_is_found_by_reading_and_then_mended(
    hub: Hub, store: WeightsStore, model: ReleaseModel, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A disk that lost a bit changes no time and no inode: here the stamps are made to say so.
    damage(installed / BIG, 1)
    from voxtral_ops.weights.verify import stamps_of, write_stamps

    write_stamps(installed, stamps_of(installed, model.files))
    assert store.verify(model).ok
    assert not store.verify(model, deep=True).ok
    assert not store.verify(model).ok, "what was found wrong once is not vouched for by old stamps"
    assert mend(store, model) is True
    assert hub.sent == {BIG: RANGE}


@pytest.mark.parametrize("spoil", ["unlink", "truncate", "lie"])
def test_without_sums_the_file_is_fetched_whole(
    hub: Hub, store: WeightsStore, model: ReleaseModel, installed: Path, spoil: str
) -> None:
    sums = installed / ranges.RANGES
    damage(installed / BIG, 40_000)
    if spoil == "unlink":
        sums.unlink()
    elif spoil == "truncate":
        sums.write_text(sums.read_text()[:20])
    else:
        # Whoever changed the file changed its sums as well: the sha256 is not fooled.
        ranges.write_ranges(installed, {BIG: _sums((installed / BIG).read_bytes())})
        assert store.verify(model).problems[0].spans == ()
    assert mend(store, model) is True
    assert hub.sent[BIG] == len(FILES[BIG])
    assert store.verify(model, deep=True).ok


def test_the_damaged_model_stays_until_the_right_one_is_there(
    hub: Hub, store: WeightsStore, model: ReleaseModel, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(installed / BIG, 40_000)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(NetworkError):
        mend(store, model)
    assert (installed / BIG).stat().st_size == len(FILES[BIG])
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    assert mend(store, model) is True


def test_a_truncated_file_of_an_installed_model_is_never_written_into(
    hub: Hub, store: WeightsStore, model: ReleaseModel, installed: Path
) -> None:
    partial = installed.with_name(f".{installed.name}.partial")
    partial.mkdir()
    (partial / BIG).hardlink_to(installed / BIG)
    with (installed / BIG).open("rb+") as stream:
        stream.truncate(5_000)
    before = (installed / BIG).stat().st_ino
    assert mend(store, model) is True
    assert (installed / BIG).stat().st_ino != before


def test_what_the_file_system_cannot_exchange_is_renamed_twice(
    hub: Hub, store: WeightsStore, model: ReleaseModel, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from voxtral_ops.weights import place

    monkeypatch.setattr(place, "RENAME_EXCHANGE", 1 << 20)  # the kernel knows no such wish: EINVAL
    (installed / "params.json").unlink()
    assert mend(store, model) is True
    assert store.verify(model).ok
    assert [path.name for path in installed.parent.iterdir()] == [model.revision]


def _sums(data: bytes) -> tuple[int, ...]:
    taken = ranges.RangeSums()
    taken.feed(data)
    return taken.sums
