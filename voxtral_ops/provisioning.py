"""Run the project's playbooks and yield what happens as events, for whichever face draws them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from configparser import ConfigParser, ParsingError
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, Queue
from tempfile import TemporaryDirectory
from typing import IO, Any

from voxtral_ops.errors import HostError

PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Project:
    """Where playbooks, roles and their configuration lie: the checkout, or the data of an installed wheel."""

    root: Path

    @property
    def playbooks(self) -> Path:
        """The verbs."""
        return self.root / "playbooks"

    @property
    def inventory(self) -> Path:
        """This machine's inventory."""
        return self.root / "inventory" / "local"


@dataclass(frozen=True)
class Event:
    """One thing that happened: a task began or ended, a module reported progress, the run ended.

    ``kind`` is the callback's word (play, task, ok, changed, skipped, failed, unreachable, stats), or
    ``progress`` (from inside a task: ``data`` has message and fraction), or ``end`` (``data`` has rc).
    """

    kind: str
    role: str | None = None
    task: str = ""
    host: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


def find_project() -> Project:
    """The checkout this package is run from, else the data in the wheel. Raises HostError when neither is whole."""
    for root in (PACKAGE.parent, PACKAGE / "_provision"):
        if (root / "playbooks" / "site.yml").is_file() and (root / "roles").is_dir():
            return Project(root)
    raise HostError("the playbooks are missing", hint="reinstall voxtral-ops, or run from a whole checkout")


def find_links() -> tuple[str, ...]:
    """Folders with wheels that the package index lacks: VOXTRAL_FIND_LINKS, else uv's or pip's own setting.

    uv does not read pip's configuration, so it is read here: an operator says a thing once.
    """
    for variable in ("VOXTRAL_FIND_LINKS", "UV_FIND_LINKS", "PIP_FIND_LINKS"):
        if os.environ.get(variable):
            return tuple(os.environ[variable].replace(",", " ").split())
    home = Path.home()
    for path in (home / ".config/pip/pip.conf", home / ".pip/pip.conf", Path("/etc/pip.conf")):
        parser = ConfigParser(interpolation=None)
        try:
            parser.read(path, encoding="utf-8")
        except (ParsingError, UnicodeDecodeError):
            continue
        if links := parser.get("global", "find-links", fallback=""):
            return tuple(links.split())
    return ()


def ansible_environment(project: Project) -> dict[str, str]:
    """The environment in which every playbook of ours runs."""
    environment = dict(os.environ)
    environment["ANSIBLE_CONFIG"] = str(project.root / "ansible.cfg")
    # ansible-playbook and its helpers are found by name.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    environment["PYTHONPATH"] = str(PACKAGE.parent)
    environment["ANSIBLE_PYTHON_INTERPRETER"] = sys.executable
    environment.setdefault("LC_ALL", "C.UTF-8")
    environment["VOXTRAL_FIND_LINKS"] = " ".join(find_links())
    return environment


def run_playbook(
    playbook: Path, inventory: Path, variables: Mapping[str, Any], options: Sequence[str] = ()
) -> Iterator[Event]:
    """Run a playbook and yield its events; the last one is ``end`` with Ansible's return code.

    The variables travel in a private file, never in argv. Closing the iterator ends the run.
    """
    _require_ansible()
    project = find_project()
    with TemporaryDirectory(prefix="voxtral-") as folder:
        progress = Path(folder) / "progress"
        progress.touch()
        command = _command(playbook, inventory, variables, options, Path(folder))
        environment = ansible_environment(project)
        environment |= {
            "ANSIBLE_STDOUT_CALLBACK": "voxtral_events",
            "VOXTRAL_PROGRESS": str(progress),
            "ANSIBLE_FORCE_COLOR": "0",
        }
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield from _follow(process, progress)
        finally:
            _end(process)


def run_playbook_raw(playbook: Path, inventory: Path, variables: Mapping[str, Any], options: Sequence[str] = ()) -> int:
    """Run a playbook with Ansible's own output on this terminal. Returns its return code."""
    _require_ansible()
    with TemporaryDirectory(prefix="voxtral-") as folder:
        command = _command(playbook, inventory, variables, options, Path(folder))
        return subprocess.run(command, env=ansible_environment(find_project()), check=False).returncode


def _require_ansible() -> None:
    if find_spec("ansible") is None:
        raise HostError(
            "ansible-core is not installed beside this package",
            hint="pip install 'voxtral-ops[provision]', or run ./voxtral in a checkout",
        )


def _command(
    playbook: Path, inventory: Path, variables: Mapping[str, Any], options: Sequence[str], folder: Path
) -> list[str]:
    extra = folder / "variables.json"
    extra.touch(mode=0o600)
    extra.write_text(json.dumps(dict(variables)), encoding="utf-8")
    program = [sys.executable, "-m", "ansible", "playbook"]
    return [*program, str(playbook), "--inventory", str(inventory), "--extra-vars", f"@{extra}", *options]


def _follow(process: subprocess.Popen[str], progress: Path) -> Iterator[Event]:
    """Merge the callback's lines with the lines that modules write to the progress file while they work."""
    lines: Queue[str | None] = Queue()
    errors: list[str] = []
    readers = [
        threading.Thread(target=_pump, args=(process.stdout, lines), daemon=True),
        threading.Thread(target=_collect, args=(process.stderr, errors), daemon=True),
    ]
    for reader in readers:
        reader.start()
    with progress.open(encoding="utf-8") as reports:
        ended = False
        while not ended:
            try:
                line = lines.get(timeout=0.1)
            except Empty:
                line = ""
            yield from _progress(reports)
            if line is None:
                ended = True
            elif line:
                yield _event(line)
    code = process.wait()
    readers[1].join(timeout=1)
    yield Event("end", data={"rc": code, "stderr": "".join(errors).strip()})


def _pump(stream: IO[str] | None, lines: Queue[str | None]) -> None:
    if stream is not None:
        for line in stream:
            lines.put(line)
    lines.put(None)


def _collect(stream: IO[str] | None, errors: list[str]) -> None:
    if stream is not None:
        errors.extend(stream)


def _progress(reports: IO[str]) -> Iterator[Event]:
    while line := reports.readline():
        try:
            yield Event("progress", data=json.loads(line))
        except json.JSONDecodeError:
            continue  # a line that is still being written is not worth an error


def _event(line: str) -> Event:
    try:
        raw = json.loads(line)
    except json.JSONDecodeError:
        # Ansible itself speaks plainly before a play begins: a syntax error, an inventory that is missing.
        return Event("text", data={"text": line.rstrip()})
    kind = raw.pop("event")
    return Event(kind, role=raw.pop("role", None), task=raw.pop("task", ""), host=raw.pop("host", ""), data=raw)


def _end(process: subprocess.Popen[str]) -> None:
    """Leave no playbook running: a polite word first, then none."""
    for word in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(word)
        deadline = time.monotonic() + 5
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
