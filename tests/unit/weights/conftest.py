"""A hub that holds a small Voxtral, and a store in a temporary directory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import httpcore2
import pytest

from tests.fakes.hub import Hub, Repository, running_hub
from voxtral_ops.catalog import catalog_model
from voxtral_ops.release import ReleaseFile, ReleaseModel
from voxtral_ops.weights import WeightsStore, patience

NAME = "mini-3b"


@pytest.fixture(autouse=True, scope="session")
def authorities_once() -> Iterator[None]:
    """Read the certificate authorities once: every client does, and it takes longer than most tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpcore2, "default_ssl_context", cache(httpcore2.default_ssl_context))
        yield


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pause between attempts, but not for long."""
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.001)


REPOSITORY = catalog_model(NAME).repository
FILES = {
    "consolidated.safetensors": bytes(range(256)) * 400,
    "params.json": b'{"dim": 3072}',
    "tekken.json": b"x" * 5000,
    "config.json": b"{}",
    "model-00001-of-00002.safetensors": b"the same weights again" * 100,
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with running_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        running.repositories[REPOSITORY] = Repository(dict(FILES))
        yield running


@pytest.fixture
def model() -> ReleaseModel:
    names = catalog_model(NAME).files
    files = tuple(
        ReleaseFile(path=name, size=len(FILES[name]), sha256=hashlib.sha256(FILES[name]).hexdigest()) for name in names
    )
    published = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
    return ReleaseModel(name=NAME, repository=REPOSITORY, revision="b" * 40, published=published, files=files)


@pytest.fixture
def store(tmp_path: Path) -> WeightsStore:
    return WeightsStore(tmp_path / "models")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The model's files in an ordinary directory."""
    place = tmp_path / "carried"
    place.mkdir()
    for name, data in FILES.items():
        (place / name).write_bytes(data)
    return place
