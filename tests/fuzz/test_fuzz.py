"""A few cases of every target of ``make fuzz``, always the same ones."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

sys.path.insert(0, str(Path(__file__).parent))
from fuzz_targets import TARGETS, run


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGALRM, to see that nothing hangs")
@pytest.mark.parametrize("name", TARGETS)
def test_bad_input_is_refused_and_nothing_else_happens(name):
    chosen = TARGETS[name]
    good = []

    @settings(
        max_examples=chosen.cases,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(chosen.strategy)
    def check(case):
        good.append(run(chosen, case))

    check()
    assert len(good) >= chosen.cases // 2
