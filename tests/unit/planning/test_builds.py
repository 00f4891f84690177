"""Which engine build a host gets: over every host of tests/data/hosts, and rules that hold for any host.

After a wanted change: ``VOXTRAL_WRITE_GOLDEN=1 pytest tests/unit/planning/test_builds.py``, and review the diff.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.planning.hosts import broken, host
from voxtral_ops.catalog import catalog
from voxtral_ops.errors import ConfigurationError, HostError
from voxtral_ops.hardware.profile import Profile
from voxtral_ops.planning.builds import choose_build, demand, lock_name, obstacles, requirements
from voxtral_ops.planning.options import known_options, known_variables

ROOT = Path(__file__).resolve().parents[3]
FILES = ROOT / "roles/voxtral_engine/files"
GOLDEN = Path(__file__).parent / "builds.txt"
ENGINE = "0.32.0"
RANK = list(reversed(requirements()))
"""Builds, the older first."""


def other(profile: Profile, *, architecture: str | None = None, glibc: str | None = "2.36") -> Profile:
    cpu = profile.cpu.model_copy(update={"architecture": architecture or profile.cpu.architecture})
    system = profile.system.model_copy(update={"glibc": glibc})
    return profile.model_copy(update={"cpu": cpu, "system": system})


def told(profile: Profile) -> str:
    accelerator = profile.accelerators.state == "present"
    try:
        build = choose_build(profile, ENGINE, accelerator=accelerator)
    except HostError as error:
        return f"refused  {error.message} | {error.hint}"
    return f"{build.build:<7}  {build.version:<7} {build.lock:<19} {build.reason}"


def test_every_known_host() -> None:
    profiles = {
        path.stem: Profile.model_validate_json(path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "tests/data/hosts").glob("*.json"))
    }
    # What a broken GPU says is the hardware's business.
    whole = {name: profile for name, profile in profiles.items() if profile.accelerators.state != "broken"}
    assert len(whole) >= 20
    text = "".join(f"{name:<20} {told(profile)}\n" for name, profile in whole.items())
    if os.environ.get("VOXTRAL_WRITE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("profile", "accelerator", "message", "cure"),
    [
        (host("4090", driver="470.256.02"), True, "470.256.02 is too old", "525 or newer gives vLLM 0.19.1"),
        (host("4090", driver=""), True, "(unknown) is too old", "580 or newer gives vLLM 0.32.0"),
        (host("v100"), True, "has compute capability 7.0", "Turing"),
        (host("v100", driver="470.1"), True, "has compute capability 7.0", "no driver mends this"),
        (other(host("h100"), architecture="ppc64le"), True, "ppc64le", "x86_64, aarch64"),
        (other(host("h100", driver="570.1"), architecture="aarch64"), True, "570.1 is too old", "580 or newer gives"),
        (other(host(), architecture="aarch64"), False, "aarch64", "on aarch64 an NVIDIA GPU is needed"),
        (other(host("h100"), glibc="2.28"), True, "glibc 2.28", "Enterprise Linux 9"),
        (other(host("h100"), architecture="aarch64", glibc="2.31"), True, "needs 2.34", "Ubuntu 22.04"),
        (other(host(), glibc=None), False, "no glibc", "Debian 12"),
        (host(), True, "no NVIDIA GPU", "nano"),
        (host(accelerators=broken()), True, "library and kernel disagree", "reboot"),
    ],
)
def test_refusals_name_what_fails_and_the_cure(profile: Profile, accelerator: bool, message: str, cure: str) -> None:
    with pytest.raises(HostError) as caught:
        choose_build(profile, ENGINE, accelerator=accelerator)
    assert message in caught.value.message
    assert cure in caught.value.hint


def test_an_old_driver_is_not_told_of_a_build_that_its_processor_cannot_have() -> None:
    profile = other(host("h100", driver="535.1"), architecture="aarch64")
    with pytest.raises(HostError) as caught:
        choose_build(profile, ENGINE, accelerator=True)
    assert "0.19.1" not in caught.value.hint


@pytest.mark.parametrize("accelerator", [True, False])
def test_an_engine_that_nobody_locked(accelerator: bool) -> None:
    with pytest.raises(ConfigurationError) as caught:
        choose_build(host("h100"), "0.1.0", accelerator=accelerator)
    assert ENGINE in caught.value.hint


def test_the_older_engine_can_be_asked_for() -> None:
    assert choose_build(host("h100"), "0.19.1", accelerator=True).build == "cuda12"


def test_a_lock_for_another_processor_is_refused() -> None:
    assert lock_name("cuda13", "aarch64") == "cuda13-aarch64.txt"
    with pytest.raises(HostError, match="aarch64"):
        lock_name("cuda12", "aarch64")


def test_one_good_gpu_is_enough() -> None:
    assert obstacles(host("v100", "4090"), requirements()["cuda13"])["capability"] is None


@given(older=st.integers(300, 700), newer=st.integers(300, 700), card=st.sampled_from(["t4", "4090", "h100", "b200"]))
def test_a_newer_driver_never_gives_an_older_engine(older: int, newer: int, card: str) -> None:
    older, newer = sorted((older, newer))
    try:
        before = choose_build(host(card, driver=f"{older}.10.02"), ENGINE, accelerator=True)
    except HostError:
        return
    after = choose_build(host(card, driver=f"{newer}.10.02"), ENGINE, accelerator=True)
    assert RANK.index(after.build) >= RANK.index(before.build)


@given(
    driver=st.integers(300, 700),
    capability=st.tuples(st.integers(5, 12), st.integers(0, 9)),
    minor=st.integers(17, 45),
    architecture=st.sampled_from(["x86_64", "aarch64", "riscv64"]),
)
def test_what_is_chosen_has_nothing_in_its_way_and_a_refusal_has_a_cure(
    driver: int, capability: tuple[int, int], minor: int, architecture: str
) -> None:
    profile = other(host("h100", driver=f"{driver}.1"), architecture=architecture, glibc=f"2.{minor}")
    gpu = profile.accelerators.gpus[0].model_copy(update={"compute_capability": capability})
    found = profile.accelerators.model_copy(update={"gpus": (gpu,)})
    profile = profile.model_copy(update={"accelerators": found})
    rows = [row for row in requirements().values() if row.driver and ENGINE in row.engines]
    free = [row.build for row in rows if not any(obstacles(profile, row).values())]
    if free:
        assert choose_build(profile, ENGINE, accelerator=True).build == free[0]
    else:
        with pytest.raises(HostError) as caught:
            choose_build(profile, ENGINE, accelerator=True)
        assert caught.value.hint


@pytest.mark.parametrize("name", requirements())
def test_a_builds_data_is_whole(name: str) -> None:
    row = requirements()[name]
    assert set(row.models) <= set(catalog())
    assert known_options(row.version)
    for lock in row.locks.values():
        text = (FILES / lock.file).read_text(encoding="utf-8")
        assert re.search(rf"^vllm(-cpu)?(\[\w+\])?=={re.escape(row.version)} ", text, re.MULTILINE)


def test_every_lock_of_the_role_belongs_to_a_build() -> None:
    locks = {lock.file for row in requirements().values() for lock in row.locks.values()}
    assert locks == {path.name for path in FILES.glob("*.txt")}


def test_what_a_build_wants_for_a_model_is_understood_by_it() -> None:
    wanted = [(row, each) for row in requirements().values() for each in row.demands.values()]
    assert demand("cuda12", "realtime-4b") in [each for _, each in wanted]
    for row, each in wanted:
        assert set(each.arguments) <= known_options(row.version)
        assert set(each.environment) <= known_variables(row.version)
        assert each.reason


def test_the_lists_of_options_tell_the_engines_apart() -> None:
    assert {"max-model-len", "no-enable-prefix-caching"} <= known_options("0.19.1") & known_options("0.32.0")
    assert "VLLM_MAX_AUDIO_DECODE_DURATION_S" in known_variables("0.32.0") - known_variables("0.19.1")
    assert known_options("0.1.0") == known_variables("0.1.0") == frozenset()
