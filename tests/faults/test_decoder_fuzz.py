"""Bad recordings through the decoder: no crash of the caller, no limit passed, one type of error."""

from __future__ import annotations

import os

from tests.faults.fuzz import fuzz
from tests.faults.mutate import mutated

CASES = 100_000 if os.environ.get("VOXTRAL_TEST_FULL") == "1" else 400


def test_every_bad_recording_is_read_or_refused() -> None:
    found = fuzz(range(CASES))
    assert found.violations == []
    assert found.cases == CASES
    assert 0 < found.outcomes["decoded"] < CASES


def test_a_case_can_be_run_again() -> None:
    assert mutated(7) == mutated(7) != mutated(8)
