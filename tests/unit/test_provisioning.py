"""Playbook runs as events: real Ansible on a small playbook, progress from inside a task, how a run ends."""

import json
import os
from pathlib import Path

import pytest

from voxtral_ops import provisioning
from voxtral_ops.provisioning import Event, find_links, run_playbook

PLAYBOOK = """
- name: A small play
  hosts: all
  gather_facts: false
  tasks:
    - name: install | Report from inside
      ansible.builtin.command: >-
        {python} -c "from voxtral_ops.ansible_plugins.module_utils.voxtral_progress import report;
        report('half way', 0.5)"
      changed_when: true
    - name: A secret
      ansible.builtin.set_fact:
        voxtral_secret: "{{{{ word }}}}"
      no_log: true
    - name: A failure with a cure
      ansible.builtin.fail:
        msg: the disk is full
      when: fails | bool
"""


@pytest.fixture
def play(tmp_path: Path) -> Path:
    path = tmp_path / "play.yml"
    path.write_text(PLAYBOOK.format(python="{{ ansible_playbook_python }}"))
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": {"here": {"ansible_connection": "local"}}}}))
    return path


def events(play: Path, **variables: object) -> list[Event]:
    return list(run_playbook(play, play.parent / "hosts.yml", {"fails": False, "word": "hush-7731", **variables}))


def test_a_run_is_a_stream_of_events_with_progress_from_inside(play: Path) -> None:
    seen = events(play)
    kinds = [event.kind for event in seen]
    assert kinds[0] == "play"
    assert kinds[-2:] == ["stats", "end"]
    assert "changed" in kinds
    assert seen[-1].data["rc"] == 0
    progress = next(event for event in seen if event.kind == "progress")
    assert (progress.data["message"], progress.data["fraction"]) == ("half way", 0.5)


def test_a_failure_carries_its_words_and_the_return_code(play: Path) -> None:
    seen = events(play, fails=True)
    failed = next(event for event in seen if event.kind == "failed")
    assert failed.data["result"]["msg"] == "the disk is full"
    assert seen[-1].data["rc"] != 0


def test_what_a_task_hides_is_in_no_event(play: Path) -> None:
    assert "hush-7731" not in repr(events(play))


def test_variables_are_never_in_argv(play: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = provisioning._command(play, play.parent / "hosts.yml", {"word": "hush-7731"}, (), play.parent)
    assert "hush-7731" not in " ".join(command)
    assert oct((play.parent / "variables.json").stat().st_mode & 0o777) == "0o600"


def test_a_playbook_that_is_no_playbook_says_so(play: Path) -> None:
    play.write_text("not: a playbook\n")
    seen = events(play)
    assert seen[-1].data["rc"] != 0
    assert "playbook" in seen[-1].data["stderr"]


def test_closing_the_stream_ends_the_run(play: Path) -> None:
    play.write_text(play.read_text().replace('-c "from', '-c "import time; time.sleep(60); from'))
    stream = run_playbook(play, play.parent / "hosts.yml", {"fails": False, "word": ""})
    assert next(stream).kind == "play"
    stream.close()  # type: ignore[attr-defined]
    running = [
        entry
        for entry in Path("/proc").glob("[0-9]*")
        if str(play).encode() in ((entry / "cmdline").read_bytes() if os.access(entry / "cmdline", os.R_OK) else b"")
    ]
    assert running == []


def test_pips_setting_is_heard_where_uv_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("VOXTRAL_FIND_LINKS", "UV_FIND_LINKS", "PIP_FIND_LINKS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".config/pip").mkdir(parents=True)
    (tmp_path / ".config/pip/pip.conf").write_text("[global]\nfind-links = /wheels /more\n")
    assert find_links() == ("/wheels", "/more")
    monkeypatch.setenv("VOXTRAL_FIND_LINKS", "/mine")
    assert find_links() == ("/mine",)
