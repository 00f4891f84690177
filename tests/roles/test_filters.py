"""The filters' choices: which interpreter, which packages, and errors with their cure."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from tests.modules.conftest import PLUGINS, load
from tests.unit.planning.hosts import host
from voxtral_ops.errors import HostError
from voxtral_ops.hardware.profile import Interpreter, System

FILTERS = load(PLUGINS / "filter" / "voxtral.py", "voxtral_test_filters")


def profile(*interpreters: tuple[str, str, bool], **changes):
    found = tuple(Interpreter(path=path, version=version, venv=venv) for path, version, venv in interpreters)
    return host(interpreters=found, **changes).model_dump(mode="json")


SYSTEM = ("/usr/bin/python3.11", "3.11.2", True)
OWN = ("/root/.pyenv/versions/3.13.0/bin/python3.13", "3.13.0", True)
LOCAL = ("/usr/local/bin/python3.12", "3.12.1", True)


@pytest.mark.parametrize(
    ("interpreters", "wanted", "scope", "chosen"),
    [
        ((SYSTEM, OWN), ">=3.11", "system", SYSTEM[0]),
        ((SYSTEM, OWN), ">=3.11", "user", OWN[0]),
        ((SYSTEM, LOCAL), ">=3.11", "system", LOCAL[0]),
        ((SYSTEM, OWN, LOCAL), "3.11", "user", SYSTEM[0]),
        ((), ">=3.11", "system", "/usr/bin/python3.11"),
        ((OWN,), "3.11", "system", "/usr/bin/python3.11"),
        ((OWN,), "3.12", "system", "3.12"),
    ],
)
def test_the_interpreter(interpreters, wanted, scope, chosen):
    assert FILTERS.voxtral_interpreter(profile(*interpreters), wanted, scope) == chosen


def test_where_the_distribution_has_another_python_the_installer_looks_for_one():
    trixie = System(id="debian", version="13", name="Debian 13", kernel="6.12", init="systemd")
    raw = profile(("/usr/bin/python3.13", "3.13.5", True), system=trixie)
    assert FILTERS.voxtral_interpreter(raw, "3.11", "system") == "3.11"


def test_the_packages_of_a_cpu_engine_are_what_is_missing():
    here, lacking = profile(SYSTEM), profile(SYSTEM, libraries={"libnuma.so.1": False})
    assert FILTERS.voxtral_packages(here, "cpu") == []
    assert "libnuma1" in FILTERS.voxtral_packages(lacking, "cpu")
    assert "gcc" not in FILTERS.voxtral_packages(lacking, "cpu")


def test_the_packages_of_a_gpu_engine_hold_a_compiler_and_pythons_headers():
    assert {"gcc", "python3-dev"} <= set(FILTERS.voxtral_packages(profile(SYSTEM, compiler=None), "cuda13"))
    assert "gcc" not in FILTERS.voxtral_packages(profile(SYSTEM), "cuda13")


def test_the_package_that_makes_environments_is_wanted_only_where_it_is_missing():
    assert FILTERS.voxtral_packages(profile(SYSTEM), interpreter=SYSTEM[0]) == []
    without = profile(("/usr/bin/python3.11", "3.11.2", False))
    assert "python3-venv" in FILTERS.voxtral_packages(without, interpreter=SYSTEM[0])


def test_a_deliberate_error_reaches_the_operator_with_its_cure():
    def broken():
        raise HostError("no room", hint="make room")

    with pytest.raises(AnsibleFilterError, match=r"no room\. make room"):
        FILTERS._clear(broken)()


def test_seeds_are_a_tree_whose_last_resort_is_the_first_host():
    hosts = [f"http://h{number}:18500" for number in range(40)]
    chains = {url: FILTERS.voxtral_seeds(hosts, url) for url in hosts}
    assert chains[hosts[0]] == []
    assert chains[hosts[13]] == [hosts[6], hosts[3], hosts[1], hosts[0]]
    for place, url in enumerate(hosts[1:], start=1):
        assert chains[url][-1] == hosts[0]
        assert all(hosts.index(seed) < place for seed in chains[url]), "whoever is asked was served before"
    asked_first = [chain[0] for chain in chains.values() if chain]
    assert max(asked_first.count(url) for url in hosts) == 2, "no host carries the fleet"
