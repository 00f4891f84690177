"""The commands `hardware` and `plan`, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.planning.hosts import broken, host, release
from voxtral_ops.cli import hardware
from voxtral_ops.cli.main import main
from voxtral_ops.hardware.profile import Profile


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    path = tmp_path / "release.json"
    path.write_text(release().model_dump_json())
    return str(path)


def saved(profile: Profile, tmp_path: Path) -> str:
    path = tmp_path / "host.json"
    path.write_text(profile.model_dump_json())
    return str(path)


def test_plan_for_another_machine(tmp_path: Path, manifest: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--hardware", saved(host("h100"), tmp_path), "--release", manifest]) == 0
    out = capsys.readouterr().out
    assert "small-24b" in out
    assert "memory of small-24b" in out


def test_plan_with_options_fixed(tmp_path: Path, manifest: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "--hardware", saved(host("4090"), tmp_path), "--release", manifest, "--json"]
    assert main([*words, "--set", "max-model-len=8192", "--set", "enable-log-requests=true", "--port", "9000"]) == 0
    arguments = json.loads(capsys.readouterr().out)["instances"][0]["arguments"]
    assert arguments["max-model-len"] == 8192
    assert arguments["enable-log-requests"] is True
    assert arguments["port"] == 9000


def test_plan_for_gpus_that_are_not_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--gpu", "h100-80g", "--count", "2", "--model", "mini-3b", "--model", "realtime-4b"]) == 0
    out = capsys.readouterr().out
    assert "realtime-4b" in out
    assert "not pinned yet" in out
    assert "live sessions at once" in out


def test_goals_are_different(capsys: pytest.CaptureFixture[str]) -> None:
    seen = set()
    for goal in ("latency", "throughput", "balanced", "longest-audio"):
        assert main(["plan", "--gpu", "l4", "--goal", goal, "--json"]) == 0
        plan = json.loads(capsys.readouterr().out)
        assert plan["goal"] == goal
        arguments = plan["instances"][0]["arguments"]
        seen.add((arguments["max-num-seqs"], arguments["max-num-batched-tokens"], arguments["max-model-len"]))
    assert len(seen) == 4


def test_force_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "--gpu", "l4", "--model", "small-24b"]
    assert main(words) == 2
    refused = capsys.readouterr().err
    assert "short" in refused
    assert "what would fit" in refused
    assert main([*words, "--force"]) == 0
    assert "warning: forced: small-24b needs" in capsys.readouterr().out


def test_explain_speaks_of_this_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "explain", "--gpu", "rtx-4090", "--count", "2", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    text = " ".join(data["text"].split())
    first, second = data["plan"]["instances"]
    assert first["arguments"]["kv-cache-memory-bytes"] in text
    assert f"{first['capacity']['clips']} clips" in text
    assert f"{second['name']} on port {second['port']}" in text
    assert max(map(len, data["text"].splitlines())) <= 100


def test_explain_without_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "explain", "--hardware", saved(host(), tmp_path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "no NVIDIA GPU" in out
    assert "threads (of 8 physical cores" in out


def test_compare_shows_every_model_and_the_number_that_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "compare", "--gpu", "l4"]) == 0
    out = capsys.readouterr().out
    assert "\nsmall-24b needs" in out
    assert main(["plan", "compare", "--gpu", "l4", "--json"]) == 0
    rows = {row["model"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == ["nano", "mini-3b", "small-24b", "realtime-4b"]
    assert [row["fits"] for row in rows.values()] == [True, True, False, True]
    assert rows["small-24b"]["plan"] is None
    assert rows["mini-3b"]["plan"]["instances"][0]["model"] == "mini-3b"


def test_compare_only_what_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "compare", "--gpu", "l4", "--model", "small-24b", "--json"]) == 0
    assert [row["model"] for row in json.loads(capsys.readouterr().out)] == ["small-24b"]
    assert main(["plan", "compare", "--gpu", "l4", "--model", "mimi-3b"]) == 2
    assert "did you mean mini-3b" in capsys.readouterr().err


def test_small_numbers_are_told_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "explain", "--hardware", saved(host(), tmp_path), "--model", "nano"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "million parameters" in words
    assert "0.0 billion" not in words
    assert "1 threads" not in words


def test_the_budgets_bars_do_not_overlap(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--gpu", "h100-80g", "--model", "mini-3b", "--model", "realtime-4b"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("memory of mini-3b"))
    bars = [line[25:] for line in lines[first + 1 : first + 8]]
    columns = [sum(column < len(bar) and bar[column] != " " for bar in bars) for column in range(40)]
    assert columns == [1] * 40


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--set", "max-model-len"], "no value"),
        (["--port", "70000"], "between 1 and 65535"),
        (["--hardware", "/nowhere.json"], "/nowhere.json: No such file"),
        (["--model", "mini"], "did you mean mini-3b"),
        (["--gpu", "h10080g"], "h100-80g"),
        (["--hardware", "/etc/passwd"], "/etc/passwd is not a profile: Invalid JSON"),
        (["--gpu", "l4", "--hardware", "host.json"], "two different machines"),
        (["--gpu", "l4", "--check"], "--gpu makes one up"),
        (["compare", "--check"], "not with compare"),
        (["compare", "--release", "release.yml"], "leave --release out"),
        (["--count", "2"], "--gpu h100-80g --count 2"),
    ],
)
def test_what_cannot_be_meant(words: list[str], says: str, manifest: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--release", manifest, *words]) == 2
    assert says in capsys.readouterr().err


def test_plan_check_finds_what_is_in_the_way(tmp_path: Path, manifest: str, capsys: pytest.CaptureFixture[str]) -> None:
    profile = host(shm_total=64 << 20)
    assert main(["plan", "--check", "--hardware", saved(profile, tmp_path), "--release", manifest]) == 1
    assert "cure for shm: mount -o remount,size=1g /dev/shm" in capsys.readouterr().out


def test_hardware_shows_and_its_json_is_a_profile(capsys: pytest.CaptureFixture[str]) -> None:
    main(["hardware", "--json"])
    assert Profile.model_validate_json(capsys.readouterr().out).cpu.logical >= 1


def test_a_broken_gpu_is_shown_with_its_cure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hardware, "look", lambda _: host(accelerators=broken("it smokes", "buy another")))
    assert main(["hardware"]) == 1
    out = capsys.readouterr().out
    assert "it smokes" in out
    assert "cure: buy another" in out


def test_gpus_are_described() -> None:
    text = hardware.describe(host("4090", "t4"))
    assert "NVIDIA GeForce RTX 4090" in text
    assert "compute capability 7.5" in text
    assert "580.95.05" in text
