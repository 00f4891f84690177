"""What operators may fix: checked before anything else, refused the same everywhere, and what force does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.planning.hosts import host, profile_named, release
from voxtral_ops.cli.main import main
from voxtral_ops.errors import ConfigurationError, HostError, ModelError, VoxtralError
from voxtral_ops.hardware.profile import Profile
from voxtral_ops.planning import PlanOverrides, make_plan
from voxtral_ops.planning.compare import compare

REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    # the arithmetic's
    ("l4", {"max-model-len": 65536}, "mini-3b", "context of 32768 tokens, not 65536"),
    ("l4", {"max-model-len": 32768, "max-num-seqs": 4000, "max-num-batched-tokens": 4096}, "mini-3b", "short"),
    ("l4", {"max-num-seqs": 8192}, "mini-3b", "more than max-num-batched-tokens 4096"),
    ("l4", {"kv-cache-memory-bytes": "512M"}, "mini-3b", "does not hold one request of 8192 tokens"),
    ("l4", {"kv-cache-memory-bytes": "30G"}, "mini-3b", "short"),
    ("l4", {"gpu-memory-utilization": 0.99}, "mini-3b", "free when vLLM looks"),
    ("l4", {"gpu-memory-utilization": 0.3}, "mini-3b", "short"),
    ("l4", {"tensor-parallel-size": 2}, "mini-3b", "needs as many equal GPUs"),
    ("l4", {"tensor-parallel-size": 3}, "mini-3b", "does not divide"),
    ("b200-x8", {"tensor-parallel-size": 8}, "mini-3b", "20 encoder heads"),
    ("h100-80g-mig", {"tensor-parallel-size": 2}, "mini-3b", "slices of a GPU cannot work together"),
    ("t4", {"dtype": "bfloat16"}, "mini-3b", "has no bfloat16"),
    ("l4", {"dtype": "float32"}, "mini-3b", "the weights are 16-bit"),
    ("l4", {"max-model-len": 500}, "mini-3b", "holds no recording: one of 30 seconds takes 511 tokens"),
    ("l4", {"pipeline-parallel-size": 2}, "mini-3b", "of its tensor-parallel-size, and no more"),
    ("l40s-x2", {"data-parallel-size": 2}, "mini-3b", "of its tensor-parallel-size, and no more"),
    ("l4", {"quantization": "awq"}, "mini-3b", "makes fp8 of them and nothing else"),
    ("t4", {"max-num-batched-tokens": 8192}, "realtime-4b", "short"),
    ("none", {"tensor-parallel-size": 2}, "mini-3b", "is for GPUs"),
    ("none", {"max-model-len": 8192}, "nano", "context of 4096 tokens"),
    # what vLLM does not know
    ("l4", {"max-modellen": 8192}, "mini-3b", "has no option max-modellen"),
    ("driver-550", {"max-num-queued-reqs": 8}, "mini-3b", "vLLM 0.19.1 has no option"),
]
NEVER: list[tuple[dict[str, Any], str]] = [
    ({"arguments": {"enable-prefix-caching": False}}, "no-enable-prefix-caching"),
    ({"arguments": {"--max-model-len": 1}}, "without its dashes"),
    ({"arguments": {"api-key": "x"}}, "credentials"),
    ({"arguments": {"host": "0.0.0.0"}}, "edge"),
    ({"arguments": {"mini-3b:host": "0.0.0.0"}}, "edge"),
    ({"arguments": {"max-model-len": "many"}}, "whole number"),
    ({"arguments": {"gpu-memory-utilization": 1.5}}, "at most 1"),
    ({"arguments": {"mimi-3b:max-model-len": 8192}}, "did you mean mini-3b"),
    ({"environment": {"VLLM_API_KEY": "x"}}, "credentials"),
    ({"environment": {"VLLM_CACHE_ROOT": "/a b"}}, "spaces"),
    ({"environment": {"lower": "x"}}, "VLLM_CACHE_ROOT"),
]


def refusal(profile: Profile, overrides: PlanOverrides) -> VoxtralError:
    with pytest.raises(VoxtralError) as caught:
        make_plan(profile, release(), overrides=overrides)
    return caught.value


@pytest.mark.parametrize(("named", "arguments", "model", "words"), REFUSED)
def test_a_refusal_is_the_same_everywhere(
    named: str, arguments: dict[str, Any], model: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile, wish = profile_named(named), PlanOverrides(models=(model,), arguments=arguments)
    error = refusal(profile, wish)
    assert words in error.message
    assert error.hint
    path = tmp_path / "host.json"
    path.write_text(profile.model_dump_json())
    said = [word for name, value in arguments.items() for word in ("--set", f"{name}={value}")]
    assert main(["plan", "--hardware", str(path), "--model", model, *said]) == 2
    assert error.message in capsys.readouterr().err
    alone = next(row for row in compare(profile, wish) if row.model == model)
    assert (alone.fits, alone.problem, alone.hint) == (False, error.message, error.hint)


@pytest.mark.parametrize(("named", "arguments", "model", "words"), REFUSED)
def test_force_takes_it_with_a_warning(named: str, arguments: dict[str, Any], model: str, words: str) -> None:
    wish = PlanOverrides(models=(model,), arguments=arguments, force=True)
    plan = make_plan(profile_named(named), release(), overrides=wish)
    assert [warning for warning in plan.warnings if warning.startswith("forced: ") and words in warning]
    for name, value in arguments.items():
        assert plan.instances[0].arguments[name] == value
        assert plan.instances[0].reasons[name] == "set by the operator"


@pytest.mark.parametrize(("overrides", "words"), NEVER)
@pytest.mark.parametrize("force", [False, True])
def test_what_no_force_takes(overrides: dict[str, Any], words: str, force: bool) -> None:
    error = refusal(host("h100"), PlanOverrides.model_validate({**overrides, "force": force}))
    assert isinstance(error, ConfigurationError)
    assert words in error.message + error.hint


def test_a_setting_that_is_no_word_is_refused_and_no_crash() -> None:
    assert "quantization {'a': 1}" in str(refusal(host("4090"), PlanOverrides(arguments={"quantization": {"a": 1}})))


def test_the_reason_of_a_model_names_the_context_that_it_gets() -> None:
    plan = make_plan(host("4090"), None, overrides=PlanOverrides(arguments={"max-model-len": 16384}))
    assert "16-bit weights and 16384 tokens" in plan.reasons["model"]


def test_ports_end() -> None:
    wish = PlanOverrides(models=("mini-3b",), port=65535)
    error = refusal(host("4090", "4090"), wish)
    assert "mini-3b-2 would listen on port 65536" in error.message
    assert "65534 or before" in error.hint


def test_a_host_of_too_little_memory_of_its_own_is_told_so() -> None:
    wish = PlanOverrides(models=("mini-3b", "realtime-4b"))
    error = refusal(host("h100", memory=9_000_000_000), wish)
    assert "would be server 2 of this host, whose memory of 9 GB" in error.message
    assert "12 GB or more" in error.hint
    warned = make_plan(host("h100", memory=9_000_000_000), release("mini-3b", "realtime-4b"))
    assert any("realtime-4b would be server 2" in warning for warning in warned.warnings)


def test_a_forced_plan_says_by_how_much_it_is_too_large() -> None:
    plan = make_plan(host("4090"), release(), overrides=PlanOverrides(models=("small-24b",), force=True))
    assert plan.instances[0].memory.spare < 0


def test_a_fixed_context_changes_the_arithmetic() -> None:
    free = make_plan(host("4090"), release("mini-3b")).instances[0]
    wish = PlanOverrides(arguments={"max-model-len": 8192})
    fixed = make_plan(host("4090"), release("mini-3b"), overrides=wish).instances[0]
    assert fixed.memory.encoder < free.memory.encoder
    assert fixed.reasons["max-model-len"] == "set by the operator"
    assert int(fixed.environment["VLLM_MAX_AUDIO_DECODE_DURATION_S"]) < 600


def test_a_context_that_does_not_fit_names_the_one_that_does() -> None:
    wish = PlanOverrides(models=("mini-3b",), arguments={"max-model-len": 32768, "quantization": "fp8"})
    with pytest.raises(HostError) as caught:
        make_plan(host("3060"), release(), overrides=wish)
    assert "max-model-len 8192 (fp8 weights)" in caught.value.hint


def test_an_option_for_one_model_leaves_the_others_alone() -> None:
    wish = PlanOverrides(arguments={"mini-3b:max-model-len": 16384, "enable-log-requests": True})
    mini, live = make_plan(host("h100"), release("mini-3b", "realtime-4b"), overrides=wish).instances
    assert (mini.arguments["max-model-len"], live.arguments["max-model-len"]) == (16384, 45056)
    assert mini.arguments["enable-log-requests"] is live.arguments["enable-log-requests"] is True


def test_an_older_word_for_one_model() -> None:
    assert PlanOverrides.model_validate({"model": "mini-3b"}).models == ("mini-3b",)


def test_a_context_larger_than_the_models_is_the_models_fault() -> None:
    assert isinstance(refusal(host(), PlanOverrides(models=("nano",), arguments={"max-model-len": 8192})), ModelError)


def test_a_flag_that_is_switched_off_takes_its_place() -> None:
    wish = PlanOverrides(models=("nano",), arguments={"no-enforce-eager": True})
    arguments = make_plan(host(), release(), overrides=wish).instances[0].arguments
    assert "enforce-eager" not in arguments
    assert arguments["no-enforce-eager"] is True


def test_a_misspelt_variable_is_told_the_nearest() -> None:
    error = refusal(host(), PlanOverrides(environment={"VLLM_CPU_OMP_THREADS_BING": "nobind"}))
    assert error.hint == "did you mean VLLM_CPU_OMP_THREADS_BIND?"


def test_a_misspelt_option_is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--gpu", "l4", "--set", "max-num-seq=8", "--json"]) == 2
    assert "did you mean max-num-seqs?" in json.dumps(capsys.readouterr()._asdict())
