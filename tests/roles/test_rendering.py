"""What the server's role writes, as golden files: a change of a template or the planning shows as a change of these.

After a wanted change: ``VOXTRAL_WRITE_GOLDEN=1 pytest tests/roles``, and review the diff.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from tests.modules.conftest import PLUGINS, load
from tests.unit.planning.hosts import host, release
from voxtral_ops.paths import system_layout
from voxtral_ops.planning import PlanOverrides, make_plan

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = str(ROOT / "roles" / "voxtral_server" / "templates")
LAYOUT = {key: str(value) for key, value in vars(system_layout()).items()}
CASES = {
    "cpu-nano": ((), "nano"),
    "gpu-mini-3b": (("4090",), "mini-3b"),
    "2gpu-small-24b": (("4090", "4090"), "small-24b"),
}
FILTERS = load(PLUGINS / "filter" / "voxtral.py", "voxtral_test_filters")


def plan(case: str):
    cards, model = CASES[case]
    return make_plan(host(*cards), release(model), overrides=PlanOverrides(), release_id="0.32.0-golden-00000000")


def tree(case: str):
    _, model = CASES[case]
    models = [model.model_dump(mode="json") for model in release(model).models]
    return FILTERS.voxtral_release_tree(plan(case).model_dump(mode="json"), models, TEMPLATES, LAYOUT, "/e", "/t")


def compare(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("VOXTRAL_WRITE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
def test_the_unit(case):
    units = FILTERS.voxtral_units(plan(case).model_dump(mode="json"), TEMPLATES, LAYOUT, "voxtral", 600)
    ((name, text),) = units.items()
    assert name == f"voxtral-engine@0.32.0-golden-00000000-{CASES[case][1]}.service"
    compare(f"{case}.service", text)


@pytest.mark.parametrize("case", CASES)
def test_the_options_and_the_environment(case):
    files = tree(case)["files"]
    folder = f"instances/{CASES[case][1]}"
    compare(f"{case}.server.yaml", files[f"{folder}/server.yaml"])
    compare(f"{case}.env", files[f"{folder}/env"])


@pytest.mark.parametrize("case", CASES)
def test_the_options_read_back_are_the_plans_and_none_is_false(case):
    """vLLM silently drops an option whose value is false."""
    text = tree(case)["files"][f"instances/{CASES[case][1]}/server.yaml"]
    options = yaml.safe_load(text)
    assert options == plan(case).instances[0].arguments
    assert all(value is not False for value in options.values())


@pytest.mark.parametrize("case", CASES)
def test_the_environment_read_back_is_the_plans(case):
    from voxtral_ops.server.launch import parse_environment

    text = tree(case)["files"][f"instances/{CASES[case][1]}/env"]
    assert parse_environment(text) == plan(case).instances[0].environment


@pytest.mark.parametrize("case", CASES)
def test_the_unit_starts_what_the_manager_starts(case, tmp_path):
    """One plan, two supervisors, the same command line."""
    from voxtral_ops.server.launch import read_instance

    found = tree(case)
    root = Path(f"{LAYOUT['home']}/releases/0.32.0-golden-00000000")
    for name, text in found["files"].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    folder = tmp_path / "instances" / CASES[case][1]
    for link in ("engine", "model"):
        (folder / link).mkdir()
    argv = " ".join(read_instance(folder, tmp_path).argv).replace(str(tmp_path), str(root))
    (unit,) = FILTERS.voxtral_units(plan(case).model_dump(mode="json"), TEMPLATES, LAYOUT, "voxtral", 600).values()
    assert f"ExecStart={argv}\n" in unit


def test_links_lead_to_engine_model_and_toolkit():
    assert tree("cpu-nano")["links"] == {
        "toolkit": "/t",
        "instances/nano/engine": "/e",
        "instances/nano/model": f"/var/lib/voxtral/models/voxtral-ops/nano/{'a' * 40}",
    }


def test_stopping_takes_longer_than_draining():
    (unit,) = FILTERS.voxtral_units(
        plan("cpu-nano").model_dump(mode="json"), TEMPLATES, LAYOUT, "voxtral", 600
    ).values()
    drain = plan("cpu-nano").instances[0].arguments["shutdown-timeout"]
    stop = next(int(line.partition("=")[2]) for line in unit.splitlines() if line.startswith("TimeoutStopSec="))
    assert stop > drain
