"""What starts a server: exact words, nothing inherited, a digest that notices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from voxtral_ops.errors import ReleaseError
from voxtral_ops.server.launch import parse_environment, read_instance

if TYPE_CHECKING:
    from tests.unit.server.conftest import World


def test_words_and_environment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_SERVER_DEV_MODE", "1")
    world.configure(OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    launch = read_instance(world.directory, world.layout.cache)
    place = world.directory
    assert launch.argv == (
        f"{place}/engine/bin/python",
        f"{place}/engine/bin/vllm",
        "serve",
        f"{place}/model",
        "--config",
        f"{place}/server.yaml",
    )
    assert launch.environment["OMP_NUM_THREADS"] == "1"
    assert "PYTHONDONTWRITEBYTECODE" not in launch.environment
    assert "VLLM_SERVER_DEV_MODE" not in launch.environment
    for name in ("HOME", "XDG_CACHE_HOME", "VLLM_CACHE_ROOT", "HF_HOME", "TRITON_CACHE_DIR"):
        assert launch.environment[name].startswith(str(world.layout.cache)), name
    assert launch.url == f"http://127.0.0.1:{world.port}"
    assert launch.drain_seconds == 2


@pytest.mark.parametrize("change", ["server.yaml", "env", "instance.json", "model"])
def test_the_digest_notices(world: World, change: str) -> None:
    before = read_instance(world.directory, world.layout.cache).digest
    assert read_instance(world.directory, world.layout.cache).digest == before
    path = world.directory / change
    if change == "model":
        path.unlink()
        path.symlink_to(world.layout.engines)
    else:
        path.write_text(path.read_text() + "\n")
    assert read_instance(world.directory, world.layout.cache).digest != before


def test_a_broken_instance_is_named(world: World) -> None:
    (world.directory / "instance.json").write_text('{"name": "main"}')
    with pytest.raises(ReleaseError, match=r"instance\.json: model: Field required"):
        read_instance(world.directory)


def test_environment_lines() -> None:
    assert parse_environment("# why\n\nA=1\nB=x=y\n;off\nC=\n") == {"A": "1", "B": "x=y", "C": ""}
    with pytest.raises(ReleaseError, match="env:2"):
        parse_environment("A=1\nnonsense\n")
