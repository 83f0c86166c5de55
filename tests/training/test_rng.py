"""Every random generator goes on where it was."""

import random

import numpy as np
import torch

from ganzoo.training import rng


def draw():
    return random.gauss(0, 1), np.random.randn(), torch.randn(3).tolist()


def test_state_round_trip():
    rng.seed_all(7)
    draw()  # an odd number of Gaussians, so that numpy's and Python's cached second halves are in the state
    state = rng.get_state()
    expected = [draw() for _ in range(5)]
    rng.seed_all(8)
    rng.set_state(state)
    assert [draw() for _ in range(5)] == expected


def test_ranks_and_seeds_differ():
    seen = []
    for seed, rank in ((0, 0), (0, 1), (1, 0)):
        rng.seed_all(seed, rank)
        seen.append(draw())
    assert len({str(s) for s in seen}) == 3
