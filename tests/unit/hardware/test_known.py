"""GPUs that are known by name, and the hosts that are made of them."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.nvml import hosts
from voxtral_ops.cli.main import main
from voxtral_ops.errors import ConfigurationError
from voxtral_ops.hardware.known import MOST, KnownGpu, known_gpus, profile_of
from voxtral_ops.hardware.profile import Profile

SLICES = sorted(short for short, each in known_gpus().items() if each.mig)


def detected(name: str) -> Profile:
    return Profile.model_validate_json((hosts.HOSTS / f"{name}.json").read_text())


@pytest.mark.parametrize("name", sorted(known_gpus().keys() & set(hosts.names())))
def test_a_host_made_up_is_the_one_that_is_detected(name: str) -> None:
    (made,), (found,) = profile_of(name).accelerators.gpus, detected(name).accelerators.gpus
    alike = {"memory_used": 0, "memory_bandwidth": made.memory_bandwidth, "processes": ()}
    assert made == found.model_copy(update=alike)
    assert profile_of(name).cpu.architecture == detected(name).cpu.architecture


@pytest.mark.parametrize(("gpu", "count", "name"), [("h100-80g", 8, "h100-80g-x8"), ("l40s", 2, "l40s-x2")])
def test_several_are_joined_as_they_come(gpu: str, count: int, name: str) -> None:
    made, found = profile_of(gpu, count).accelerators, detected(name).accelerators
    assert [each.nvlink for each in made.gpus] == [each.nvlink for each in found.gpus]
    assert [each.uuid for each in made.gpus] == [each.uuid for each in found.gpus]


def test_slices_fill_one_gpu_after_the_other() -> None:
    gpus = profile_of("h100-80g-3g.40gb", 3).accelerators.gpus
    assert gpus[0].parent == gpus[1].parent != gpus[2].parent
    assert len({gpu.uuid for gpu in gpus}) == 3
    first, second = detected("h100-80g-mig").accelerators.gpus
    assert (gpus[0].name, gpus[0].memory_total, gpus[0].mig) == (first.name, first.memory_total, first.mig)
    assert gpus[0].memory_bandwidth == pytest.approx(second.memory_bandwidth, rel=0.03)


@pytest.mark.parametrize("short", SLICES)
def test_slices_fit_on_their_gpu(short: str) -> None:
    piece = known_gpus()[short]
    whole = known_gpus()[short.removesuffix(f"-{piece.mig}")]
    gigabytes = re.fullmatch(r"[1-7]g\.(\d+)gb", piece.mig or "")
    assert gigabytes
    assert 0.85 * int(gigabytes[1]) < piece.memory / 2**30 < 1.02 * int(gigabytes[1])
    assert piece.in_one * piece.memory <= whole.memory
    assert piece.in_one * piece.bandwidth <= whole.bandwidth


@given(st.sampled_from(sorted(known_gpus())), st.integers(1, MOST))
def test_every_profile_is_whole(short: str, count: int) -> None:
    profile, known = profile_of(short, count), known_gpus()[short]
    gpus = profile.accelerators.gpus
    assert Profile.model_validate_json(profile.model_dump_json()) == profile
    assert len({gpu.uuid for gpu in gpus}) == len(gpus) == count
    assert profile.memory_available < profile.memory_total >= 2 * sum(gpu.memory_total for gpu in gpus)
    assert all(gpu.memory_reserved < gpu.memory_total == known.memory for gpu in gpus)
    assert all((gpu.parent is None) == (gpu.mig is None) for gpu in gpus)


@pytest.mark.parametrize("name", ["RTX 4090", "rtx_4090", "NVIDIA GeForce RTX 4090", "rtx-4090"])
def test_a_gpu_may_be_written_as_people_do(name: str) -> None:
    assert profile_of(name).accelerators.gpus[0].name == "NVIDIA GeForce RTX 4090"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("h100", "h100-80g"), ("4090", "rtx-4090"), ("h100-80", "h100-80g"), ("a100-80g-3g.30gb", "a100-80g-3g.40gb")],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ConfigurationError, match=name) as caught:
        profile_of(name)
    assert nearest in caught.value.hint.split("known:")[0]


def test_a_name_like_no_other_is_answered_with_all() -> None:
    with pytest.raises(ConfigurationError) as caught:
        profile_of("quantum")
    assert caught.value.hint.startswith("known: t4")


@pytest.mark.parametrize("count", [0, -1, MOST + 1])
def test_hosts_have_a_size(count: int) -> None:
    with pytest.raises(ConfigurationError, match=str(count)):
        profile_of("t4", count)


def test_the_command_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hardware", "known", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {short: KnownGpu.model_validate(each) for short, each in listed.items()} == known_gpus()
    main(["hardware", "known"])
    assert re.search(r"^h100-80g +79.6 GiB +3350 GB/s +9.0 +NVIDIA H100 80GB HBM3$", capsys.readouterr().out, re.M)
