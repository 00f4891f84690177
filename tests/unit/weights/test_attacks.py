"""The attack list, on the network and on the disk: refused by name, with the cure, and nothing is served."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.weights.conftest import FILES
from tests.unit.weights.liar import TARGET, Asked, Attack, Liar, lying_hub
from voxtral_ops.errors import (
    CapacityError,
    ConfigurationError,
    HostError,
    NetworkError,
    ReleaseError,
    ServerError,
    VoxtralError,
)
from voxtral_ops.release import ReleaseModel, parse_release
from voxtral_ops.weights import DirectorySource, WeightsStore, patience, source_for, transport

OTHER = bytes(reversed(FILES[TARGET]))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many attempts as ever, without the pauses between them."""
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.0)
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture
def liar(monkeypatch: pytest.MonkeyPatch) -> Iterator[Liar]:
    with lying_hub(dict(FILES), "b" * 40) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def fetch(store: WeightsStore, model: ReleaseModel) -> bool:
    return store.install(model, source_for(model))


def refused(
    store: WeightsStore, model: ReleaseModel, kind: type[VoxtralError], says: str, name: str = TARGET
) -> VoxtralError:
    """A fetch ends with this error, which names the file and has a cure, and no model is there."""
    with pytest.raises(kind, match=says) as caught:
        fetch(store, model)
    assert name in caught.value.message
    assert caught.value.hint
    assert store.models() == ()
    assert not store.path(model).exists()
    return caught.value


# ------------------------------------------------------------------------------------- what a hub may send


def arbitrary_file(asked: Asked) -> None:
    """Another file of another length, announced as what it is."""
    data = b"#!/bin/sh\n" * 50
    asked.answer(200, data, ETag='"other"', X_Linked_ETag="")


def wrong_hash_right_size(asked: Asked) -> None:
    asked.part(OTHER, X_Linked_ETag="")


def frozen_at_an_older_revision(asked: Asked) -> None:
    """What the hub said a year ago, replayed."""
    asked.part(OTHER, X_Repo_Commit="a" * 40)


def mixed_with_another_revision(asked: Asked) -> None:
    asked.part(OTHER, X_Linked_ETag=f'"{hashlib.sha256(OTHER).hexdigest()}"')


def longer_than_it_should_be(asked: Asked) -> None:
    asked.answer(200, asked.data + b"more")


def shorter_than_it_should_be(asked: Asked) -> None:
    asked.answer(200, asked.data[:-1])


def lying_total(asked: Asked) -> None:
    asked.part(Content_Range=f"bytes {asked.start}-{asked.stop - 1}/{len(asked.data) + 1}")


def endless_data(asked: Asked) -> None:
    """A body without a length, until the client hangs up."""
    asked.answer(200, Content_Length="", Connection="close")
    asked.hang_up()
    began = time.monotonic()
    while time.monotonic() - began < 20:
        asked.handler.wfile.write(bytes(1 << 16))


def endless_part(asked: Asked) -> None:
    told = f"bytes {asked.start}-{asked.stop - 1}/{len(asked.data)}"
    asked.answer(206, Content_Range=told, Content_Length=str(1 << 50))
    asked.hang_up()


def part_of_another_place(asked: Asked) -> None:
    told = f"bytes {asked.start + 7}-{asked.stop - 1}/{len(asked.data)}"
    asked.answer(206, asked.data[asked.start + 7 : asked.stop], Content_Range=told)


def part_of_nowhere(asked: Asked) -> None:
    asked.answer(206, asked.data[asked.start : asked.stop])


def page_instead_of_a_file(asked: Asked) -> None:
    asked.answer(200, b"<html>Please log in</html>", Content_Type="text/html; charset=utf-8")


def packed(asked: Asked) -> None:
    asked.part(Content_Encoding="gzip")


def redirect_loop(asked: Asked) -> None:
    asked.answer(302, Location=asked.handler.path)


def redirect_to_nowhere(asked: Asked) -> None:
    asked.answer(302, Location="file:///etc/passwd")


