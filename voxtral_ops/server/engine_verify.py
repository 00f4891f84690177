"""Prove an installed engine before anything depends on it: its libraries import, each audio format decodes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from voxtral_ops.errors import HostError

PROBE = Path(__file__).with_name("engine_probe.py")


class EngineReport(BaseModel):
    """What an engine's environment holds. ``decoded``: clip → seconds; the other two: name → what went wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str
    python: str
    versions: dict[str, str]
    broken: dict[str, str]
    decoded: dict[str, float]
    undecoded: dict[str, str]

    @property
    def ok(self) -> bool:
        """Everything imports, every clip decodes to some sound, and vLLM itself is there."""
        audible = all(seconds > 0 for seconds in self.decoded.values())
        return not self.broken and not self.undecoded and audible and "vllm" in self.versions

    @property
    def problems(self) -> tuple[str, ...]:
        """One sentence each; empty when ok."""
        found = [f"{name} does not import: {why}" for name, why in self.broken.items()]
        found += [f"{name} does not decode: {why}" for name, why in self.undecoded.items()]
        found += [f"{name} decodes to silence of no length" for name, seconds in self.decoded.items() if seconds <= 0]
        if "vllm" not in self.versions:
            found.append("vllm is not installed")
        return tuple(found)


def verify_engine(venv: Path, clips: Sequence[Path], timeout: float = 300) -> EngineReport:
    """Run the probe in the environment ``venv``. Raises HostError when it cannot even answer."""
    python = venv / "bin" / "python"
    if not python.exists():
        raise HostError(f"there is no engine in {venv}", hint="install one: voxtral-ops up", path=str(venv))
    try:
        result = subprocess.run(
            [str(python), "-I", str(PROBE), *map(str, clips)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return EngineReport(engine=venv.resolve().name, **json.loads(result.stdout))
    except subprocess.TimeoutExpired as error:
        raise HostError(
            f"the engine in {venv} did not answer in {timeout:.0f} s", hint="is the disk hanging?"
        ) from error
    except (json.JSONDecodeError, ValidationError, TypeError) as error:
        last = (result.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise HostError(
            f"the engine in {venv} is broken: {last}",
            hint=f"remove {venv} and run voxtral-ops up again",
            path=str(venv),
        ) from error
