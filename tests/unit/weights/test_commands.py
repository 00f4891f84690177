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
    assert "mini-3b" in run(capsys, "weights", "list", *where)[1]
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
