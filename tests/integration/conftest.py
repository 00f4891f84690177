"""One installation for the whole run: a copy of the checkout, an ordinary user, `./voxtral up` for real."""

import json
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from voxtral_ops.weights.whisper import install_whisper, verify_whisper, whisper_path

ROOT = Path(__file__).resolve().parents[2]
WHISPER_MODELS = ROOT / ".cache" / "models"
USER = "voxtral-story"
KEPT = ("VOXTRAL_FIND_LINKS", "SSL_CERT_FILE", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "UV_DEFAULT_INDEX", "UV_INDEX")


@dataclass(frozen=True)
class Installation:
    """A checkout that belongs to an ordinary user, who has a home and nothing else."""

    checkout: Path
    home: Path
    environment: dict[str, str]
    up: dict[str, Any] = field(default_factory=dict)

    def run(self, *command: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run a command as that user, in that checkout."""
        identity: dict[str, Any] = {}
        if os.geteuid() == 0:
            entry = pwd.getpwnam(USER)
            identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        return subprocess.run(
            command,
            cwd=self.checkout,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            **identity,
        )

    def voxtral(self, *words: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run ./voxtral."""
        return self.run("./voxtral", *words, timeout=timeout)

    def ask(self, *words: str, status: int = 0) -> dict[str, Any]:
        """Run ./voxtral with --json and read what it answers."""
        result = self.voxtral(*words, "--json")
        assert result.returncode == status, (
            f"{words}: {result.returncode}\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}"
        )
        answer: dict[str, Any] = json.loads(result.stdout)
        return answer


def _copy_checkout(target: Path) -> None:
    """What git would give somebody else: tracked files and new ones that are not ignored."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


@pytest.fixture(scope="session")
def installation() -> Iterator[Installation]:
    """`./voxtral up` in a fresh checkout; stopped and removed at the end, whatever happened."""
    home = Path(tempfile.mkdtemp(prefix="voxtral-story-"))
    checkout = home / "voxtral_ops"
    _copy_checkout(checkout)
    if os.geteuid() == 0:
        # A user of its own: programs look homes up in the user database, whatever HOME says.
        subprocess.run(["userdel", USER], stderr=subprocess.DEVNULL, check=False)
        subprocess.run(["useradd", "--home-dir", str(home), "--no-create-home", USER], check=True)
        subprocess.run(["chown", "-R", f"{USER}:{USER}", str(home)], check=True)
        home.chmod(0o755)
    environment = {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "LOGNAME": USER}
    environment |= {key: os.environ[key] for key in KEPT if os.environ.get(key)}
    fresh = Installation(checkout, home, environment)
    try:
        answer = fresh.ask("up")
        yield Installation(checkout, home, environment, answer)
    finally:
        fresh.voxtral("down", timeout=120)
        shutil.rmtree(home, ignore_errors=True)
        if os.geteuid() == 0:
            subprocess.run(["userdel", USER], stderr=subprocess.DEVNULL, check=False)


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> Path:
    """The engine that `up` installed, for tests that start servers of their own; or one that is named."""
    named = os.environ.get("VOXTRAL_TEST_ENGINE")
    if named:
        return Path(named)
    installation: Installation = request.getfixturevalue("installation")
    stamps = sorted((installation.home / ".local/share/voxtral/engines").glob("*/voxtral-complete.json"))
    assert stamps, "up left no whole engine"
    return stamps[0].parent


@pytest.fixture(scope="session")
def python(request: pytest.FixtureRequest) -> Path:
    """An interpreter with faster-whisper: a named environment, else the one that `up` installed."""
    named = os.environ.get("VOXTRAL_TEST_WHISPER")
    if named:
        return Path(named) / "bin" / "python"
    installation = request.getfixturevalue("installation")
    return Path(installation.home) / ".local/share/voxtral/whisper/current/bin/python"


@pytest.fixture(scope="session")
def weights() -> Path:
    """tiny.en, from wherever it can be had, pinned by the package's own list."""
    install_whisper(WHISPER_MODELS)
    assert verify_whisper(WHISPER_MODELS, deep=True).ok
    return whisper_path(WHISPER_MODELS)
