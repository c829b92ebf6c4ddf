"""`pytest --errors`: how far values are from what tests compare them with.

    python -m pytest --errors -k "golden or published or paper" tests

Each line is a test file: the largest |actual - expected| over the largest |expected| of
one `np.testing.assert_allclose`, by which `assert_close` compares, over all tests that
were run.
"""

from __future__ import annotations

import collections
import os

import numpy as np
import pytest


class ErrorReport:
    """Watches `np.testing.assert_allclose`."""

    def __init__(self):
        self.worst = collections.defaultdict(float)
        self.compared = collections.Counter()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item):
        check = np.testing.assert_allclose

        def watched(actual, desired, *args, **kwargs):
            __tracebackhide__ = True
            check(actual, desired, *args, **kwargs)
            self._record(item.path.name, np.asarray(actual), np.asarray(desired))

        np.testing.assert_allclose = watched
        yield
        np.testing.assert_allclose = check

    def _record(self, name: str, actual: np.ndarray, desired: np.ndarray) -> None:
        if desired.size == 0 or not np.any(desired):
            return
        error = np.abs(actual - desired).max() / np.abs(desired).max()
        self.worst[name] = max(self.worst[name], float(error))
        self.compared[name] += 1

    def pytest_terminal_summary(self, terminalreporter):
        terminalreporter.section("largest errors")
        for name in sorted(self.worst):
            label = os.path.splitext(name)[0].removeprefix("test_")
            terminalreporter.write_line(
                f"{label:28}{self.compared[name]:5} comparisons{self.worst[name]:10.1e}"
            )
