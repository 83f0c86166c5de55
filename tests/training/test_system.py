"""The choices of ``system``."""

from __future__ import annotations

import pytest
import torch

from ganzoo.recipe import SystemConfig
from ganzoo.training import system


@pytest.fixture
def four_cpus(monkeypatch):
    monkeypatch.setattr(system, "available_cpus", lambda: 4)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("four_cpus")
@pytest.mark.parametrize(
    ("asked", "omp", "processes", "threads"),
    [
        ("auto", None, 1, 4),
        ("auto", "3", 1, 3),
        ("auto", "16", 1, 4),  # more than there are
        ("auto", "0", 1, 4),
        ("auto", "2,1", 1, 4),  # a list, for nested loops
        ("auto", "1", 2, 2),  # as torchrun sets it
        (2, "1", 1, 2),  # the recipe says so
    ],
)
def test_threads_are_those_of_the_recipe_or_openmp_or_all_cpus(monkeypatch, asked, omp, processes, threads):
    if omp is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", omp)
    chosen = system.choose_system(SystemConfig(threads=asked, device="cpu"), local_processes=processes)
    assert chosen.threads == torch.get_num_threads() == threads
