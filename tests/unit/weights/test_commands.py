"""The commands `weights` and `release`, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.fakes.hub import Hub
from tests.unit.weights.conftest import REPOSITORY
from voxtral_ops.cli.main import main
from voxtral_ops.release import ReleaseModel, parse_release


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(list(words))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def lock(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    assert run(capsys, "release", "lock", "mini-3b", "--output", str(path))[0] == 0


def test_lock_prints_a_manifest(hub: Hub, model: ReleaseModel, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "release", "lock", "mini-3b")
    assert status == 0
    assert parse_release(yaml.safe_load(out)["voxtral_release"]).models == (model,)


@pytest.mark.parametrize("name", ["release.yml", "release.json"])
def test_a_locked_file_is_read_again(
    name: str, hub: Hub, model: ReleaseModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    lock(capsys, path)
    status, out, _ = run(capsys, "release", "show", str(path), "--json")
    assert status == 0
    assert json.loads(out)["models"] == [model.model_dump(mode="json")]


def test_an_engine_that_nobody_has_is_not_locked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["release", "lock", "nano", "--engine", "9.9"]) == 2
    said = capsys.readouterr().err
    assert "no engine 9.9" in said
    assert "0.32.0" in said


@pytest.mark.parametrize("text", ["", "- a\n", "{", "voxtral_release:\n  engine: x\n"])
def test_a_file_that_is_no_manifest(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "release.yml"
    path.write_text(text)
    status, _, err = run(capsys, "release", "show", str(path))
    assert status == 2
    assert str(path) in err


def test_fetch_verify_list(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release, models = tmp_path / "release.yml", tmp_path / "models"
    lock(capsys, release)
    where = ("--models", str(models))
    first = run(capsys, "weights", "fetch", "mini-3b", "--release", str(release), *where, "--json")
    assert json.loads(first[1])["changed"] is True
    again = run(capsys, "weights", "fetch", "mini-3b", "--release", str(release), *where, "--json")
    assert json.loads(again[1])["changed"] is False
    assert run(capsys, "weights", "verify", *where)[0] == 0
    assert "mini-3b" in run(capsys, "weights", "list", *where, "--home", str(tmp_path))[1]
    (models / REPOSITORY / ("b" * 40) / "params.json").unlink()
    status, out, _ = run(capsys, "weights", "verify", *where)
    assert status == 1
    assert "params.json is missing" in out


def test_fetch_from_a_directory(hub: Hub, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release = tmp_path / "release.yml"
    lock(capsys, release)
    hub.requests.clear()
    words = ("weights", "fetch", "mini-3b", "--release", str(release), "--from", str(folder))
    assert run(capsys, *words, "--models", str(tmp_path / "models"))[0] == 0
    assert hub.requests == []


def test_an_unreachable_hub_is_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    status, out, err = run(capsys, "weights", "fetch", "mini-3b", "--models", str(tmp_path), "--json")
    assert status == 2
    assert json.loads(out)["error"]["type"] == "NetworkError"
    assert "HF_ENDPOINT" in err


def test_verify_mends(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release, where = tmp_path / "release.yml", ("--models", str(tmp_path / "models"))
    lock(capsys, release)
    run(capsys, "weights", "fetch", "mini-3b", "--release", str(release), *where)
    (tmp_path / "models" / REPOSITORY / ("b" * 40) / "params.json").write_bytes(b"13 other bytes"[:13])
    status, out, _ = run(capsys, "weights", "verify", *where)
    assert status == 1
    assert "params.json has sha256" in out
    assert "verify --mend fetches what is wrong" in out
    status, out, _ = run(capsys, "weights", "verify", "--mend", *where)
    assert status == 0
    assert "mended" in out
    assert run(capsys, "weights", "verify", "--deep", *where)[0] == 0


def test_a_hub_that_went_backwards_is_told(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release = tmp_path / "release.yml"
    lock(capsys, release)
    hub.repositories[REPOSITORY].revision = "a" * 40
    hub.repositories[REPOSITORY].published = "2026-01-02T03:04:05.000Z"
    words = ("release", "lock", "mini-3b", "--output", str(release))
    before = release.read_text()
    status, _, err = run(capsys, *words)
    assert status == 2
    assert "aaaaaaaaaaaa of 2026-01-02, older than bbbbbbbbbbbb of 2026-05-04" in err
    assert release.read_text() == before
    assert run(capsys, *words, "--older")[0] == 0
    assert "a" * 40 in release.read_text()


def test_an_older_revision_does_not_come_unasked(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new, old, where = tmp_path / "new.yml", tmp_path / "old.yml", ("--models", str(tmp_path / "models"))
    lock(capsys, new)
    fetch = ("weights", "fetch", "mini-3b", *where, "--release")
    assert run(capsys, *fetch, str(new))[0] == 0
    hub.repositories[REPOSITORY].revision = "a" * 40
    hub.repositories[REPOSITORY].published = "2026-01-02T03:04:05.000Z"
    lock(capsys, old)
    status, _, err = run(capsys, *fetch, str(old))
    assert status == 2
    assert "is older than bbbbbbbbbbbb, which is installed here" in err
    assert run(capsys, *fetch, str(old), "--older")[0] == 0
    # Both are here now: going from one to the other fetches nothing and needs nobody's consent.
    assert run(capsys, *fetch, str(new))[0] == 0
    assert run(capsys, *fetch, str(old))[0] == 0


def test_a_limit_is_a_rate(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(capsys, "weights", "fetch", "nano", "--limit", "fast")
    assert "'fast' is no rate" in capsys.readouterr().err
