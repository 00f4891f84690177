"""Cases for the judge: a model described, the role's files, the vessel of a verdict. vLLM itself judges elsewhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from tests.unit.planning.hosts import host, release
from voxtral_ops.catalog import catalog, catalog_model
from voxtral_ops.cli.main import main
from voxtral_ops.errors import HostError
from voxtral_ops.paths import Layout
from voxtral_ops.planning import PlanOverrides, make_plan
from voxtral_ops.server.judgement import Bench, Case, describe_model, judge, params
from voxtral_ops.server.rendering import instance_files

TEMPLATES = Path(__file__).resolve().parents[3] / "roles" / "voxtral_server" / "templates"
PLAN = make_plan(host("h100"), release(), overrides=PlanOverrides(model="mini-3b"))
CASE = Case(name="a", argv=("serve", "/m", "--config", "/f.yaml"), environment={})


def engine(folder: Path, script: str) -> Path:
    """An engine as far as anybody can see: a python that answers with ``script``."""
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text(f"#!{sys.executable}\n{script}\n")
    python.chmod(0o755)
    return folder


def answer(*, accepted: bool) -> str:
    verdict = {"name": "a", "accepted": accepted, "platform": "cuda", "stage": "engine", "words": "too long"}
    report = {
        "vllm": "0.32.0",
        "seconds": {"import": 1.0},
        "unjudged": {"cuda": ["memory"]},
        "deprecated": [],
        "verdicts": [verdict | {"resolved": {}}],
    }
    return f"print({json.dumps(report)!r})"


def test_the_description_of_nano_is_that_of_the_shipped_checkpoint() -> None:
    model = catalog_model("nano")
    shipped = json.loads((model.bundled_path / "params.json").read_text(encoding="utf-8"))
    made = params(model)
    # Whisper's own vocabulary: a checkpoint of this family never reads it.
    for one in (shipped, made):
        del one["multimodal"]["whisper_model_args"]["encoder_args"]["vocab_size"]
    assert made == shipped


@pytest.mark.parametrize("name", catalog())
def test_a_described_model_weighs_nothing(name: str, tmp_path: Path) -> None:
    folder = describe_model(catalog_model(name), tmp_path)
    assert {path.name for path in folder.iterdir()} == {"params.json", "tekken.json", "consolidated.safetensors"}
    assert (folder / "consolidated.safetensors").stat().st_size < 200
    assert describe_model(catalog_model(name), tmp_path) == folder


def test_a_case_is_what_a_host_would_start(tmp_path: Path) -> None:
    (case,) = Bench(TEMPLATES, tmp_path).plan(PLAN, host("h100"), "p")
    assert (case.argv[0], case.argv[2]) == ("serve", "--config")
    written = yaml.safe_load(Path(case.argv[3]).read_text(encoding="utf-8"))
    assert written == PLAN.instances[0].arguments
    assert case.environment.items() >= PLAN.instances[0].environment.items()
    assert [gpu.capability for gpu in case.gpus] == [(9, 0)]
    assert case.cache == PLAN.instances[0].memory.kv_cache


def test_without_a_host_only_the_number_of_gpus_is_known(tmp_path: Path) -> None:
    (case,) = Bench(TEMPLATES, tmp_path).plan(PLAN, None, "p")
    assert case.gpus == (None,)


def test_an_engine_that_dies_cannot_judge(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="No module named 'vllm'"):
        judge(engine(tmp_path, "import sys; sys.exit(\"ModuleNotFoundError: No module named 'vllm'\")"), [CASE])


def test_an_engine_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="did not judge"):
        judge(engine(tmp_path, "import time; time.sleep(60)"), [CASE], timeout=0.2)


@pytest.mark.parametrize(("accepted", "status"), [(True, 0), (False, 1)])
def test_the_command_fails_when_something_is_rejected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], accepted: bool, status: int
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(PLAN.model_dump_json(), encoding="utf-8")
    where = str(engine(tmp_path / "engine", answer(accepted=accepted)))
    assert main(["engine", "judge", where, "--plan", str(path)]) == status
    text = capsys.readouterr().out
    assert ("REJECTED a (cuda, engine): too long" in text) is not accepted
    assert "not judged (cuda): memory" in text
    assert main(["engine", "judge", where, "--plan", str(path), "--json"]) == status
    assert json.loads(capsys.readouterr().out)["ok"] is accepted


def test_without_a_plan_it_is_about_what_is_configured_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout("user", *(tmp_path / name for name in ("home", "models", "config", "state", "cache", "run")))
    monkeypatch.setattr("voxtral_ops.cli.engine.default_layout", lambda: layout)
    monkeypatch.setattr("voxtral_ops.hardware.look", lambda places: host("h100"))
    script = f"import sys; open({str(tmp_path / 'asked')!r}, 'w').write(sys.stdin.read()); {answer(accepted=True)}"
    where = str(engine(tmp_path / "engine", script))
    assert main(["engine", "judge", where]) == 2
    assert "nothing is configured" in capsys.readouterr().err

    (instance,) = PLAN.instances
    folder = layout.current / "instances" / instance.name
    for name, text in instance_files(instance, TEMPLATES).items():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    for link in ("engine", "model"):
        (folder / link).mkdir()
    assert main(["engine", "judge", where]) == 0
    (case,) = json.loads((tmp_path / "asked").read_text(encoding="utf-8"))
    assert case["argv"] == ["serve", str(folder / "model"), "--config", str(folder / "server.yaml")]
    assert [gpu["capability"] for gpu in case["gpus"]] == [[9, 0]]


def test_what_is_no_plan_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plan.json"
    path.write_text("{}", encoding="utf-8")
    assert main(["engine", "judge", str(tmp_path), "--plan", str(path)]) == 2
    assert "plan.json is not a plan" in capsys.readouterr().err
