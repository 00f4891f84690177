"""The commands that carry, seed, list and remove models, as they are typed."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from voxtral_ops.cli.main import main
from voxtral_ops.release import Release, ReleaseModel
from voxtral_ops.weights import DirectorySource, WeightsStore


@pytest.fixture(autouse=True)
def alone_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No release and no server of this machine has a say."""
    from voxtral_ops.cli.weights_actions import users
    from voxtral_ops.paths import Layout

    names = {name: tmp_path / "host" / name for name in ("home", "models", "config", "state", "cache", "runtime")}
    monkeypatch.setattr(users, "default_layout", lambda: Layout(scope="user", **names))


@pytest.fixture
def here(store: WeightsStore, model: ReleaseModel, folder: Path) -> WeightsStore:
    store.install(model, DirectorySource(folder))
    return store


@pytest.fixture
def release(tmp_path: Path, model: ReleaseModel) -> Path:
    path = tmp_path / "release.json"
    path.write_text(Release(engine="0.32.0", models=(model,)).model_dump_json())
    return path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(["weights", *words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def export(capsys: pytest.CaptureFixture[str], store: WeightsStore, target: Path) -> str:
    status, out, _ = run(capsys, "export", str(target), "mini-3b", "--models", str(store.root), "--json")
    assert status == 0
    return str(json.loads(out)["fingerprint"])


@pytest.mark.parametrize("name", ["site.tar", "site"])
def test_a_bundle_is_shown_refused_and_accepted(
    name: str, here: WeightsStore, model: ReleaseModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / name
    fingerprint = export(capsys, here, bundle)
    there = tmp_path / "there"
    status, out, err = run(capsys, "import", str(bundle), "--models", str(there))
    assert (status, fingerprint in out, there.exists()) == (1, True, False)
    assert "--accept" in err
    status, _, err = run(capsys, "import", str(bundle), "--models", str(there), "--accept", "0" * 64)
    assert (status, there.exists()) == (2, False)
    assert fingerprint in err
    status, out, _ = run(capsys, "import", str(bundle), "--models", str(there), "--accept", fingerprint)
    assert (status, "imported into" in out) == (0, True)
    assert WeightsStore(there).verify(model, deep=True).ok
    status, out, _ = run(capsys, "import", str(bundle), "--models", str(there), "--accept", fingerprint, "--json")
    assert (status, json.loads(out)["changed"]) == (0, False)


def test_a_bundle_of_another_release_is_refused(
    here: WeightsStore, model: ReleaseModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(capsys, here, tmp_path / "site.tar")
    other = Release(engine="0.32.0", models=(model.model_copy(update={"revision": "c" * 40}),))
    (tmp_path / "other.json").write_text(other.model_dump_json())
    words = ["import", str(tmp_path / "site.tar"), "--models", str(tmp_path / "there")]
    status, _, err = run(capsys, *words, "--release", str(tmp_path / "other.json"))
    assert (status, (tmp_path / "there").exists()) == (2, False)
    assert "is not of this release" in err


def test_a_pipe(
    here: WeightsStore,
    model: ReleaseModel,
    release: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = [sys.executable, "-m", "voxtral_ops", "weights", "export", "-", "mini-3b", "--models", str(here.root)]
    bundle = subprocess.run(command, capture_output=True, check=True)
    assert b"fingerprint" in bundle.stderr
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bundle.stdout)))
    there = tmp_path / "there"
    assert run(capsys, "import", "-", "--release", str(release), "--models", str(there))[0] == 0
    assert WeightsStore(there).verify(model, deep=True).ok


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("export", "x.tar"), "has no models"),
        (("export", "x.tar", "small-24b"), "has no small-24b"),
        (("export", "x.tar", "nano", "--engine", "cray"), "has no nano"),
        (("export", "x.tar.gz", "nano"), "a plain .tar, or a folder"),
        (("import", "nowhere.tar"), "nowhere.tar does not exist"),
        (("verify", "nano"), "has no nano"),
        (("remove", "mini-3b"), "no model 'mini-3b'"),
    ],
)
def test_what_cannot_be_done_is_said(
    words: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = run(capsys, *words, "--models", str(tmp_path / "empty"))
    assert status == 2
    assert message in err
    assert "hint:" in err


@pytest.mark.parametrize(
    "words", [("--port", "70000"), ("--port", "-1"), ("--connections", "0"), ("--idle", "0"), ("--idle", "soon")]
)
def test_a_seed_with_numbers_that_cannot_be_meant(words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["weights", "seed", *words])
    assert f"'{words[1]}' is no " in capsys.readouterr().err


def test_an_engine_build_that_is_none(
    here: WeightsStore,
    model: ReleaseModel,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from voxtral_ops.weights import carry

    words = ["export", str(tmp_path / "x.tar"), "mini-3b", "--engine", "cray", "--models", str(here.root)]
    status, _, err = run(capsys, *words)
    assert (status, "fallback's weights are not in" in err) == (2, True)
    monkeypatch.setattr(carry, "verify_whisper", lambda root: here.verify(model))
    status, _, err = run(capsys, *words)
    assert (status, "no engine build 'cray'" in err, "cpu" in err) == (2, True, True)
    assert not list(tmp_path.glob(".x.tar*"))


def test_list_gc_and_remove(
    here: WeightsStore, model: ReleaseModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = ["--models", str(here.root)]
    status, out, _ = run(capsys, "list", *models)
    assert (status, "mini-3b" in out, "no release uses it" in out) == (0, True, True)
    status, out, _ = run(capsys, "gc", "--dry-run", "--grace", "0", *models)
    assert (status, "would go" in out, here.path(model).exists()) == (0, True, True)
    status, out, _ = run(capsys, "gc", *models)
    assert ("may be on the way" in out, here.path(model).exists()) == (True, True)
    place = tmp_path / "host/home/releases/one"
    place.mkdir(parents=True)
    plan = {"instances": [{"repository": model.repository, "revision": model.revision}]}
    (place / "plan.json").write_text(json.dumps(plan))
    row = json.loads(run(capsys, "list", "--json", *models)[1])[0]
    assert (row["releases"], row["revision"], row["bytes"]) == (["one"], model.revision, model.size)
    status, _, err = run(capsys, "remove", "mini-3b", *models)
    assert (status, "release one" in err, here.path(model).exists()) == (2, True, True)
    status, out, _ = run(capsys, "remove", "mini-3b@bbbb", "--force", *models)
    assert (status, here.path(model).exists()) == (0, False)
    assert run(capsys, "list", *models)[1] == f"no models in {here.root}\n"


def test_a_seed_is_a_process_that_ends_politely(
    here: WeightsStore, model: ReleaseModel, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-m", "voxtral_ops", "weights", "seed", "--address", "127.0.0.1", "--port", "0"]
    seed = subprocess.Popen([*command, "--models", str(here.root)], stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    assert seed.stderr is not None
    found = re.search(r"http://127\.0\.0\.1:\d+", seed.stderr.readline().decode())
    assert found is not None
    words = ["fetch", "mini-3b", "--release", str(release), "--from", "http://127.0.0.1:1", "--from", found[0]]
    assert run(capsys, *words, "--models", str(tmp_path / "there"))[0] == 0
    assert WeightsStore(tmp_path / "there").verify(model, deep=True).ok
    seed.send_signal(signal.SIGTERM)
    out, _ = seed.communicate()
    assert seed.returncode == 0
    assert b"stopped" in out


def test_whoever_reads_the_pipe_may_go(here: WeightsStore) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "voxtral_ops", "weights", "export", "-", "mini-3b", "--models", str(here.root)]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert done.returncode == 2
    assert b"whoever was reading" in done.stderr
