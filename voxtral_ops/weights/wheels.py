"""Fetch the packages that locks name, for hosts without a package index, by the Python that will run them."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from voxtral_ops.ansible_plugins.module_utils.voxtral_progress import report
from voxtral_ops.errors import HostError, NetworkError
from voxtral_ops.release import ReleaseFile
from voxtral_ops.weights.bundle import Wheels
from voxtral_ops.weights.verify import sha256_of

SECONDS = 7200


def download_wheels(  # noqa: PLR0913 - what is fetched, by name
    locks: Sequence[Path], folder: Path, *, build: str, python: str, uv: str, find_links: Sequence[str] = ()
) -> Wheels:
    """Fetch what every lock names into ``folder``, each file by its hash, and list it.

    Raises HostError without that Python, NetworkError when a package cannot be had.
    """
    environment = {**os.environ, "UV_SYSTEM_CERTS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    with tempfile.TemporaryDirectory(prefix="voxtral-wheels-") as temporary:
        interpreter = str(Path(temporary) / "venv" / "bin" / "python")
        report(f"looking for Python {python}")
        # Markers in a lock are judged by the Python that runs pip: so it is the one that the hosts have.
        made = _run([uv, "venv", "--quiet", "--seed", "--python", python, str(Path(temporary) / "venv")], environment)
        if made:
            raise HostError(
                f"no environment with Python {python} can be made here: {made}",
                hint=f"install Python {python}: the packages are chosen by the Python that will run them",
            )
        for lock in locks:
            report(f"fetching the packages of {lock.name}")
            command = [interpreter, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
            command += ["--dest", str(folder), "--requirement", str(lock)]
            words = _run([*command, *(f"--find-links={link}" for link in find_links)], environment)
            if words:
                raise NetworkError(
                    f"the packages of {lock.name} could not be fetched: {words}",
                    hint="is the package index reachable? What it lacks is looked for in VOXTRAL_FIND_LINKS",
                )
    files = tuple(
        ReleaseFile(path=path.name, size=path.stat().st_size, sha256=sha256_of(path))
        for path in sorted(folder.iterdir())
    )
    return Wheels(build=build, python=python, machine=platform.machine(), files=files)


def _run(command: list[str], environment: dict[str, str]) -> str:
    """Run a program. Returns its last words when it failed, else nothing."""
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return " ".join(ran.stderr.split())[-400:] or f"it ended with {ran.returncode}" if ran.returncode else ""


def find_uv() -> str:
    """Find uv beside this Python, or on PATH. Raises HostError."""
    import shutil  # noqa: PLC0415

    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("uv")
    if found is None:
        raise HostError("uv is not here to fetch packages", hint="pip install 'voxtral-ops[provision]'")
    return found
