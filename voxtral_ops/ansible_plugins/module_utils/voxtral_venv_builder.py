"""Build a virtual environment from a hash-locked list: whole and stamped, or not at all. Standard library only."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

STAMP = "voxtral-complete.json"
LOCK_COPY = "voxtral-lock.txt"

# The system's certificate authorities, a company's own among them: uv takes them by a switch, old pip by a path.
AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")

# Runs inside the new environment. Folders named `tests` are never imported by a server: that time is saved.
COMPILE = """
import compileall, os, sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

def work(paths):
    for path in paths:
        compileall.compile_file(path, quiet=2)
    return len(paths)

files = []
for folder, names, here in os.walk(sys.argv[1]):
    names[:] = [name for name in names if name not in ("tests", "__pycache__")]
    files += [os.path.join(folder, name) for name in here if name.endswith(".py")]
chunks = [files[start:start + 40] for start in range(0, len(files), 40)]
done = 0
with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("fork")) as pool:
    for count in pool.map(work, chunks):
        done += count
        print(f"{done}/{len(files)}", flush=True)
"""

# What an installer says, what that means to a person, and what to do about it. The first that matches speaks.
CAUSES = (
    (
        ("No space left on device", "os error 28"),
        "no space is left for {path}",
        "free some space there, or choose another place for the installation",
    ),
    (
        ("Hash mismatch", "THESE PACKAGES DO NOT MATCH THE HASHES"),
        "a downloaded package is not the one that the lock names",
        "the index or a cache in between served other bytes; clear it (uv cache clean) and try again",
    ),
    (
        ("invalid peer certificate", "CERTIFICATE_VERIFY_FAILED", "UnknownIssuer"),
        "the package index's certificate is not trusted here",
        "put your own authority into the system's store (update-ca-certificates), or name it in SSL_CERT_FILE",
    ),
    (
        ("ensurepip is not available", "No module named venv", "No module named ensurepip"),
        "{python} cannot make virtual environments",
        "install the distribution's package for it: apt-get install python3-venv",
    ),
    (
        ("no version of torch", "/whl/"),
        "no source that answers has the build of torch that the lock names",
        "name a folder that has it: VOXTRAL_FIND_LINKS=/path/to/wheels, or voxtral_engine_find_links in the inventory",
    ),
    (
        ("No interpreter found", "interpreter not found", "managed Python download", "No Python at"),
        "there is no Python {python} here",
        "install it with the distribution's packages, or allow the installer to fetch one",
    ),
    (
        (
            "dns error",
            "Name or service not known",
            "Temporary failure in name resolution",
            "error sending request",
            "Failed to fetch",
            "Connection refused",
            "tcp connect error",
            "NewConnectionError",
            "timed out",
            "Network is unreachable",
        ),
        "the package index does not answer",
        "check the network; behind a proxy set HTTPS_PROXY, with a mirror set UV_DEFAULT_INDEX and PIP_INDEX_URL",
    ),
)

# How uv and pip say that the folder they may look into has not got it.
LACKING = ("no version of", "not found in the provided package locations", "No matching distribution found")


class BuildError(Exception):
    """What went wrong, what to do about it, and the installer's own words."""

    def __init__(self, message: str, hint: str = "", output: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.output = output


def sha256(path: Path) -> str:
    """The digest that names a lock."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def look(path: Path, lock_sha256: str) -> str:
    """What is at ``path``: complete, missing, unfinished, another lock's, or without its interpreter."""
    if not path.exists():
        return "missing"
    try:
        stamp = json.loads((path / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "unfinished"
    if stamp.get("lock_sha256") != lock_sha256:
        return "of another lock"
    if not (path / "bin" / "python").exists():
        return "without its interpreter"
    return "complete"


@contextmanager
def held(path: Path):
    """Keep a second run out while this one builds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f".{path.name}.lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BuildError(
                f"another run is building {path}", "wait until it has finished, then run this again"
            ) from None
        yield


class VenvBuilder:
    """Makes one environment. ``report`` hears what is being done and how far it is (0 to 1, or None)."""

    def __init__(  # noqa: PLR0913 - what a venv is made of, by name
        self,
        path: Path,
        python: str,
        lock: Path,
        report,
        *,
        uv: str = "",
        wheels=(),
        find_links=(),
        wheelhouse: str = "",
        torch_backend: str = "",
        python_downloads: bool = False,
        cache: str = "",
    ) -> None:
        self.path = path
        self.python = python
        self.lock = lock
        self.report = report
        self.uv = uv
        self.wheels = list(wheels)
        self.find_links = list(find_links)
        self.wheelhouse = wheelhouse
        self.torch_backend = torch_backend if not wheelhouse else ""
        self.environment = self._environment(python_downloads, cache)

    @property
    def interpreter(self) -> str:
        """The new environment's own Python."""
        return str(self.path / "bin" / "python")

    def create(self) -> None:
        """An empty environment, where nothing or only a torn one was before."""
        self.remove()
        if self.uv:
            self._run([self.uv, "venv", "--no-project", "--python", self.python, str(self.path)])
        else:
            self._run([self.python, "-m", "venv", str(self.path)])

    def install(self) -> None:
        """Exactly what the lock names, every file by its hash, then the local wheels."""
        total = sum(
            1 for line in self.lock.read_text(encoding="utf-8").splitlines() if "==" in line and line[:1].isalnum()
        )
        self.report(f"installing {total} packages", 0.0)
        with self._watched(total):
            if self.uv:
                self._run(
                    [self.uv, "pip", "sync", "--require-hashes", *self._uv_options(), str(self.lock)], self._downloading
                )
            else:
                self._run(
                    [
                        self.interpreter,
                        "-m",
                        "pip",
                        "install",
                        "--quiet",
                        "--require-hashes",
                        "--no-deps",
                        "--disable-pip-version-check",
                        *self._links(),
                        "-r",
                        str(self.lock),
                    ]
                )
        if self.wheels and self.uv:
            self._run(
                [
                    self.uv,
                    "pip",
                    "install",
                    "--offline",
                    "--no-deps",
                    "--no-index",
                    "--python",
                    self.interpreter,
                    *self.wheels,
                ]
            )
        elif self.wheels:
            self._run([self.interpreter, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", *self.wheels])

    def alias(self, name: str, source: str, suffix: str) -> None:
        """Let the distribution ``source`` also answer to ``name``, its version extended by ``suffix``."""
        folder = self._site_packages()
        found = sorted(folder.glob(f"{source}-*.dist-info"))
        if len(found) != 1:
            raise BuildError(
                f"the lock installed no single {source} into {self.path}", "the lock and the role do not fit each other"
            )
        version = found[0].name[len(source) + 1 : -len(".dist-info")]
        target = folder / f"{name}-{version}.dist-info"
        target.mkdir(exist_ok=True)
        lines = (found[0] / "METADATA").read_text(encoding="utf-8").split("\n")
        renamed = [f"Name: {name}" if line.startswith("Name: ") else line for line in lines]
        (target / "METADATA").write_text(
            "\n".join(f"Version: {version}{suffix}" if line.startswith("Version: ") else line for line in renamed),
            encoding="utf-8",
        )

    def compile(self) -> None:
        """Byte code for everything that a server may import, on all cores: its start takes half the time."""

        def show(line: str) -> None:
            done, _, total = line.partition("/")
            if total.isdigit() and int(total):
                self.report("compiling byte code", int(done) / int(total))

        self._run([self.interpreter, "-c", COMPILE, str(self.path / "lib")], show)

    def finish(self) -> dict:
        """Write the stamp, last of all."""
        shutil.copyfile(self.lock, self.path / LOCK_COPY)
        (self.path / LOCK_COPY).chmod(0o644)
        stamp = {
            "id": self.path.name,
            "lock_sha256": sha256(self.lock),
            "python": os.path.realpath(self.interpreter),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        with tempfile.NamedTemporaryFile("w", dir=self.path, delete=False, encoding="utf-8") as stream:
            stream.write(json.dumps(stamp, indent=2) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        Path(stream.name).chmod(0o644)
        Path(stream.name).replace(self.path / STAMP)
        return stamp

    def remove(self) -> None:
        """The stamp first, so that a torn removal is not taken for a whole environment."""
        (self.path / STAMP).unlink(missing_ok=True)
        if self.path.exists():
            shutil.rmtree(self.path)

    def _environment(self, python_downloads: bool, cache: str) -> dict:
        environment = {
            key: value
            for key, value in os.environ.items()
            if key not in {"PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV"}
        }
        environment["UV_SYSTEM_CERTS"] = "1"
        for bundle in AUTHORITIES:
            if Path(bundle).is_file():
                environment.setdefault("PIP_CERT", bundle)
        environment["UV_PYTHON_DOWNLOADS"] = "automatic" if python_downloads else "never"
        environment["UV_NO_CONFIG"] = "1"
        if python_downloads:
            environment["UV_PYTHON_INSTALL_DIR"] = str(self.path.parent.parent / "pythons")
        if cache:
            environment["UV_CACHE_DIR"] = cache
        return environment

    def _links(self) -> list:
        if self.wheelhouse:
            return ["--no-index", f"--find-links={self.wheelhouse}"]
        return [f"--find-links={place}" for place in self.find_links]

    def _downloading(self, line: str) -> None:
        if line.startswith("Downloading "):
            self.report(line[0].lower() + line[1:], None)

    def _uv_options(self) -> list:
        backend = ["--torch-backend", self.torch_backend] if self.torch_backend else []
        return ["--python", self.interpreter, *self._links(), *backend]

    def _site_packages(self) -> Path:
        return next(iter(sorted((self.path / "lib").glob("python3*/site-packages"))), self.path / "lib")

    @contextmanager
    def _watched(self, total: int):
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.5):
                done = sum(1 for _ in self._site_packages().glob("*.dist-info"))
                if done:
                    self.report("installing packages", min(done / max(total, 1), 1.0))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()

    def _run(self, command: list, on_line=None) -> None:
        # Not module.run_command: that one speaks only when the program has ended, and these run for a minute.
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=self.environment,
                cwd="/",
            )
        except OSError as error:
            raise BuildError(
                f"{command[0]} cannot be started: {error.strerror}", "is it installed, and may it be run?"
            ) from error
        lines = []
        for line in process.stdout or ():
            lines = [*lines[-60:], line.rstrip()]
            if on_line is not None:
                on_line(line.strip())
        if process.wait():
            raise self._explain("\n".join(lines), command)

    def _explain(self, output: str, command: list) -> BuildError:
        if self.wheelhouse and any(mark in output for mark in LACKING):
            return BuildError(
                f"{self.wheelhouse} lacks a package that {self.lock.name} names",
                "is the bundle of this build and this Python? `voxtral-ops weights export --engine BUILD` makes one",
                output,
            )
        for marks, message, hint in CAUSES:
            if any(mark in output for mark in marks):
                return BuildError(message.format(path=self.path, python=self.python), hint, output)
        return BuildError(f"{Path(command[0]).name} failed while making {self.path}", "its own words are below", output)
