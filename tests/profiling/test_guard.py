"""A step costs what it cost; `python tests/profiling` writes the numbers anew, where they are meant to change."""

import json

import guard
import pytest
import torch

RECORDED = json.loads(guard.COUNTS.read_text())


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow if case in guard.SLOW else ()) for case in guard.CASES]
)
def test_a_step_costs_what_it_cost(case):
    now, then = guard.count(case), RECORDED["cases"][case]
    assert now.keys() == then.keys()
    assert {k: n["flops"] for k, n in now.items()} == {k: n["flops"] for k, n in then.items()}
    for part, n in now.items():
        assert n["peak_bytes"] == pytest.approx(then[part]["peak_bytes"], rel=0.01), part
    if RECORDED["torch"] == torch.__version__.split("+")[0]:  # another torch may take other kernels apart
        assert {k: n["kernels"] for k, n in now.items()} == {k: n["kernels"] for k, n in then.items()}


def test_counts_do_not_depend_on_threads():
    case, before, found = "dcgan fp32", torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(guard.count(case))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]


def test_every_case_has_both_players():
    for counts in RECORDED["cases"].values():
        parts = {name.split(", ")[1] for name in counts}
        assert {"D", "G", "G_ema"} <= parts