def changed_half_way(asked: Asked) -> None:
    """Half of one version, and then half of another."""
    if asked.number == 0:
        asked.answer(
            206,
            asked.data[:50_000],
            Content_Range=f"bytes 0-{len(asked.data) - 1}/{len(asked.data)}",
            Content_Length=str(len(asked.data)),
        )
        asked.hang_up()
    else:
        asked.part(OTHER, ETag='"another version"', X_Linked_ETag="")


def ends_early_every_time(asked: Asked) -> None:
    asked.answer(
        206,
        asked.data[asked.start : asked.start + 10],
        Content_Length=str(asked.stop - asked.start),
        Content_Range=f"bytes {asked.start}-{asked.stop - 1}/{len(asked.data)}",
    )
    asked.hang_up()


def storm_of_429(asked: Asked) -> None:
    asked.answer(429, Retry_After="0")


def storm_of_503(asked: Asked) -> None:
    asked.answer(503, Retry_After="0")


def come_back_tomorrow(asked: Asked) -> None:
    asked.answer(429, Retry_After="86400")


NETWORK_ATTACKS: list[tuple[Attack, type[VoxtralError], str]] = [
    (arbitrary_file, ReleaseError, "500 bytes, not 102400"),
    (wrong_hash_right_size, ReleaseError, "sha256 .* not"),
    (frozen_at_an_older_revision, ReleaseError, "it is of revision aaaa"),
    (mixed_with_another_revision, ReleaseError, "sha256 .* not"),
    (longer_than_it_should_be, ReleaseError, "102404 bytes, not 102400"),
    (shorter_than_it_should_be, ReleaseError, "102399 bytes, not 102400"),
    (lying_total, ReleaseError, "102401 bytes, not 102400"),
    (endless_data, ServerError, "does not end"),
    (endless_part, ServerError, "announces bytes"),
    (part_of_another_place, ServerError, "asked for bytes 0-102399, it sends 7-102399"),
    (part_of_nowhere, ServerError, "does not say which"),
    (page_instead_of_a_file, ServerError, "a web page"),
    (packed, ServerError, "packed"),
    (redirect_loop, ServerError, "round and round"),
    (redirect_to_nowhere, ServerError, "an address that is none"),
    (changed_half_way, ReleaseError, "changed while it was fetched"),
    (ends_early_every_time, NetworkError, "line broke|ended after"),
    (storm_of_429, CapacityError, "too many requests"),
    (storm_of_503, NetworkError, "answered 503"),
    (come_back_tomorrow, CapacityError, "too many requests"),
]


