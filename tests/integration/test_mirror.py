"""Fetching through a real mirror, olah, that stands before a hub: by ranges, and after a kill from where it was."""

import hashlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.hub import Hub, Made, Repository, running_hub
from voxtral_ops.release import ReleaseFile, ReleaseModel
from voxtral_ops.weights import HubSource, WeightsStore

pytestmark = pytest.mark.integration

MIRROR = "olah==0.5.4"
BIG, SMALL = Made(40 << 20), b'{"dim": 3072}'


@pytest.fixture(scope="module")
def olah(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own with the mirror in it."""
    uv, venv = shutil.which("uv", path=str(Path(sys.executable).parent)), tmp_path_factory.mktemp("mirror") / "venv"
    assert uv, "uv is part of the development environment"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(venv)], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", str(venv / "bin/python"), MIRROR], check=True)
    return venv / "bin" / "olah-cli"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as running:
        running.repositories["owner/model"] = Repository({"w.safetensors": BIG, "params.json": SMALL})
        yield running


@pytest.fixture
def mirror(olah: Path, hub: Hub, tmp_path: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    upstream, here = hub.url.removeprefix("http://"), f"127.0.0.1:{port}"
    command = [str(olah), "--host", "127.0.0.1", "--port", str(port), "--repos-path", str(tmp_path / "mirrored")]
    command += ["--hf-scheme", "http", "--hf-netloc", upstream, "--hf-lfs-netloc", upstream]
    command += ["--mirror-scheme", "http", "--mirror-netloc", here, "--mirror-lfs-netloc", here]
    with (tmp_path / "olah.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=tmp_path)
    try:
        _wait_for(f"http://{here}/api/models/owner/model", process)
        yield f"http://{here}"
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(240):
        assert process.poll() is None, "the mirror ended"
        try:
            urllib.request.urlopen(url, timeout=10).close()
        except OSError:
            time.sleep(0.25)
        else:
            return
    raise AssertionError("the mirror does not answer")


def test_through_a_mirror(hub: Hub, mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", mirror)
    files = (
        ReleaseFile(path="w.safetensors", size=BIG.size, sha256=BIG.sha256),
        ReleaseFile(path="params.json", size=len(SMALL), sha256=hashlib.sha256(SMALL).hexdigest()),
    )
    model = ReleaseModel(name="any", repository="owner/model", revision="b" * 40, files=files)
    store, asked = WeightsStore(tmp_path / "models"), []

    class Killed(BaseException):
        pass

    def kill(text: str, done: int, total: int) -> None:
        if done > BIG.size // 2:
            raise Killed

    def watch(text: str, done: int, total: int) -> None:
        asked.append(text)

    with pytest.raises(Killed):
        store.install(model, HubSource(model.repository, model.revision), watch=kill)
    assert store.install(model, HubSource(model.repository, model.revision), watch=watch) is True
    assert "reading again w.safetensors" in asked
    assert store.verify(model, deep=True).ok
    assert hub.sent["w.safetensors"] <= BIG.size * 1.01, "the mirror asked the hub once for each byte"
