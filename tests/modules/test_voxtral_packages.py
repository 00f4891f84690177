"""The module for the distribution's packages, with an apt-get that is not there."""

from __future__ import annotations

import os

import pytest
from ansible.module_utils.basic import AnsibleModule


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch):
    """A Debian host: ``host.here`` is installed, ``host.ran`` is what was run, ``host.code`` what apt-get answers."""

    class Host:
        here = ("gcc",)
        ran: list[list[str]] = []
        code = 0

    found = Host()
    found.ran = []

    def run_command(self, command, **_):
        found.ran.append(command)
        if command[0] == "dpkg-query":
            return 0, "".join(f"{name} installed\n" for name in found.here), ""
        return (0, "", "") if "update" in command else (found.code, "", "E: Unable to locate package")

    monkeypatch.setattr(AnsibleModule, "run_command", run_command)
    monkeypatch.setattr(AnsibleModule, "get_bin_path", lambda self, name, **_: f"/usr/bin/{name}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return found


def test_only_what_is_missing_is_installed(run_module, host):
    done = run_module("voxtral_packages", names=["gcc", "libnuma1"])
    assert done["voxtral_packages"] == ["libnuma1"]
    assert host.ran[-1][:2] == ["apt-get", "install"]
    assert host.ran[-1][-1] == "libnuma1"


def test_nothing_is_done_when_nothing_is_missing(run_module, host):
    assert run_module("voxtral_packages", names=["gcc"])["changed"] is False
    assert len(host.ran) == 1


def test_check_mode_installs_nothing(run_module, host):
    assert run_module("voxtral_packages", _check=True, names=["libnuma1"])["changed"] is True
    assert [command[0] for command in host.ran] == ["dpkg-query"]


def test_an_ordinary_user_is_told_the_line_that_installs_them(run_module, host, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    failed = run_module("voxtral_packages", names=["libnuma1"])
    assert failed["failed"] is True
    assert failed["hint"] == "sudo apt-get install -y --no-install-recommends libnuma1"


def test_stale_lists_are_fetched_again_before_giving_up(run_module, host):
    host.code = 100
    failed = run_module("voxtral_packages", names=["libnuma1"])
    assert failed["failed"] is True
    assert "Unable to locate" in failed["stderr"]
    assert [command[1] for command in host.ran if command[0] == "apt-get"] == ["install", "update", "install"]