@pytest.mark.parametrize(("attack", "kind", "says"), NETWORK_ATTACKS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_lying_hub(
    liar: Liar, store: WeightsStore, model: ReleaseModel, attack: Attack, kind: type[VoxtralError], says: str
) -> None:
    liar.attack = attack
    refused(store, model, kind, says)
    # The fetch has an end of its own: nobody can keep it busy.
    assert liar.count <= 10


@pytest.mark.parametrize("attack", [each[0] for each in NETWORK_ATTACKS], ids=lambda value: value.__name__)
def test_once_the_hub_is_honest_again_the_same_command_goes_through(
    liar: Liar, store: WeightsStore, model: ReleaseModel, attack: Attack
) -> None:
    liar.attack = attack
    with pytest.raises(VoxtralError):
        fetch(store, model)
    liar.attack = Asked.part
    assert fetch(store, model) is True
    assert store.verify(model, deep=True).ok


def test_slow_loris(liar: Liar, store: WeightsStore, model: ReleaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then keeps a line open for ever."""
    monkeypatch.setattr(transport, "STALL_SECONDS", 0.2)
    monkeypatch.setattr(patience, "ATTEMPTS", 3)

    def drip(asked: Asked) -> None:
        told = f"bytes {asked.start}-{asked.stop - 1}/{len(asked.data)}"
        asked.answer(206, Content_Range=told, Content_Length=str(asked.stop - asked.start))
        asked.hang_up()
        for _ in range(200):
            asked.handler.wfile.write(b"x")
            time.sleep(0.05)

    liar.attack = drip
    refused(store, model, NetworkError, "next to nothing")


def test_the_token_does_not_follow_to_another_host(
    liar: Liar, store: WeightsStore, model: ReleaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub itself sends us elsewhere for the bytes: there they are welcome, and the token is not needed."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with lying_hub(dict(FILES), "b" * 40) as elsewhere:
        address = elsewhere.url.replace("127.0.0.1", "localhost")
        liar.attack = lambda asked: asked.answer(302, Location=address + asked.handler.path)
        assert fetch(store, model) is True
        assert elsewhere.count
        assert set(elsewhere.authorizations) == {""}
    assert "Bearer hf_secret" in liar.authorizations


# ------------------------------------------------------------------------------------------- the release itself


@pytest.mark.parametrize(
    "path",
    ["../escape", "a/../../escape", "/etc/cron.d/escape", "..", ".", "", "a//b", "./a", "a\\b", "..\\escape", "C:\\a",
     "nul\0byte", "new\nline", "/dev/sda", "manifest.json", ".verified.json", ".journal.json", "a/./b", "a/.."],
)  # fmt: skip
def test_a_name_that_leads_out_of_the_model(path: str, model: ReleaseModel) -> None:
    raw = {"engine": "0.32.0", "models": [json.loads(model.model_dump_json())]}
    raw["models"][0]["files"][0]["path"] = path
    with pytest.raises(ConfigurationError, match=r"models\.0\.files\.0\.path") as caught:
        parse_release(raw, "release.yml")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("repository", "../../etc"),
        ("repository", "/etc/passwd"),
        ("repository", "owner/.."),
        ("repository", "whisper"),
        ("revision", "main"),
        ("revision", "../" + "a" * 37),
        ("revision", "A" * 40),
    ],
)
def test_a_repository_or_revision_that_is_none(field: str, value: str, model: ReleaseModel) -> None:
    raw = {"engine": "0.32.0", "models": [{**json.loads(model.model_dump_json()), field: value}]}
    with pytest.raises(ConfigurationError, match=field) as caught:
        parse_release(raw, "release.yml")
    assert caught.value.hint


def test_a_release_that_names_a_file_twice(model: ReleaseModel) -> None:
    raw = {"engine": "0.32.0", "models": [json.loads(model.model_dump_json())]}
    raw["models"][0]["files"] += [{**raw["models"][0]["files"][0], "sha256": "0" * 64}]
    with pytest.raises(ConfigurationError, match="once"):
        parse_release(raw, "release.yml")


def mixed(model: ReleaseModel) -> ReleaseModel:
    """A release that names the weights of one revision beside the rest of another."""
    other = model.files[0].model_copy(update={"sha256": hashlib.sha256(OTHER).hexdigest()})
    assert other.path == TARGET
    return model.model_copy(update={"files": (other, *model.files[1:])})


def test_a_release_mixed_from_two_revisions(liar: Liar, store: WeightsStore, model: ReleaseModel) -> None:
    error = refused(store, mixed(model), ReleaseError, "sha256")
    assert "release lock" in error.hint


def test_rollback(liar: Liar, store: WeightsStore, model: ReleaseModel) -> None:
    """An older revision is properly signed by its hashes, and yet nobody asked to go back."""
    raw = json.loads(model.model_dump_json())
    newer = ReleaseModel.model_validate({**raw, "revision": "c" * 40, "published": "2026-02-01T00:00:00Z"})
    older = ReleaseModel.model_validate({**raw, "published": "2025-01-01T00:00:00Z"})
    liar.revision = newer.revision
    fetch(store, newer)
    liar.revision = older.revision
    with pytest.raises(ReleaseError, match=f"{older.revision[:12]} is older than {newer.revision[:12]}") as caught:
        fetch(store, older)
    assert "--older" in caught.value.hint
    assert store.models() == (newer,)


# ----------------------------------------------------------------------------------------------- on the disk


def test_a_link_in_the_place_of_the_unfinished_directory(
    store: WeightsStore, model: ReleaseModel, folder: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "theirs").write_text("keep me")
    place = store.path(model)
    place.parent.mkdir(parents=True)
    place.with_name(f".{place.name}.partial").symlink_to(victim)
    with pytest.raises(HostError, match=r"\.partial: it is a link") as caught:
        store.install(model, DirectorySource(folder))
    assert caught.value.hint
    assert [path.name for path in victim.iterdir()] == ["theirs"]
    assert store.models() == ()


@pytest.mark.parametrize("name", [TARGET, ".journal.json", ".ranges.json.new", "manifest.json.new"])
def test_a_link_in_the_place_of_an_unfinished_file(
    store: WeightsStore, model: ReleaseModel, folder: Path, tmp_path: Path, name: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("keep me")
    place = store.path(model)
    partial = place.with_name(f".{place.name}.partial")
    partial.mkdir(parents=True)
    (partial / name).symlink_to(victim)
    store.install(model, DirectorySource(folder))
    assert victim.read_text() == "keep me"
    assert store.verify(model, deep=True).ok


def test_a_link_in_the_place_of_the_lock(
    store: WeightsStore, model: ReleaseModel, folder: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("keep me")
    place = store.path(model)
    place.parent.mkdir(parents=True)
    place.with_name(f".{place.name}.lock").symlink_to(victim)
    with pytest.raises(HostError, match=r"\.lock: it is a link") as caught:
        store.install(model, DirectorySource(folder))
    assert caught.value.hint
    assert victim.read_text() == "keep me"
    assert store.models() == ()


def test_a_second_name_of_somebody_elses_file_in_the_unfinished_directory(
    store: WeightsStore, model: ReleaseModel, folder: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("keep me")
    place = store.path(model)
    partial = place.with_name(f".{place.name}.partial")
    partial.mkdir(parents=True)
    (partial / TARGET).hardlink_to(victim)
    store.install(model, DirectorySource(folder))
    assert victim.read_text() == "keep me"
    assert store.verify(model, deep=True).ok


def test_an_installed_file_becomes_a_link(store: WeightsStore, model: ReleaseModel, folder: Path) -> None:
    """Even to the right bytes: what it leads to can be changed where nobody looks."""
    store.install(model, DirectorySource(folder))
    (store.path(model) / "tekken.json").unlink()
    (store.path(model) / "tekken.json").symlink_to(folder / "tekken.json")
    assert [problem.path for problem in store.verify(model).problems] == ["tekken.json"]
    assert store.install(model, DirectorySource(folder)) is True
    assert not (store.path(model) / "tekken.json").is_symlink()


def test_a_file_too_many(store: WeightsStore, model: ReleaseModel, folder: Path) -> None:
    """The engine loads every consolidated*.safetensors that it finds."""
    store.install(model, DirectorySource(folder))
    (store.path(model) / "consolidated-00002.safetensors").write_bytes(OTHER)
    (problem,) = store.verify(model).problems
    assert problem.path == "consolidated-00002.safetensors"
    assert store.install(model, DirectorySource(folder)) is True
    assert store.verify(model).ok


def test_a_manifest_that_was_changed_together_with_its_file(
    store: WeightsStore, model: ReleaseModel, folder: Path
) -> None:
    store.install(model, DirectorySource(folder))
    place = store.path(model)
    (place / TARGET).write_bytes(OTHER)
    (place / "manifest.json").write_text(mixed(model).model_dump_json())
    (problem,) = store.verify(model).problems
    assert problem.path == TARGET
    assert store.install(model, DirectorySource(folder)) is True
    assert store.models() == (model,)


def test_a_manifest_of_another_model(store: WeightsStore, model: ReleaseModel, folder: Path) -> None:
    store.install(model, DirectorySource(folder))
    text = model.model_copy(update={"revision": "c" * 40}).model_dump_json()
    (store.path(model) / "manifest.json").write_text(text)
    assert store.models() == ()


def test_the_clock_goes_back(store: WeightsStore, model: ReleaseModel, folder: Path) -> None:
    """A file that is changed and dated back to what its stamp says is read again: its inode was changed later."""
    store.install(model, DirectorySource(folder))
    path = store.path(model) / TARGET
    before = path.stat()
    path.write_bytes(OTHER)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    (problem,) = store.verify(model).problems
    assert "sha256" in problem.problem
