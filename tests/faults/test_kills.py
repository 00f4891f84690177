"""kill -9 at random moments of a download: hardly a byte moves twice, nothing is left over, the hash is right."""

from __future__ import annotations

import os

import pytest

from tests.faults.kills import CHUNK, OURS, compare

FULL = os.environ.get("VOXTRAL_TEST_FULL") == "1"
pytestmark = pytest.mark.timeout(3600 if FULL else 600)


def test_a_fetch_goes_on_from_where_it_was_killed() -> None:
    kills, megabytes = (200, 300) if FULL else (12, 24)
    (ours,) = compare(kills, megabytes, (OURS,))
    assert ours.right
    assert ours.sent <= 1.01 * ours.size + kills * CHUNK
    assert ours.orphans == 0
