"""Predicted memory against measured: ``python bench/memory.py --engine DIR``.

Anywhere: parameters and weight bytes through transformers' own classes on the meta device, the cache through vLLM's
own descriptions of it, the audio encoder's peak by running vLLM's own encoder and counting its tensors, and nano served
for real. On an NVIDIA GPU also with random weights in its memory; without one it says so.
Writes bench/results/memory.md, .json and .svg; ends with 1 where a prediction is more than 5 % off.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.serving import TEMPLATES, nano_plan, serving
from voxtral_ops.catalog import CatalogModel, catalog
from voxtral_ops.hardware.profile import Accelerators, Cpu, Gpu, Profile, System
from voxtral_ops.planning import PlanOverrides, make_plan
from voxtral_ops.planning.memory import Shape, encoder, request_bytes
from voxtral_ops.planning.plan import Instance
from voxtral_ops.server.gate import run_gate
from voxtral_ops.server.judgement import Bench, Case

RESULTS = Path(__file__).resolve().parent / "results"
TOLERANCE = 0.05
MIB = 1 << 20
H200 = Gpu(
    index=0, uuid="GPU-0", name="NVIDIA H200", memory_total=143_771 * MIB, memory_used=0, compute_capability=(9, 0)
)


@dataclass(frozen=True)
class Row:
    """One figure: what was predicted, what was measured, and how. Bytes, but for parameters."""

    model: str
    what: str
    predicted: int
    measured: int
    how: str

    @property
    def off(self) -> float:
        """How far the prediction is from the measurement."""
        return self.predicted / self.measured - 1


def machine(gpus: tuple[Gpu, ...]) -> Profile:
    """A host for the cases: what is measured depends on the model, not on it."""
    return Profile(
        hostname="bench",
        system=System(id="debian", version="12", name="Debian 12", kernel="6.1", glibc="2.36", init="systemd"),
        cpu=Cpu(model="any", architecture="x86_64", logical=8, physical=8, isa=("avx2",)),
        memory_total=128 << 30,
        memory_available=128 << 30,
        shm_total=8 << 30,
        disk_free={},
        libraries={},
        interpreters=(),
        user="root",
        privileged=True,
        compiler=None,
        accelerators=Accelerators(state="present", driver="580.95.05", gpus=gpus)
        if gpus
        else Accelerators(state="none"),
    )


def planned(model: CatalogModel) -> tuple[Instance, Profile]:
    """The model on a card that holds every one of them; nano on the processor, where it always runs."""
    profile = machine(() if model.demonstration else (H200,))
    plan = make_plan(profile, None, overrides=PlanOverrides(models=(model.name,)))
    return plan.instances[0], profile


def question(model: CatalogModel, bench: Bench) -> dict[str, Any]:
    """What the measuring half is told of a model."""
    instance, profile = planned(model)
    devices = [
        {"name": gpu.name, "memory": gpu.memory_total, "capability": list(gpu.compute_capability)}
        for gpu in profile.accelerators.gpus
    ]
    case = bench.instance(instance, [], model.name).model_dump(mode="json") | {"gpus": devices}
    live = model.encoder.sliding_window is not None
    text: dict[str, Any] = {
        "vocab_size": model.vocabulary,
        "hidden_size": model.dim,
        "intermediate_size": model.hidden_dim,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "tie_word_embeddings": model.tied_embeddings,
        "max_position_embeddings": model.context,
    }
    part = model.encoder
    audio: dict[str, Any] = {
        "hidden_size": part.dim,
        "intermediate_size": part.hidden_dim,
        "num_hidden_layers": part.layers,
        "num_attention_heads": part.heads,
    }
    if live:
        text["sliding_window"] = model.sliding_window
        audio |= {"head_dim": part.head_dim, "sliding_window": part.sliding_window}
    else:
        audio["max_source_positions"] = part.positions
    return {
        "name": model.name,
        "live": live,
        "text": text,
        "audio": audio,
        "case": case,
        "plain_case": _on_a_processor(case),
        "chunk_tokens": int((model.chunk_seconds or 0) * model.tokens_per_second),
    }


def _on_a_processor(case: dict[str, Any]) -> dict[str, Any]:
    """The same command line where vLLM's encoder can run here: without GPUs."""
    return Case.model_validate(case | {"gpus": []}).model_dump(mode="json")


