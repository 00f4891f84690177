"""The fake driver library and the probe beside it, made once for the tests of this folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.fakes.nvml import hosts


@pytest.fixture(scope="session")
def drivers() -> Iterator[hosts.Drivers]:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    with hosts.drivers() as made:
        yield made
