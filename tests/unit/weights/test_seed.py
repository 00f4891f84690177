"""Seeds serve what manifests name and nothing else; whoever takes from them believes only the hash."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from voxtral_ops.errors import ConfigurationError, HostError, ModelError, NetworkError, ReleaseError
from voxtral_ops.release import ReleaseModel
from voxtral_ops.weights import DirectorySource, Source, WeightsStore
from voxtral_ops.weights.peers import take
from voxtral_ops.weights.seed import SeedOptions, SeedServer


@contextmanager
def seeding(store: WeightsStore, **options: object) -> Iterator[SeedServer]:
    settings = SeedOptions(address="127.0.0.1", port=0, **options)  # type: ignore[arg-type]
    with SeedServer(store, settings) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()


@pytest.fixture
def full(tmp_path: Path, model: ReleaseModel, folder: Path) -> WeightsStore:
    """The store of the host that has it."""
    store = WeightsStore(tmp_path / "full")
    store.install(model, DirectorySource(folder))
    return store


@pytest.fixture
def seed(full: WeightsStore) -> Iterator[SeedServer]:
    with seeding(full) as server:
        yield server


def ask(server: SeedServer, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    line = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    try:
        line.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            line.putheader(name, value)
        line.endheaders()
        answer = line.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        line.close()


def address(model: ReleaseModel, name: str = "tekken.json") -> str:
    return f"/{model.repository}/resolve/{model.revision}/{name}"


def test_a_host_takes_a_model_from_a_seed(seed: SeedServer, store: WeightsStore, model: ReleaseModel) -> None:
    assert take([seed.url], lambda source: store.install(model, source), model) is True
    assert store.verify(model, deep=True).ok
    assert take([seed.url], lambda source: store.install(model, source), model) is False


def test_it_goes_on_from_the_byte_that_is_there(
    seed: SeedServer, store: WeightsStore, model: ReleaseModel, folder: Path
) -> None:
    from voxtral_ops.weights.journal import Journal

    partial = store.path(model).with_name(f".{model.revision}.partial")
    partial.mkdir(parents=True)
    journal = Journal(partial)
    journal.open()
    (partial / "consolidated.safetensors").write_bytes((folder / "consolidated.safetensors").read_bytes()[:90_000])
    journal.synced("consolidated.safetensors", 90_000)
    take([seed.url], lambda source: store.install(model, source), model)
    assert seed.sent == model.size - 90_000


@pytest.mark.parametrize(
    ("asked", "status", "first", "length"),
    [
        ("bytes=0-", 200, 0, 5000),
        ("bytes=10-19", 206, 10, 10),
        ("bytes=4990-", 206, 4990, 10),
        ("bytes=4990-99999", 206, 4990, 10),
        ("bytes=5000-", 416, 0, 0),
        ("bytes=9-3", 416, 0, 0),
        ("bytes=1-2,4-5", 200, 0, 5000),
        ("bytes=-5", 200, 0, 5000),
        ("lines=1-2", 200, 0, 5000),
        ("", 200, 0, 5000),
    ],
)
def test_ranges(seed: SeedServer, model: ReleaseModel, asked: str, status: int, first: int, length: int) -> None:
    got, headers, body = ask(seed, address(model), **({"Range": asked} if asked else {}))
    assert (got, len(body)) == (status, length)
    if status == 206:
        assert headers["Content-Range"] == f"bytes {first}-{first + length - 1}/5000"
        assert headers["ETag"].strip('"') == next(file.sha256 for file in model.files if file.path == "tekken.json")


def test_head_says_what_get_would(seed: SeedServer, model: ReleaseModel) -> None:
    status, headers, body = ask(seed, address(model), "HEAD")
    assert (status, headers["Content-Length"], body) == (200, "5000", b"")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/../../../../etc/passwd",
        "//etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/{repository}/resolve/{revision}/manifest.json",
        "/{repository}/resolve/{revision}/.verified.json",
        "/{repository}/resolve/{revision}/../../../../../../etc/passwd",
        "/{repository}/resolve/main/tekken.json",
        "/{repository}/{revision}/tekken.json",
        "/nobody/nothing/resolve/{revision}/tekken.json",
        "/%00",
    ],
)
def test_only_what_a_manifest_names_is_served(seed: SeedServer, model: ReleaseModel, path: str) -> None:
    path = path.format(repository=quote(model.repository), revision=model.revision)
    assert ask(seed, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_written(seed: SeedServer, model: ReleaseModel, method: str) -> None:
    assert ask(seed, address(model), method)[0] == 501


def test_a_link_in_place_of_a_file_is_not_followed(seed: SeedServer, full: WeightsStore, model: ReleaseModel) -> None:
    file = full.path(model) / "tekken.json"
    file.unlink()
    file.symlink_to("/etc/passwd")
    assert ask(seed, address(model))[0] == 404


def test_what_is_installed_later_is_served_and_what_is_gone_is_not(
    store: WeightsStore, model: ReleaseModel, folder: Path
) -> None:
    with seeding(store) as server:
        assert ask(server, address(model))[0] == 404
        store.install(model, DirectorySource(folder))
        assert ask(server, address(model))[0] == 200
        (store.path(model) / "tekken.json").unlink()
        assert ask(server, address(model))[0] == 404


def test_the_listing_says_what_is_here(seed: SeedServer, model: ReleaseModel) -> None:
    import json

    _, _, body = ask(seed, "/")
    assert [ReleaseModel.model_validate(each) for each in json.loads(body)["models"]] == [model]


def test_one_too_many_is_told_to_come_again(full: WeightsStore, model: ReleaseModel) -> None:
    with seeding(full, connections=1) as server:
        with socket.create_connection(("127.0.0.1", server.server_address[1])) as holder:
            holder.sendall(f"GET {address(model)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert holder.recv(1)
            status, headers, _ = ask(server, address(model))
            assert (status, headers["Retry-After"]) == (503, "2")


def test_it_stops_when_nobody_asks(full: WeightsStore) -> None:
    options = SeedOptions(address="127.0.0.1", port=0, idle_seconds=0.01)
    with SeedServer(full, options) as server:
        server.serve_forever(poll_interval=0.01)  # returns


def test_a_port_that_is_taken_is_named(seed: SeedServer, full: WeightsStore) -> None:
    with pytest.raises(HostError, match=f"port {seed.server_address[1]}") as caught:
        SeedServer(full, SeedOptions(address="127.0.0.1", port=seed.server_address[1]))
    assert "--port" in caught.value.hint


def harm(store: WeightsStore, model: ReleaseModel, name: str, data: bytes) -> None:
    file = store.path(model) / name
    file.chmod(0o600)
    file.write_bytes(data)


@pytest.mark.parametrize("name", ["consolidated.safetensors", "params.json", "tekken.json"])
def test_a_seed_with_wrong_bytes_is_dropped_and_named_and_the_next_has_the_right_ones(
    name: str, seed: SeedServer, store: WeightsStore, model: ReleaseModel, folder: Path, tmp_path: Path
) -> None:
    liar = WeightsStore(tmp_path / "liar")
    liar.install(model, DirectorySource(folder))
    size = next(file.size for file in model.files if file.path == name)
    harm(liar, model, name, b"\xff" * size)
    told: list[str] = []
    with seeding(liar) as bad:
        assert take([bad.url, seed.url], lambda source: store.install(model, source), model, told.append)
    assert store.verify(model, deep=True).ok
    assert len(told) == 1
    assert bad.url in told[0]
    assert name in told[0]
    # What the liar had right was not asked for twice.
    assert seed.sent < model.size or name == "consolidated.safetensors"


def test_when_every_seed_lies_all_of_them_are_named_and_nothing_appears(
    seed: SeedServer, full: WeightsStore, store: WeightsStore, model: ReleaseModel
) -> None:
    harm(full, model, "tekken.json", b"\xff" * 5000)
    with seeding(full) as second:
        urls = [seed.url, second.url]
        with pytest.raises(NetworkError) as caught:
            take(urls, lambda source: store.install(model, source), model)
    assert all(url in caught.value.message for url in urls)
    assert not store.path(model).exists()


def test_a_seed_that_is_away_or_has_it_not_is_passed_over(
    seed: SeedServer, store: WeightsStore, model: ReleaseModel, tmp_path: Path
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with seeding(WeightsStore(tmp_path / "empty")) as empty:
        assert take([away, empty.url, seed.url], lambda source: store.install(model, source), model)
        with pytest.raises(ModelError, match="does not exist"):
            take([empty.url], lambda source: WeightsStore(tmp_path / "x").install(model, source), model)


def test_this_hosts_own_disk_is_not_the_seeds_fault(seed: SeedServer, model: ReleaseModel) -> None:
    def full_disk(_: Source) -> bool:
        raise HostError("the disk is full")

    with pytest.raises(HostError, match="disk is full"):
        take([seed.url, seed.url], full_disk, model)


@pytest.mark.parametrize("place", ["ftp://host", "http://", "file:///etc"])
def test_an_address_that_is_none(place: str, model: ReleaseModel) -> None:
    with pytest.raises(ConfigurationError, match="no seed's address"):
        take([place], lambda _: True, model)


def test_no_place_at_all(model: ReleaseModel) -> None:
    with pytest.raises(ConfigurationError, match="nobody said where"):
        take([], lambda _: True, model)


def test_a_directory_is_a_place_as_well(store: WeightsStore, model: ReleaseModel, folder: Path, tmp_path: Path) -> None:
    assert take([str(tmp_path / "nowhere"), str(folder)], lambda source: store.install(model, source), model)
    with pytest.raises(ReleaseError):
        take([str(tmp_path / "nowhere")], lambda source: WeightsStore(tmp_path / "y").install(model, source), model)


RIGHTS = """
import os, sys
from pathlib import Path
from voxtral_ops.weights import WeightsStore
from voxtral_ops.weights.seed import SeedOptions, SeedServer
with SeedServer(WeightsStore(Path(sys.argv[1])), SeedOptions(address="127.0.0.1", port=0)) as server:
    server.drop_rights()
    print(*os.getresuid(), *os.getgroups())
"""


def test_root_serves_as_the_owner_of_the_models_and_others_as_themselves(full: WeightsStore) -> None:
    owner = os.getuid()
    if owner == 0:
        owner = 65534
        os.chown(full.root, owner, owner)
    shown = subprocess.check_output([sys.executable, "-c", RIGHTS, str(full.root)], text=True).split()
    assert shown[:3] == [str(owner)] * 3
    assert os.getuid() != 0 or len(shown) == 3