def ask(engine: Path, questions: list[dict[str, Any]]) -> dict[str, Any]:
    """Let the engine's own Python measure."""
    script = Path(__file__).with_name("memory_engine.py")
    command = [str(engine / "bin" / "python"), "-I", str(script)]
    result = subprocess.run(command, input=json.dumps(questions), capture_output=True, text=True, check=False)
    if not result.stdout:
        raise RuntimeError(result.stderr[-3000:])
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def rows(model: CatalogModel, found: dict[str, int]) -> list[Row]:
    """Predictions beside what was measured of one model."""
    instance, _ = planned(model)
    shape = _shape(instance)
    meta, specs = "transformers, meta device", "vLLM's cache specification"
    made = [
        Row(model.name, "parameters", model.parameters, found["parameters"], meta),
        Row(model.name, "weights, 16-bit", model.weight_bytes, found["weight_bytes"], meta),
    ]
    if model.fp8_bytes:
        made.append(Row(model.name, "weights, fp8", model.fp8_bytes, found["fp8_bytes"], meta))
    made.append(Row(model.name, "cache, one token", model.kv_bytes_per_token, found["kv_language"], specs))
    if not model.demonstration:
        made.append(Row(model.name, "cache, one full request", request_bytes(model, shape), found["kv_request"], specs))
    if "encoder_token" in found:
        predicted = _encoder_token(model, shape)
        made.append(Row(model.name, "encoder's peak, one token", predicted, found["encoder_token"], "vLLM's encoder"))
    if "gpu_weights" in found:
        made.append(Row(model.name, "weights, on the GPU", model.weight_bytes, found["gpu_weights"], "torch, random"))
        made.append(Row(model.name, "weights, by NVML", model.weight_bytes, found["gpu_nvml"], "NVML"))
        kv = Row(model.name, "cache, on the GPU", model.kv_bytes_per_token, found["gpu_kv_language"], "transformers")
        made.append(kv)
    if "gpu_encoder_token" in found:
        predicted = _encoder_token(model, shape)
        made.append(
            Row(model.name, "encoder's peak, on the GPU", predicted, found["gpu_encoder_token"], "torch's peak")
        )
    return made


def _shape(instance: Instance) -> Shape:
    values = {
        name: instance.arguments.get(name) for name in ("max-model-len", "max-num-batched-tokens", "max-num-seqs")
    }
    context, batch, seqs = (int(str(value)) for value in values.values())
    return Shape("16-bit", 1, context, batch, seqs)


def _encoder_token(model: CatalogModel, shape: Shape) -> int:
    """The planner's peak for one token more, without the results that it counts beside."""
    chunk = int((model.chunk_seconds or 1) * model.tokens_per_second)
    return (encoder(model, 2 * chunk, chunk, 1) - encoder(model, chunk, chunk, 1)) // chunk - 2 * model.dim


def nano_for_real(engine: Path) -> list[Row]:
    """Serve nano as this machine's plan says, let it transcribe, and look at its processes."""
    instance = nano_plan()
    with tempfile.TemporaryDirectory() as folder, serving(engine, instance, Path(folder) / "nano") as server:
        gate = run_gate(server.url, server.model)
        if not gate.ok:
            raise RuntimeError("nano does not hear its clips")
        memory = server.memory()
        said = server.log.read_text(encoding="utf-8", errors="replace")
    size = int(re.search(r"cache size: ([\d,]+) tokens", said)[1].replace(",", ""))  # type: ignore[index]
    kv = instance.memory.kv_cache
    return [
        Row("nano", "cache, one token", catalog()["nano"].kv_bytes_per_token, kv // size, "served, vLLM's log"),
        Row("nano", "everything", instance.memory.total, memory["pss"], "served, PSS of all processes"),
    ]


def table(found: list[Row], gpu: str | None) -> str:
    """The result in Markdown."""
    head = f"Measured on {gpu}." if gpu else "No NVIDIA GPU here: nothing below was measured in a GPU's memory."
    lines = [head, "", "| model | what | predicted | measured | off | how |", "| --- | --- | --: | --: | --: | --- |"]
    for row in found:
        lines.append(
            f"| {row.model} | {row.what} | {row.predicted:,} | {row.measured:,} | {row.off:+.1%} | {row.how} |"
        )
    return "\n".join(lines) + "\n"


def plot(found: list[Row], path: Path) -> None:
    """How far each prediction is from its measurement, with the tolerance as a band."""
    import matplotlib  # noqa: PLC0415

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(figsize=(8, 0.32 * len(found) + 1))
    axes.barh([f"{row.model}: {row.what}" for row in found], [100 * row.off for row in found], color="#4c72b0")
    axes.axvspan(-100 * TOLERANCE, 100 * TOLERANCE, color="#55a868", alpha=0.2)
    axes.invert_yaxis()
    axes.set_xlabel("predicted above measured, per cent (green: the tolerance)")
    figure.tight_layout()
    figure.savefig(path)


def main() -> int:
    """Measure, print the table, write it beside JSON and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=Path, required=True, help="an installed engine's directory")
    parser.add_argument("--without-server", action="store_true", help="do not serve nano (which takes a minute)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(TEMPLATES, Path(folder))
        answer = ask(args.engine, [question(model, bench) for model in catalog().values()])
    found = [row for model in catalog().values() for row in rows(model, answer["figures"][model.name])]
    if not args.without_server:
        found += nano_for_real(args.engine)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "memory.md").write_text(table(found, answer["gpu"]), encoding="utf-8")
    data = {"gpu": answer["gpu"], "rows": [asdict(row) for row in found]}
    (RESULTS / "memory.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    plot(found, RESULTS / "memory.svg")
    print(table(found, answer["gpu"]))
    return 0 if all(abs(row.off) <= TOLERANCE for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
