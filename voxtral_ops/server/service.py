"""One face for a server, whoever supervises it: systemd where it runs, our own supervisor elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ValidationError

from voxtral_ops.errors import ReleaseError
from voxtral_ops.paths import Layout
from voxtral_ops.server.logfile import follow
from voxtral_ops.server.manager import START_SECONDS, ServerEvent, VLLMServerManager
from voxtral_ops.server.pidfile import read_pid
from voxtral_ops.server.status import LIVE, ServerStatus, read_status
from voxtral_ops.server.systemd import SystemdService, active_units, unit_file

OnEvent = Callable[[ServerEvent], None]


class Service(Protocol):
    """One server of this host."""

    @property
    def name(self) -> str:
        """The instance's name."""

    @property
    def supervisor(self) -> str:
        """Who keeps it running: ``systemd`` or ``voxtral``."""

    def status(self) -> ServerStatus:
        """How it is now."""

    def start(self, on_event: OnEvent | None = None, timeout: float = START_SECONDS) -> ServerStatus:
        """Start it and return when it answers."""

    def stop(self) -> ServerStatus:
        """Drain and stop it."""

    def logs(self, lines: int = 100) -> tuple[str, ...]:
        """Its last lines."""

    def follow(self) -> Iterator[str]:
        """Its lines as they are written, without end."""


class ManagedService:
    """A server under our own supervisor."""

    supervisor = "voxtral"

    def __init__(self, manager: VLLMServerManager) -> None:
        self.manager = manager
        self.name = manager.name

    def status(self) -> ServerStatus:
        """How it is now."""
        return self.manager.status()

    def start(self, on_event: OnEvent | None = None, timeout: float = START_SECONDS) -> ServerStatus:
        """Start it and return when it answers."""
        return self.manager.start(on_event, timeout)

    def stop(self) -> ServerStatus:
        """Drain and stop it."""
        return self.manager.stop()

    def logs(self, lines: int = 100) -> tuple[str, ...]:
        """Its last lines."""
        return self.manager.logs(lines)

    def follow(self) -> Iterator[str]:
        """Its lines as they are written, without end."""
        return follow(self.manager.log_path)


def find_services(layout: Layout, systemd: Path = Path("/run/systemd/system")) -> tuple[Service, ...]:
    """The servers of the release that is current, then those of other releases that still run.

    Empty where nothing is installed. Raises ReleaseError when the current release cannot be read.
    """
    names, release = _current(layout)
    found: list[Service] = []
    units = set(active_units()) if systemd.is_dir() else set()
    for name in names:
        unit = unit_file(release.name, name)
        if systemd.is_dir() and unit.exists():
            units.discard(unit.name)
            found.append(SystemdService(unit.name, release / "instances" / name))
        else:
            found.append(ManagedService(VLLMServerManager(release / "instances" / name, layout)))
    found += [SystemdService.of_unit(unit, layout.releases) for unit in sorted(units)]
    return (*found, *_left_over(layout, {service.name for service in found if service.supervisor == "voxtral"}))


def running_instances(layout: Layout) -> tuple[Path, ...]:
    """The directories that servers run from now, are started from, or will be restarted from."""
    statuses = (service.status() for service in find_services(layout))
    return tuple(Path(status.directory) for status in statuses if status.state in LIVE and status.directory)


class _Named(BaseModel):
    name: str


class _Planned(BaseModel):
    """The part of a plan that says which servers there are; another version's plan has it, too."""

    instances: tuple[_Named, ...]


def _current(layout: Layout) -> tuple[list[str], Path]:
    """The names of the servers of the release that is current, and that release's directory."""
    path = layout.current / "plan.json"
    try:
        planned = _Planned.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return [], layout.current
    except (OSError, ValidationError) as error:
        problem = error.strerror if isinstance(error, OSError) else error.errors()[0]["msg"]
        raise ReleaseError(f"{path} cannot be read: {problem}", hint="run `voxtral-ops up` again", path=path) from error
    return [instance.name for instance in planned.instances], layout.current.resolve()


def _left_over(layout: Layout, known: set[str]) -> Iterator[Service]:
    """Servers of an earlier release with another name that still have a supervisor."""
    for path in sorted((layout.state / "instances").glob("*/status.json")):
        name = path.parent.name
        status = read_status(path)
        if name not in known and status and read_pid(layout.runtime / f"{name}.pid") is not None:
            yield ManagedService(VLLMServerManager(Path(status.directory), layout))
