"""Whole plans as text, one line a decision: a change of the planning shows as a change of these files.

After a wanted change: ``VOXTRAL_WRITE_GOLDEN=1 pytest tests/unit/planning/test_golden.py``, and review the diff.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.planning.hosts import broken, host, release
from voxtral_ops.errors import VoxtralError
from voxtral_ops.hardware.profile import Profile
from voxtral_ops.planning import PlanOverrides, make_plan
from voxtral_ops.planning.show import render

GOLDEN = Path(__file__).parent / "golden"
HOSTS: dict[str, Profile] = {
    "cpu-24gb": host(memory=24_000_000_000),
    "cpu-1gb": host(memory=1_000_000_000),
    "broken-gpu": host(accelerators=broken()),
    "old-driver": host("4090", driver="535.183.01"),
    "v100": host("v100"),
    "t4": host("t4"),
    "3060": host("3060"),
    "4080": host("4080"),
    "4090": host("4090"),
    "2x4090": host("4090", "4090"),
    "a40": host("a40"),
    "h100": host("h100"),
    "b200": host("b200"),
    "t4-and-4090": host("t4", "4090"),
}
WISHES = ("best", "mini-3b", "small-24b", "realtime-4b")


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("name", HOSTS)
def test_plan(name: str, wish: str) -> None:
    overrides = PlanOverrides(model=None if wish == "best" else wish)
    try:
        text = render(make_plan(HOSTS[name], release(), overrides=overrides, release_id="golden"))
    except VoxtralError as error:
        text = f"{type(error).__name__}: {error.message}\nhint: {error.hint}"
    path = GOLDEN / f"{name}--{wish}.txt"
    if os.environ.get("VOXTRAL_WRITE_GOLDEN"):
        path.write_text(text + "\n", encoding="utf-8")
    assert text + "\n" == path.read_text(encoding="utf-8")
