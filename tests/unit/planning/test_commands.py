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


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--set", "max-model-len"], "no value"),
        (["--port", "70000"], "between 1 and 65535"),
        (["--hardware", "/nowhere.json"], "/nowhere.json is not a profile"),
        (["--model", "mini"], "did you mean mini-3b"),
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
