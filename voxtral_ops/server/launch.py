"""From an instance's directory on disk to the command line and environment that start it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from voxtral_ops.errors import ReleaseError
from voxtral_ops.paths import default_layout
from voxtral_ops.planning.plan import Instance

FILES = ("server.yaml", "env", "instance.json")
LINKS = ("engine", "model")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Launch:
    """Everything needed to start one vLLM server, the same for a unit and for the manager."""

    directory: Path
    argv: tuple[str, ...]
    environment: dict[str, str]
    """The whole environment: nothing is inherited, so that a shell's variables cannot change a server."""
    instance: Instance
    digest: str
    """Changes when anything that the server was started from changes."""

    @property
    def url(self) -> str:
        """The base of the server's API, without ``/v1``."""
        return self.instance.url

    @property
    def drain_seconds(self) -> int:
        """How long vLLM itself waits for running requests after SIGTERM."""
        value = self.instance.arguments.get("shutdown-timeout", 0)
        return int(value) if isinstance(value, (int, float, str)) else 0


def read_instance(directory: Path, cache: Path | None = None) -> Launch:
    """Read ``server.yaml``, ``env`` and ``instance.json``. Raises ReleaseError naming what is wrong.

    ``cache`` is where the server may keep what it compiles; by default this user's or the system's cache.
    """
    directory = directory.absolute()
    missing = [name for name in (*FILES, *LINKS) if not (directory / name).exists()]
    if missing:
        raise ReleaseError(
            f"{directory} is not a complete instance: {', '.join(missing)} missing",
            hint="run `voxtral-ops up` again; it goes on from what is there",
            directory=directory,
            missing=missing,
        )
    instance = load_instance(directory / "instance.json")
    engine = directory / "engine" / "bin"
    argv = (
        str(engine / "python"),
        str(engine / "vllm"),
        "serve",
        str(directory / "model"),
        # Two words: vLLM silently ignores `--config=FILE`.
        "--config",
        str(directory / "server.yaml"),
    )
    return Launch(
        directory=directory,
        argv=argv,
        environment=_environment(directory, cache or default_layout().cache),
        instance=instance,
        digest=_digest(directory),
    )


def parse_environment(text: str, origin: str = "env") -> dict[str, str]:
    """``KEY=VALUE`` lines as systemd's EnvironmentFile has them, without its quoting. Raises ReleaseError."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith(("#", ";")):
            continue
        key, equals, value = stripped.partition("=")
        if not equals or not key.isidentifier():
            raise ReleaseError(f"{origin}:{number}: not KEY=VALUE: {stripped!r}", origin=origin, line=number)
        found[key] = value
    return found


def load_instance(path: Path) -> Instance:
    """Read an ``instance.json``. Raises ReleaseError naming the field that is wrong."""
    try:
        return Instance.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ReleaseError(
            f"{path}: {where}: {first['msg']}",
            hint="the file was written by another version or by hand: run `voxtral-ops up` again",
            path=path,
        ) from error


def _environment(directory: Path, cache: Path) -> dict[str, str]:
    home = cache / "engine" / directory.name
    variables = {
        "PATH": f"{directory / 'engine' / 'bin'}:{_SYSTEM_PATH}",
        "LANG": "C.UTF-8",
        # Whatever the engine's libraries keep for themselves stays below the layout's cache.
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "VLLM_CACHE_ROOT": str(home / "vllm"),
        "VLLM_CONFIG_ROOT": str(home / "config" / "vllm"),
        "HF_HOME": str(home / "huggingface"),
        "TORCHINDUCTOR_CACHE_DIR": str(home / "inductor"),
        "TRITON_CACHE_DIR": str(home / "triton"),
        "PYTHONUNBUFFERED": "1",
        # The engine's processes talk over the loopback interface, never over the host's other addresses.
        "VLLM_HOST_IP": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
    }
    origin = directory / "env"
    variables |= parse_environment(origin.read_text(encoding="utf-8"), str(origin))
    # With it the engine compiles its byte code anew at each start: twice the time.
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    return variables


def _digest(directory: Path) -> str:
    digest = hashlib.sha256()
    for name in FILES:
        digest.update(name.encode() + b"\0" + (directory / name).read_bytes() + b"\0")
    for name in LINKS:
        digest.update(name.encode() + b"\0" + str((directory / name).resolve()).encode() + b"\0")
    return digest.hexdigest()
