"""The module that brings models: from every kind of place, idempotent, in check mode a look, and never trusting."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from voxtral_ops.release import Release, ReleaseFile, ReleaseModel
from voxtral_ops.weights import DirectorySource, WeightsStore
from voxtral_ops.weights.carry import export_bundle, gather
from voxtral_ops.weights.seed import SeedOptions, SeedServer

FILES = {"consolidated.safetensors": bytes(range(256)) * 300, "params.json": b"{}", "tekken.json": b"x" * 999}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "carried"
    place.mkdir()
    for name, data in FILES.items():
        (place / name).write_bytes(data)
    return place


@pytest.fixture
def model() -> ReleaseModel:
    files = tuple(
        ReleaseFile(path=name, size=len(data), sha256=hashlib.sha256(data).hexdigest()) for name, data in FILES.items()
    )
    return ReleaseModel(name="mini-3b", repository="mistralai/Voxtral-Mini-3B-2507", revision="b" * 40, files=files)


@pytest.fixture
def store(tmp_path: Path) -> WeightsStore:
    return WeightsStore(tmp_path / "models")


@pytest.fixture
def arguments(store: WeightsStore, model: ReleaseModel) -> dict[str, object]:
    return {"root": str(store.root), "models": [model.model_dump(mode="json")]}


@pytest.fixture
def full(tmp_path: Path, model: ReleaseModel, folder: Path) -> WeightsStore:
    """Another host's store, which has the model."""
    other = WeightsStore(tmp_path / "other")
    other.install(model, DirectorySource(folder))
    return other


@contextlib.contextmanager
def seeding(store: WeightsStore):
    with SeedServer(store, SeedOptions(address="127.0.0.1", port=0)) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield server.url
        finally:
            server.shutdown()


def test_from_a_directory_then_nothing_to_do(run_module, arguments, store, model, folder):
    path = {**arguments, "strategy": "path", "source": str(folder)}
    told = run_module("voxtral_weights", _check=True, _diff=True, **path)
    assert (told["changed"], store.path(model).exists()) == (True, False)
    assert "3 files" in told["diff"]["after"]
    done = run_module("voxtral_weights", **path)
    assert (done["changed"], done["voxtral_weights"]) == (True, {"mini-3b": str(store.path(model))})
    again = run_module("voxtral_weights", _diff=True, **path)
    assert (again["changed"], again["msg"], "diff" in again) == (False, "verified", False)


def test_from_seeds_of_which_the_first_lies(run_module, arguments, store, model, full, folder, tmp_path):
    liar = WeightsStore(tmp_path / "liar")
    liar.install(model, DirectorySource(folder))
    file = liar.path(model) / "consolidated.safetensors"
    file.chmod(0o600)
    file.write_bytes(b"\xff" * file.stat().st_size)
    with seeding(liar) as bad, seeding(full) as good:
        done = run_module("voxtral_weights", strategy="seed", seeds=[bad, good], **arguments)
    assert done["changed"] is True
    assert store.verify(model, deep=True).ok
    assert len(done["dropped"]) == 1
    assert bad in done["dropped"][0]


def test_from_a_bundle_that_holds_more_than_this_host_runs(run_module, arguments, store, model, full, tmp_path):
    other = model.model_copy(update={"name": "nano", "repository": "voxtral-ops/nano"})
    full.install(other, DirectorySource(full.path(model)))
    release = Release(engine="0.32.0", models=(other, model))
    export_bundle(full, gather(full, release), tmp_path / "b.tar")
    bundle = {**arguments, "strategy": "bundle", "source": str(tmp_path / "b.tar")}
    assert run_module("voxtral_weights", **bundle)["changed"] is True
    assert store.models() == (model,)
    (tmp_path / "b.tar").unlink()
    assert run_module("voxtral_weights", **bundle)["changed"] is False, "what is right needs no bundle"


@pytest.mark.parametrize(
    ("change", "words"),
    [({"revision": "c" * 40}, "is at bbbb"), ({"name": "small-24b"}, "does not hold small-24b")],
)
def test_a_bundle_of_another_release_is_refused(run_module, arguments, store, model, full, tmp_path, change, words):
    export_bundle(full, gather(full, Release(engine="0.32.0", models=(model,))), tmp_path / "b.tar")
    wanted = {**arguments, "models": [{**arguments["models"][0], **change}]}
    told = run_module("voxtral_weights", strategy="bundle", source=str(tmp_path / "b.tar"), **wanted)
    assert told["failed"] is True
    assert words in told["msg"]
    assert told["hint"]
    assert not store.path(model).exists()


