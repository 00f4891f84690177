"""For every test: under continuous integration nothing may be skipped silently, and no rule is judged by the clock."""

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

# A busy machine is slow, and that is no fault of the code.
settings.register_profile("voxtral", deadline=None)
settings.load_profile("voxtral")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where CI=true: a hole in the tests must be seen."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and continuous integration must run everything: {report.longrepr}"
    return report
