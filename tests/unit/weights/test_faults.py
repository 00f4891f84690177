"""What a hub can do wrong: each ends in the right bytes or in an error that names the file and what to do."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.fakes.hub import Fault, Hub, running_hub
from tests.unit.weights.conftest import FILES, REPOSITORY
from voxtral_ops.errors import (
    CapacityError,
    ConfigurationError,
    HostError,
    NetworkError,
    ReleaseError,
    ServerError,
    VoxtralError,
)
from voxtral_ops.release import ReleaseFile, ReleaseModel
from voxtral_ops.weights import HubSource, WeightsStore, fetch, patience, pieces, transport
from voxtral_ops.weights.verify import OWN

BIG = "consolidated.safetensors"
SIZE = len(FILES[BIG])


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several pieces to a file of a hundred kilobytes."""
    monkeypatch.setattr(pieces, "PIECE", 20_000)
    monkeypatch.setattr(fetch, "PIECE", 20_000)


def install(store: WeightsStore, model: ReleaseModel) -> bool:
    return store.install(model, HubSource(model.repository, model.revision))


@pytest.mark.parametrize(
    "faults",
    [
        [Fault("cut", 7_000)],
        [Fault("cut", 0), Fault("cut", 1), Fault("cut", 19_999)],
        [Fault("reset", 3_000)],
        [Fault("status", status=503), Fault("status", status=502)],
        [Fault("status", status=429, headers={"Retry-After": "0"})],
        [Fault("status", status=503, headers={"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"})],
        [Fault("whole")],
        [Fault("cut", 5_000), Fault("whole")],
    ],
    ids=lambda faults: " ".join(each.kind + str(each.status or each.at) for each in faults),
)
def test_what_passes_is_waited_out(hub: Hub, store: WeightsStore, model: ReleaseModel, faults: list[Fault]) -> None:
    hub.repositories[REPOSITORY].faults[BIG] = list(faults)
    assert install(store, model) is True
    assert store.verify(model, deep=True).ok
    assert hub.repositories[REPOSITORY].faults[BIG] == []


@pytest.mark.parametrize(
    ("fault", "kind", "says", "hint"),
    [
        (Fault("shift", 20_000), ServerError, "asked for bytes 0-19999, it sends 20000-39999", "another place"),
        (Fault("mislead", 100), ReleaseError, "sha256", "nothing was installed"),
        (Fault("short", 70_000), ReleaseError, f"70000 bytes, not {SIZE}", "nothing was installed"),
        (Fault("html"), ServerError, "sends a web page", "another place"),
        (Fault("loop"), ServerError, "round and round", "another place"),
        (Fault("redirect", headers={"Location": "ftp://elsewhere/"}), ServerError, "address that is none", "another"),
        (Fault("packed"), ServerError, "sends them packed", "another place"),
        (Fault("endless"), ServerError, f"does not end after {SIZE} bytes", "another place"),
        (Fault("flip", 50_000), ReleaseError, "sha256", "nothing was installed"),
        (Fault("cut", 10), NetworkError, "the line broke", "goes on from there"),
        (Fault("status", status=429), CapacityError, "too many requests", "goes on from there"),
        (Fault("status", status=503), NetworkError, "answered 503", "goes on from there"),
        (Fault("status", status=429, headers={"Retry-After": "9999"}), CapacityError, "too many", "later"),
        (Fault("status", status=204), ServerError, "answered 204", "another place"),
    ],
    ids=lambda value: f"{value.kind}{value.status or value.at}" if isinstance(value, Fault) else "",
)
def test_what_does_not_pass_is_told(
    hub: Hub,
    store: WeightsStore,
    model: ReleaseModel,
    fault: Fault,
    kind: type[VoxtralError],
    says: str,
    hint: str,
) -> None:
    hub.repositories[REPOSITORY].faults[BIG] = [fault]
    hub.repositories[REPOSITORY].stubborn = True
    with pytest.raises(kind, match=says) as caught:
        install(store, model)
    assert BIG in caught.value.message
    assert hint in caught.value.hint
    assert not store.path(model).exists()
    hub.repositories[REPOSITORY].faults.clear()
    assert install(store, model) is True
    assert store.verify(model, deep=True).ok
    assert {path.name for path in store.path(model).parent.iterdir()} == {model.revision}
    assert {path.name for path in store.path(model).iterdir()} == {file.path for file in model.files} | OWN


