"""One clip in thirty codecs and containers, for tests: fetched once with npm and pinned by sha256."""

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "recordings"
PACKAGE = "audio-lena@3.0.1"
SHA256 = "8b0e9d6cc58e264563f410da76b292e3770448670314b52bfae3764a876fc283"


def lena() -> Path:
    """The folder of the clips. Skips the test where the package cannot be had."""
    folder = CACHE / "lena"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            unpacked = _unpacked(Path(work))
            shutil.copytree(unpacked, folder.with_suffix(f".{os.getpid()}"))
        folder.with_suffix(f".{os.getpid()}").replace(folder)
    return folder


def _unpacked(work: Path) -> Path:
    """From whatever registry npm is configured for."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not here to fetch the clips of audio-lena")
    command = [npm, "pack", "--silent", "--pack-destination", str(work), PACKAGE]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=work)
    archives = list(work.glob("*.tgz"))
    if ran.returncode or not archives:
        pytest.skip(f"the clips of audio-lena cannot be had from npm's registry: {ran.stderr.strip()[-300:]}")
    assert hashlib.sha256(archives[0].read_bytes()).hexdigest() == SHA256, f"{PACKAGE} is not what was pinned"
    with tarfile.open(archives[0]) as archive:
        for member in archive.getmembers():
            path, clip = work / member.name, archive.extractfile(member)
            if path.name.startswith("lena") and clip is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(clip.read())
    return work / "package"
