"""The list of what an engine understands is what that engine itself says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def test_the_shipped_list_is_the_engines_own(engine: Path) -> None:
    told = subprocess.run(
        [str(engine / "bin/python"), str(ROOT / "tools/engine_options.py")], capture_output=True, text=True, check=True
    ).stdout
    version = told.split("vLLM ")[1].split(" ")[0]
    assert told == (ROOT / f"voxtral_ops/data/options/{version}.txt").read_text(encoding="utf-8")