def test_a_file_that_changes_half_way(hub: Hub, store: WeightsStore, model: ReleaseModel) -> None:
    hub.repositories[REPOSITORY].served[BIG] = bytes(SIZE)
    hub.repositories[REPOSITORY].faults[BIG] = [Fault("cut", 9_000), Fault("etag", 5)]
    with pytest.raises(ReleaseError, match=f"{BIG} .* changed while it was fetched"):
        install(store, model)
    # The zeros that were kept are told from the right bytes, and the place that is right now is not blamed for them.
    hub.repositories[REPOSITORY].served.clear()
    assert install(store, model) is True
    assert store.verify(model, deep=True).ok


def test_a_release_that_mixes_two_revisions_is_refused_by_what_the_hub_says(
    hub: Hub, store: WeightsStore, model: ReleaseModel
) -> None:
    mixed = [each.model_copy(update={"sha256": "0" * 64}) if each.path == BIG else each for each in model.files]
    with pytest.raises(ReleaseError, match=f"{BIG} .* is not the release's") as caught:
        install(store, model.model_copy(update={"files": tuple(mixed)}))
    assert "release lock" in caught.value.hint
    assert hub.sent[BIG] <= 20_000
    assert not list(store.root.rglob(BIG))


def test_a_hub_that_answers_for_another_revision(hub: Hub, store: WeightsStore, model: ReleaseModel) -> None:
    other = Fault("redirect", headers={"Location": f"/{REPOSITORY}/resolve/main/{BIG}", "X-Repo-Commit": "c" * 40})
    hub.repositories[REPOSITORY].faults[BIG] = [other]
    with pytest.raises(ReleaseError, match="is of revision cccc"):
        install(store, model)


