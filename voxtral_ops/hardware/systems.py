"""The systems that voxtral_ops supports, and the packages that each of them needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from voxtral_ops.errors import HostError
from voxtral_ops.hardware.profile import Profile

Need = Literal["numa", "compiler", "headers", "venv", "certificates"]


@dataclass(frozen=True)
class SupportedSystem:
    """One release of a distribution."""

    ids: tuple[str, ...]
    """As in os-release's ``ID``."""
    version: str
    """``VERSION_ID``, or its part before the dot."""
    title: str
    python: str
    """The newest Python of the distribution that the engine's lock can use, as ``3.11``."""
    proven: bool
    """Run by this project's own tests; the others are written from facts."""
    install: str
    """The command that installs packages."""
    packages: dict[Need, str]


def _debian(version: str, title: str, python: str, *, ubuntu: bool = False, proven: bool = False) -> SupportedSystem:
    # Ubuntu 22.04's python3 is 3.10: its newer Python's packages carry the version in their names.
    name = f"python{python}" if ubuntu and version == "22.04" else "python3"
    return SupportedSystem(
        ids=("ubuntu",) if ubuntu else ("debian",),
        version=version,
        title=title,
        python=python,
        proven=proven,
        install="apt-get install -y --no-install-recommends",
        packages={
            "numa": "libnuma1",
            "compiler": "gcc libc6-dev",
            "headers": f"{name}-dev",
            "venv": f"{name} {name}-venv",
            "certificates": "ca-certificates",
        },
    )


SYSTEMS = (
    _debian("12", "Debian 12 (bookworm)", "3.11", proven=True),
    _debian("13", "Debian 13 (trixie)", "3.13"),
    _debian("22.04", "Ubuntu 22.04 LTS", "3.11", ubuntu=True),
    _debian("24.04", "Ubuntu 24.04 LTS", "3.12", ubuntu=True),
    SupportedSystem(
        ids=("rocky", "rhel", "almalinux"),
        version="9",
        title="Rocky, Alma and Red Hat Enterprise Linux 9",
        python="3.11",
        proven=False,
        install="dnf install -y",
        packages={
            "numa": "numactl-libs",
            "compiler": "gcc",
            "headers": "python3.11-devel",
            "venv": "python3.11",
            "certificates": "ca-certificates",
        },
    ),
)


def find_system(profile: Profile) -> SupportedSystem | None:
    """Find the table's row for this host, or None."""
    system = profile.system
    for row in SYSTEMS:
        if system.id in row.ids and row.version in {system.version, system.version.split(".")[0]}:
            return row
    return None


def check_supported(profile: Profile) -> SupportedSystem:
    """Find the table's row for this host. Raises HostError naming what is here and what is supported."""
    row = find_system(profile)
    known = ", ".join(row.title for row in SYSTEMS)
    if row is None:
        raise HostError(
            f"{profile.system.name} is not a supported system",
            hint=f"supported: {known}",
            system=profile.system.id,
            version=profile.system.version,
        )
    return row


def install_line(profile: Profile, *needs: Need) -> str:
    """Write the command that installs what is needed on this host."""
    row = find_system(profile)
    if row is None:
        return f"install the system's packages for: {', '.join(needs)}"
    sudo = "" if profile.privileged else "sudo "
    return f"{sudo}{row.install} {' '.join(row.packages[need] for need in needs)}"


def required_needs(build: str) -> tuple[Need, ...]:
    """List what an engine of this build needs from the system."""
    # Triton compiles small C files against Python.h when a GPU engine starts.
    return ("numa", "certificates") if build == "cpu" else ("numa", "compiler", "headers", "certificates")
