"""What the playbook promised of a provisioned host, asked from outside of Ansible."""

# What is measured is printed: the run's output is the evidence.
# ruff: noqa: T201

import json
import time

import pytest

RELEASES = "/opt/voxtral/releases"


@pytest.fixture(scope="module")
def plan(host):
    return json.loads(host.check_output("cat /opt/voxtral/current/plan.json"))


@pytest.fixture(scope="module")
def instance(plan):
    return plan["instances"][0]


@pytest.fixture(scope="module")
def unit(plan, instance):
    return f"voxtral-engine@{plan['release']}-{instance['name']}.service"


def healthy(host, instance):
    answer = host.run(f"curl -s -o /dev/null -w %{{http_code}} -m 5 http://127.0.0.1:{instance['port']}/health")
    return answer.stdout == "200"


def transcribe(host, instance, clip):
    url = f"http://127.0.0.1:{instance['port']}/v1/audio/transcriptions"
    return json.loads(host.check_output(f"curl -s -m 120 {url} -F model={instance['served_name']} -F file=@{clip}"))[
        "text"
    ]


def golden(host):
    folder = host.check_output(
        "/opt/voxtral/current/toolkit/bin/python -c 'from voxtral_ops.catalog import DATA; print(DATA / \"golden\")'"
    )
    python = "import json, tomllib, sys; print(json.dumps(tomllib.load(open(sys.argv[1], 'rb'))['clip']))"
    clips = json.loads(host.check_output(f'/opt/voxtral/current/toolkit/bin/python -c "{python}" {folder}/golden.toml'))
    return folder, clips


def words(text):
    return "".join(letter for letter in text.lower() if letter.isalnum() or letter == " ").split()


def test_the_unit_is_active_and_enabled(host, unit):
    assert host.service(unit).is_running, host.run(f"journalctl -u {unit} -n 60 --no-pager").stdout
    assert host.service(unit).is_enabled


def test_the_server_runs_as_its_own_user_without_capabilities(host, unit):
    pid = host.check_output(f"systemctl show {unit} --property=MainPID --value")
    status = host.check_output(f"cat /proc/{pid}/status")
    assert host.check_output(f"stat -c %U /proc/{pid}") == "voxtral"
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status


def test_the_sandbox_is_enforced(host, unit):
    pid = host.check_output(f"systemctl show {unit} --property=MainPID --value")
    enter = f"nsenter --target {pid} --mount --"
    assert host.run(f"{enter} touch /usr/probe").rc != 0, "ProtectSystem=strict must make /usr read-only"
    assert host.run(f"{enter} ls /home/deploy").rc != 0, "ProtectHome must hide homes"
    host.check_output("touch /tmp/seen-from-outside")
    assert host.run(f"{enter} test -e /tmp/seen-from-outside").rc != 0, "PrivateTmp must give another /tmp"


def test_the_security_score(host, unit):
    report = host.run(f"systemd-analyze security --no-pager {unit}").stdout.strip().splitlines()
    print("\n" + report[-1])
    score = float(report[-1].split(":")[-1].split()[0])
    assert score <= 2.0, "\n".join(report)


def test_the_port_is_bound_to_loopback_only(host, instance):
    lines = host.check_output(f"ss -Hltn sport = :{instance['port']}").splitlines()
    assert [line.split()[3] for line in lines] == [f"127.0.0.1:{instance['port']}"]


def test_no_other_port_than_ssh_is_open_to_the_network(host):
    listening = {line.split()[3] for line in host.check_output("ss -Hltn").splitlines()}
    outside = {address for address in listening if not address.startswith(("127.", "[::1]"))}
    assert {address.rsplit(":", 1)[1] for address in outside} == {"22"}, listening


def test_a_golden_clip_is_transcribed_with_the_right_words(host, instance):
    folder, clips = golden(host)
    heard = transcribe(host, instance, f"{folder}/{clips[0]['file']}")
    print(f"\nsaid:  {clips[0]['text']}\nheard: {heard}")
    assert words(heard) == words(clips[0]["text"])


def test_nothing_was_left_of_the_installation(host):
    assert host.run("ls -d /home/deploy/.ansible/tmp/* /root/.ansible/tmp/*").stdout == ""
    assert host.check_output(f"find {RELEASES} -name '.new-*'") == ""


def test_a_killed_engine_comes_back(host, unit, instance):
    before = host.check_output(f"systemctl show {unit} --property=MainPID --value")
    engine = host.check_output("pgrep -f EngineCore | head -n 1")
    host.check_output(f"kill -9 {engine}")
    began = time.monotonic()
    while time.monotonic() - began < 400:
        after = host.check_output(f"systemctl show {unit} --property=MainPID --value")
        if after not in {before, "0"} and healthy(host, instance):
            break
        time.sleep(2)
    else:
        pytest.fail(host.run(f"systemctl status {unit}; journalctl -u {unit} -n 80 --no-pager").stdout)
    print(f"\nback {time.monotonic() - began:.0f} s after kill -9 of the engine process")
    folder, clips = golden(host)
    assert words(transcribe(host, instance, f"{folder}/{clips[1]['file']}")) == words(clips[1]["text"])
