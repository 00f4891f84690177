"""Fetching through the real huggingface_hub from a hub on this machine, and each way that can fail."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session

from tests.fakes.hub import Fault, Hub
from tests.unit.weights.conftest import FILES, NAME, REPOSITORY
from voxtral_ops.catalog import catalog_model
from voxtral_ops.errors import (
    ConfigurationError,
    HostError,
    ModelError,
    NetworkError,
    ReleaseError,
    ServerError,
    VoxtralError,
)
from voxtral_ops.release import ReleaseModel
from voxtral_ops.weights import HubSource, WeightsStore, hub_reachable, pin, source_for
from voxtral_ops.weights.verify import OWN

Usage = namedtuple("Usage", "total used free")


def fetch(store: WeightsStore, model: ReleaseModel) -> bool:
    return store.install(model, source_for(model))


def nothing_is_there(store: WeightsStore, model: ReleaseModel) -> bool:
    """Neither the model nor anything that could be taken for one."""
    assert not store.path(model).exists()
    assert not store.verify(model).ok
    assert store.models() == ()
    return not [path for path in store.root.rglob("*") if path.is_file() and path.name.endswith(".incoming")]


def test_pin_takes_revision_and_hashes_from_the_hub(hub: Hub, model: ReleaseModel) -> None:
    assert pin(catalog_model(NAME)) == model
    # The large ones are pinned by what the hub says, without fetching them.
    assert sorted(hub.downloads()) == ["config.json", "params.json"]


def test_fetch_by_allow_list(hub: Hub, store: WeightsStore, model: ReleaseModel) -> None:
    assert fetch(store, model) is True
    place = store.path(model)
    assert {path.name for path in place.iterdir()} - OWN == set(catalog_model(NAME).files)
    assert "model-00001-of-00002.safetensors" not in hub.downloads()
    assert ReleaseModel.model_validate_json((place / "manifest.json").read_text()) == model
    assert {path.stat().st_mode & 0o777 for path in place.iterdir()} == {0o640}
    assert place.stat().st_mode & 0o777 == 0o750


def test_a_second_fetch_asks_nobody(hub: Hub, store: WeightsStore, model: ReleaseModel) -> None:
    fetch(store, model)
    hub.requests.clear()
    assert fetch(store, model) is False
    assert hub.requests == []


def test_wrong_bytes_of_the_right_size(hub: Hub, store: WeightsStore, model: ReleaseModel) -> None:
    hub.repositories[REPOSITORY].served["tekken.json"] = b"y" * 5000
    with pytest.raises(ReleaseError, match=r"tekken\.json .* is not the release's: sha256"):
        fetch(store, model)
    assert nothing_is_there(store, model)


def test_the_next_attempt_goes_on_from_there(hub: Hub, store: WeightsStore, model: ReleaseModel) -> None:
    hub.repositories[REPOSITORY].served["tekken.json"] = b"y" * 5000
    with pytest.raises(ReleaseError):
        fetch(store, model)
    hub.repositories[REPOSITORY].served.clear()
    hub.requests.clear()
    assert fetch(store, model) is True
    assert "consolidated.safetensors" not in hub.downloads()
    assert store.verify(model, deep=True).ok


def test_a_file_that_ends_early(hub: Hub, store: WeightsStore, model: ReleaseModel) -> None:
    hub.repositories[REPOSITORY].served["consolidated.safetensors"] = FILES["consolidated.safetensors"][:5000]
    with pytest.raises((NetworkError, ReleaseError)):
        fetch(store, model)
    assert nothing_is_there(store, model)


def test_a_line_that_breaks_once(hub: Hub, store: WeightsStore, model: ReleaseModel) -> None:
    hub.repositories[REPOSITORY].faults["consolidated.safetensors"] = [Fault("cut", 40_000)]
    assert fetch(store, model) is True
    assert hub.downloads().count("consolidated.safetensors") == 2


@pytest.mark.parametrize(
    ("change", "kind", "says", "hint"),
    [
        ({"gated": True}, ModelError, "is gated", "accept the terms"),
        ({"token": "right"}, ModelError, "does not exist", "set HF_TOKEN"),
        ({"forbidden": True}, ConfigurationError, "may not read", "right to read"),
        ({"status": 500}, NetworkError, "answered 500", "later"),
        ({"status": 404}, NetworkError, "answered 404", "is HF_ENDPOINT the address of a hub"),
        ({"revision": "c" * 40}, ReleaseError, "no such revision", "pin the model again"),
    ],
)
def test_the_hub_says_no(
    hub: Hub,
    store: WeightsStore,
    model: ReleaseModel,
    change: dict[str, object],
    kind: type[VoxtralError],
    says: str,
    hint: str,
) -> None:
    for name, value in change.items():
        setattr(hub.repositories[REPOSITORY], name, value)
    with pytest.raises(kind, match=says) as caught:
        fetch(store, model)
    assert hint in caught.value.hint
    assert nothing_is_there(store, model)


def test_no_such_repository(hub: Hub, store: WeightsStore, model: ReleaseModel) -> None:
    hub.repositories.clear()
    with pytest.raises(ModelError, match="does not exist"):
        fetch(store, model)
    with pytest.raises(ModelError, match="does not exist"):
        pin(catalog_model(NAME))


def test_a_wrong_token(hub: Hub, model: ReleaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories[REPOSITORY].token = "right"
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(ConfigurationError, match="does not accept the token"):
        pin(catalog_model(NAME))


def test_the_right_token(hub: Hub, model: ReleaseModel, store: WeightsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories[REPOSITORY].token = "right"
    monkeypatch.setenv("HF_TOKEN", "right")
    assert pin(catalog_model(NAME)) == model
    assert fetch(store, model)


@pytest.fixture
def own_session() -> Iterator[None]:
    """The client looks at the environment once and keeps what it saw."""
    close_session()
    yield
    close_session()


@pytest.mark.usefixtures("own_session")
def test_a_proxy_is_used_and_left_aside(
    hub: Hub, store: WeightsStore, model: ReleaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://models.invalid")
    monkeypatch.setenv("HTTP_PROXY", hub.url)
    assert fetch(store, model) is True
    assert f"GET http://models.invalid/{REPOSITORY}/resolve/{'b' * 40}/tekken.json" in hub.requests
    monkeypatch.setenv("NO_PROXY", "models.invalid")
    close_session()
    shutil.rmtree(store.root)
    with pytest.raises(NetworkError, match="cannot be reached"):
        fetch(store, model)


def test_the_hub_is_down(store: WeightsStore, model: ReleaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(NetworkError, match="cannot be reached"):
        fetch(store, model)
    with pytest.raises(NetworkError, match="cannot be reached"):
        pin(catalog_model(NAME))
    assert hub_reachable(catalog_model(NAME)) is False
    assert nothing_is_there(store, model)


def test_the_hub_answers(hub: Hub) -> None:
    assert hub_reachable(catalog_model(NAME)) is True


def test_a_file_that_the_engine_needs_is_not_there(hub: Hub) -> None:
    del hub.repositories[REPOSITORY].files["tekken.json"]
    with pytest.raises(ModelError, match=r"has no tekken\.json"):
        pin(catalog_model(NAME))


def test_a_file_that_the_engine_can_do_without(hub: Hub) -> None:
    del hub.repositories[REPOSITORY].files["config.json"]
    assert "config.json" not in [file.path for file in pin(catalog_model(NAME)).files]


def test_too_small_a_disk_is_refused_before_the_first_byte(
    hub: Hub, store: WeightsStore, model: ReleaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(HostError, match="1,000 bytes free") as caught:
        fetch(store, model)
    assert caught.value.details["needed"] > model.size
    assert hub.requests == []
    assert nothing_is_there(store, model)


def test_progress_is_told(
    hub: Hub, store: WeightsStore, model: ReleaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "progress"
    monkeypatch.setenv("VOXTRAL_PROGRESS", str(told))
    fetch(store, model)
    lines = [json.loads(line) for line in told.read_text().splitlines()]
    mine = [line["fraction"] for line in lines if line["message"] == "fetching consolidated.safetensors"]
    assert mine == sorted(mine)
    assert mine[-1] == 1.0


@pytest.mark.parametrize(
    "told",
    [
        b"<html>sign in</html>",
        b"[]",
        b"",
        {"sha": "main"},
        {"sha": None},
        {"sha": "../../../etc"},
        {"lastModified": "yesterday"},
        {"siblings": [{"name": "x"}]},
        {"siblings": [{"rfilename": name, "size": 1 << 40} for name in FILES]},
        {"siblings": [{"rfilename": name, "size": 5, "lfs": {"sha256": "x", "size": 5}} for name in FILES]},
    ],
    ids=str,
)
def test_what_is_no_hub_is_not_believed(hub: Hub, told: object) -> None:
    hub.repositories[REPOSITORY].about = told  # type: ignore[assignment]
    with pytest.raises(ServerError, match="what answers there is no hub") as caught:
        pin(catalog_model(NAME))
    assert "HF_ENDPOINT" in caught.value.hint


def test_a_small_file_that_is_changed_on_the_way(hub: Hub) -> None:
    hub.repositories[REPOSITORY].served["params.json"] = b'{"dim": 9999}'
    with pytest.raises(ReleaseError, match=r"params\.json .* is not what the hub announced"):
        pin(catalog_model(NAME))


def test_a_source_says_where_it_is(hub: Hub) -> None:
    assert HubSource(REPOSITORY, "b" * 40).name == f"{REPOSITORY} on {hub.url}"
