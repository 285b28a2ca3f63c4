"""A pytest plugin for `tests/run`: counts outcomes over stages, and under CI=true a skip fails.

A test marked `gpu` may skip: no CI machine has one.
"""

import os
from collections import Counter

import pytest

STRICT = os.environ.get("CI") == "true"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if STRICT and report.skipped and not hasattr(report, "wasxfail"):
        return report if item.get_closest_marker("gpu") else _fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    return _fail(report) if STRICT and report.skipped else report


def _fail(report):
    why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"CI allows no skips: {why}"
    return report


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter, config):
    """Add this stage's counts to the file that `tests/run` sums up, once: not in the workers."""
    path = os.environ.get("DAPA_TEST_COUNTS")
    if path and not hasattr(config, "workerinput"):
        counts = Counter({key: len(reports) for key, reports in terminalreporter.stats.items()})
        with open(path, "a", encoding="utf-8") as file:
            failed = counts["failed"] + counts["error"]
            print(counts["passed"] + counts["xfailed"], failed, counts["skipped"], file=file)
