"""What every host holds after one of them has seeded and one of them was lied to, asked from outside of Ansible."""

# What is measured is printed: the run's output is the evidence.
# ruff: noqa: T201

import json
from pathlib import Path

import pytest
import yaml

INVENTORY = Path(__file__).parents[1] / "inventory/group_vars/all/voxtral.yml"
MODEL = yaml.safe_load(INVENTORY.read_text(encoding="utf-8"))["voxtral_release"]["models"][0]
PLACE = f"/var/lib/voxtral/models/{MODEL['repository']}/{MODEL['revision']}"


@pytest.mark.parametrize("file", MODEL["files"], ids=lambda file: file["path"])
def test_every_file_is_the_release_s(host, file):
    assert host.file(f"{PLACE}/{file['path']}").sha256sum == file["sha256"]


def test_only_the_servers_user_reads_them(host):
    for path, mode in ((PLACE, 0o750), (f"{PLACE}/params.json", 0o640)):
        found = host.file(path)
        assert (found.user, found.group, found.mode) == ("voxtral", "voxtral", mode), path
    assert host.check_output(f"runuser -u voxtral -- cat {PLACE}/params.json | wc -c") == "700"
    assert host.run(f"runuser -u deploy -- cat {PLACE}/params.json").rc != 0


def test_nothing_is_left_over(host):
    assert host.check_output(f"ls -A {PLACE}/..").split() == [MODEL["revision"]]


def test_the_toolkit_says_the_same_after_reading_every_byte(host):
    command = "/opt/voxtral/toolkits/*/bin/voxtral-ops weights verify --deep --json"
    assert json.loads(host.check_output(command))["ok"] is True


def test_the_liar_was_asked_and_not_believed(host):
    if host.check_output("hostname") != "voxtral-weights-2":
        return  # it runs there only
    log = host.check_output("journalctl -u liar -o cat --no-pager")
    asked = [line for line in log.splitlines() if "GET /voxtral-test/" in line]
    print("\n" + "\n".join(asked))
    assert any("consolidated.safetensors" in line and '" 200' in line for line in asked), log


def test_three_hosts_took_it_from_others(host):
    if host.check_output("hostname") == "voxtral-weights-1":
        assert host.file("/srv/model/params.json").exists
    else:
        assert not host.file("/srv/model").exists