def test_the_token_stays_with_the_hub(
    hub: Hub, store: WeightsStore, model: ReleaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with running_hub() as elsewhere:
        elsewhere.repositories[REPOSITORY] = hub.repositories[REPOSITORY]
        there = Fault("redirect", headers={"Location": f"{elsewhere.url}/{REPOSITORY}/resolve/{'b' * 40}/{BIG}"})
        hub.repositories[REPOSITORY].faults[BIG] = [there]
        assert install(store, model) is True
        # Every piece came from there, the later ones without asking the hub again; the token did not come along.
        assert elsewhere.sent[BIG] == SIZE
        assert len(elsewhere.requests) == -(-SIZE // 20_000)
        assert set(elsewhere.tokens) == {""}
    assert "Bearer hf_secret" in hub.tokens


def test_a_signed_address_that_has_run_out_is_asked_for_again(
    hub: Hub, store: WeightsStore, model: ReleaseModel
) -> None:
    with running_hub() as elsewhere:
        elsewhere.repositories[REPOSITORY] = hub.repositories[REPOSITORY]
        there = Fault("redirect", headers={"Location": f"{elsewhere.url}/{REPOSITORY}/resolve/{'b' * 40}/{BIG}"})
        gone = Fault("status", status=403)
        # The hub and the other place share the list: the piece behind the redirect, then one that is refused.
        hub.repositories[REPOSITORY].faults[BIG] = [there, Fault("cut", 10), gone]
        assert install(store, model) is True
    assert 0 < hub.sent[BIG] < SIZE


def test_a_certificate_that_nobody_here_trusts(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    words += ["-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            client = server.accept()[0]
            with contextlib.suppress(OSError), context.wrap_socket(client, server_side=True):
                pass

        greeter = threading.Thread(target=greet)
        greeter.start()
        line = transport.Line("a private place")
        remote = transport.Remote(f"https://127.0.0.1:{server.getsockname()[1]}/{BIG}")
        with pytest.raises(ConfigurationError, match=f"{BIG} on a private place: .* is not trusted here") as caught:
            line.open(remote, ReleaseFile(path=BIG, size=SIZE, sha256="0" * 64), 0, SIZE)
        greeter.join()
    assert "SSL_CERT_FILE" in caught.value.hint


def test_slow_as_a_loris(hub: Hub, store: WeightsStore, model: ReleaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "STALL_SECONDS", 0.05)
    monkeypatch.setattr(patience, "ATTEMPTS", 2)
    hub.repositories[REPOSITORY].faults[BIG] = [Fault("drip", 20)]
    hub.repositories[REPOSITORY].stubborn = True
    with pytest.raises(NetworkError, match="next to nothing has come"):
        install(store, model)


def test_a_place_that_goes_silent_is_given_up(
    store: WeightsStore, model: ReleaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    class Silent:
        name, streams = "a silent place", 1

        def open(self, file: ReleaseFile, start: int, stop: int) -> transport.Reading:
            release.wait(10)
            raise NetworkError("too late")

    monkeypatch.setattr(pieces, "SILENCE_SECONDS", 0.05)
    with pytest.raises(NetworkError, match="nothing came"):
        store.install(model, Silent())
    release.set()


def test_a_server_that_ignores_ranges_is_asked_once(hub: Hub, store: WeightsStore, model: ReleaseModel) -> None:
    hub.repositories[REPOSITORY].faults[BIG] = [Fault("whole")]
    hub.repositories[REPOSITORY].stubborn = True
    assert install(store, model) is True
    assert hub.downloads().count(BIG) == 1
    assert hub.sent[BIG] == SIZE


def test_the_bandwidth_is_kept(hub: Hub, store: WeightsStore, model: ReleaseModel) -> None:
    began = time.monotonic()
    store.install(model, HubSource(model.repository, model.revision), limit=200_000)
    assert time.monotonic() - began > model.size / 200_000 * 0.7


@pytest.mark.parametrize(
    ("call", "number", "says", "hint"),
    [
        ("write", errno.ENOSPC, "the disk is full", "goes on from there"),
        ("write", errno.EDQUOT, "the quota is used up", "goes on from there"),
        ("fdatasync", errno.EIO, "does not answer", "dmesg"),
        ("fsync", errno.EIO, "does not answer", "dmesg"),
        ("fsync", errno.ENOSPC, "the disk is full", "goes on from there"),
        ("mkdir", errno.EROFS, "read-only", "mount it for writing"),
        ("mkdir", errno.EACCES, "cannot be written", "a directory of your own"),
        ("open", errno.ENOSPC, "the disk is full", "goes on from there"),
        ("rename", errno.EIO, "does not answer", "dmesg"),
    ],
)
def test_the_disk_says_no(
    hub: Hub,
    store: WeightsStore,
    model: ReleaseModel,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
    says: str,
    hint: str,
) -> None:
    real = getattr(os, call)

    def refuse(*args: object, **keywords: object) -> object:
        inside = str(store.root) in str(args[0]) or isinstance(args[0], int)
        if inside and threading.current_thread() is threading.main_thread():
            raise OSError(number, os.strerror(number), str(args[0]))
        return real(*args, **keywords)

    with monkeypatch.context() as patched:
        patched.setattr(os, call, refuse)
        with pytest.raises(HostError, match=says) as caught:
            install(store, model)
    assert hint in caught.value.hint
    assert not store.path(model).exists()
    assert install(store, model) is True
    under_way = 4 * 20_000 if call == "write" else 0
    assert hub.sent[BIG] <= SIZE + under_way, "what had come was not asked for again"


def test_a_kept_part_is_not_asked_for_again(
    hub: Hub, store: WeightsStore, model: ReleaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "STREAMS", 1)
    hub.repositories[REPOSITORY].faults[BIG] = [Fault("cut", 7_000), Fault("shift", 20_000)]
    with pytest.raises(ServerError):
        install(store, model)
    kept = store.path(model).with_name(f".{model.revision}.partial") / BIG
    assert kept.read_bytes() == FILES[BIG][:7_000]
    hub.sent.clear()
    assert install(store, model) is True
    assert hub.sent[BIG] == SIZE - 7_000
    assert hashlib.sha256((store.path(model) / BIG).read_bytes()).hexdigest() == model.files[0].sha256


def test_a_file_that_is_longer_on_disk_than_it_can_be(hub: Hub, store: WeightsStore, model: ReleaseModel) -> None:
    partial: Path = store.path(model).with_name(f".{model.revision}.partial")
    partial.mkdir(parents=True)
    (partial / BIG).write_bytes(bytes(SIZE + 1))
    assert install(store, model) is True
    assert store.verify(model, deep=True).ok