def test_verified_only_compares(run_module, arguments, store, model, folder):
    missing = run_module("voxtral_weights", state="verified", **arguments)
    assert "does not exist" in missing["msg"]
    assert not store.root.exists()
    store.install(model, DirectorySource(folder))
    assert run_module("voxtral_weights", state="verified", **arguments)["changed"] is False
    file = store.path(model) / "params.json"
    file.chmod(0o600)
    file.write_bytes(b"[]")
    wrong = run_module("voxtral_weights", state="verified", **arguments)
    assert "params.json" in wrong["msg"]
    assert wrong["hint"] == "state present mends it"


@pytest.fixture
def layout(tmp_path: Path, store: WeightsStore) -> dict[str, str]:
    names = ("home", "config", "state", "cache", "runtime")
    return {"scope": "user", "models": str(store.root), **{name: str(tmp_path / name) for name in names}}


def test_absent_removes_what_nobody_needs(run_module, arguments, store, model, folder, layout):
    store.install(model, DirectorySource(folder))
    absent = {**arguments, "state": "absent", "layout": layout}
    told = run_module("voxtral_weights", _check=True, _diff=True, **absent)
    assert (told["changed"], store.path(model).exists()) == (True, True)
    assert "3 files" in told["diff"]["before"]
    assert run_module("voxtral_weights", **absent)["changed"] is True
    assert not store.path(model).exists()
    assert run_module("voxtral_weights", **absent)["changed"] is False


def test_absent_refuses_what_a_release_needs(run_module, arguments, store, model, folder, layout):
    store.install(model, DirectorySource(folder))
    place = Path(layout["home"]) / "releases" / "one"
    place.mkdir(parents=True)
    plan = {"instances": [{"repository": model.repository, "revision": model.revision}]}
    (place / "plan.json").write_text(json.dumps(plan))
    for check in (True, False):
        told = run_module("voxtral_weights", _check=check, state="absent", layout=layout, **arguments)
        assert "is needed by release one" in told["msg"]
    assert store.path(model).exists()


@pytest.mark.parametrize("strategy", ["bundle", "path"])
def test_a_place_must_be_named(run_module, arguments, strategy):
    assert "source" in run_module("voxtral_weights", strategy=strategy, **arguments)["msg"]


@pytest.mark.parametrize("strategy", [{}, {"strategy": "seed", "seeds": ["http://127.0.0.1:1"]}])
def test_a_source_that_nothing_would_read_is_refused(run_module, arguments, folder, strategy):
    told = run_module("voxtral_weights", _check=True, source=str(folder), **strategy, **arguments)
    assert f"does not read the source {folder}" in told["msg"]
    assert told["hint"]


def test_nothing_is_served_after_a_removal(run_module, arguments, layout):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    told = run_module("voxtral_weights", state="absent", layout=layout, serve_port=port, **arguments)
    assert told["msg"] == "absent"
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_seeds_must_be_named(run_module, arguments):
    assert "nobody said where" in run_module("voxtral_weights", strategy="seed", **arguments)["msg"]


def test_afterwards_others_can_take_it_from_here(run_module, arguments, store, model, folder, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = {**arguments, "strategy": "path", "source": str(folder), "serve_port": port, "serve_idle": 60}
    assert run_module("voxtral_weights", _check=True, **path)["changed"] is True
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "check mode must not serve"
    run_module("voxtral_weights", **path)
    try:
        third = {**arguments, "root": str(tmp_path / "third")}
        done = run_module("voxtral_weights", strategy="seed", seeds=[f"http://127.0.0.1:{port}"], **third)
        assert done["changed"] is True
    finally:
        os.kill(listener(port), signal.SIGTERM)


def listener(port: int) -> int:
    """The process that listens at a port of this machine."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inode = next(line[9] for line in lines if line[3] == "0A" and line[1].endswith(f":{port:04X}"))
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(str(link.readlink()) == f"socket:[{inode}]" for link in (process / "fd").iterdir()):
                return int(process.name)
    raise AssertionError(port)
