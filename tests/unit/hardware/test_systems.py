"""Which systems are supported, and what they are told to install."""

from __future__ import annotations

import pytest

from tests.unit.planning.hosts import host as quiet
from voxtral_ops.errors import HostError
from voxtral_ops.hardware.profile import Profile
from voxtral_ops.hardware.systems import check_supported, install_line, required_needs


def host(system: str, version: str, *, root: bool = True) -> Profile:
    here = quiet()
    facts = here.system.model_copy(update={"id": system, "version": version, "name": f"{system} {version}"})
    return here.model_copy(update={"system": facts, "privileged": root})


@pytest.mark.parametrize(
    ("system", "version", "title"),
    [
        ("debian", "12", "Debian 12"),
        ("debian", "13", "Debian 13"),
        ("ubuntu", "22.04", "Ubuntu 22.04"),
        ("ubuntu", "24.04", "Ubuntu 24.04"),
        ("rocky", "9.5", "Rocky"),
        ("rhel", "9.2", "Rocky"),
        ("almalinux", "9", "Rocky"),
    ],
)
def test_supported(system: str, version: str, title: str) -> None:
    assert check_supported(host(system, version)).title.startswith(title)


@pytest.mark.parametrize(
    ("system", "version"), [("debian", "11"), ("ubuntu", "20.04"), ("rocky", "8"), ("alpine", "3.20")]
)
def test_refused_by_name(system: str, version: str) -> None:
    with pytest.raises(HostError, match=f"{system} {version} is not a supported system") as caught:
        check_supported(host(system, version))
    assert "Debian 12" in caught.value.hint


def test_install_lines() -> None:
    assert install_line(host("debian", "12"), "numa") == "apt-get install -y --no-install-recommends libnuma1"
    assert install_line(host("rocky", "9.1", root=False), "venv") == "sudo dnf install -y python3.11"
    assert "python3.11-venv" in install_line(host("ubuntu", "22.04"), "venv")


def test_a_gpu_engine_compiles_when_it_starts() -> None:
    assert {"compiler", "headers"} <= set(required_needs("cuda13"))
    assert "compiler" not in required_needs("cpu")
