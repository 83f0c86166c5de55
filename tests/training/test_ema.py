"""The exponential moving average against its closed form."""

import pytest
import torch
from torch import nn

from ganzoo.training.ema import ema_beta, update_ema


def test_closed_form_after_many_steps():
    torch.manual_seed(0)
    G, G_ema = nn.Linear(3, 2).double(), nn.Linear(3, 2).double()
    start, history, beta = G_ema.weight.detach().clone(), [], 0.9
    for _ in range(20):
        with torch.no_grad():
            G.weight.normal_()
        history.append(G.weight.detach().clone())
        update_ema(G_ema, G, beta)
    expected = beta**20 * start + sum((1 - beta) * beta ** (19 - i) * w for i, w in enumerate(history))
    torch.testing.assert_close(G_ema.weight, expected)


def test_buffers_are_copied():
    G, G_ema = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    G(torch.randn(8, 3))
    update_ema(G_ema, G, 0.999)
    assert torch.equal(G_ema.running_mean, G.running_mean)
    assert torch.equal(G_ema.num_batches_tracked, G.num_batches_tracked)


def test_a_half_life_is_a_half_life():
    beta = ema_beta(50, 0, beta=None, half_life_kimg=10)
    assert beta ** (10_000 / 50) == pytest.approx(0.5)
    assert ema_beta(50, 0, beta=0.999, half_life_kimg=None) == 0.999


def test_the_half_life_grows_with_training_where_that_is_asked_for():
    young, old = (ema_beta(50, nimg, beta=None, half_life_kimg=10, rampup=0.05) for nimg in (20_000, 1_000_000))
    assert young ** (1_000 / 50) == pytest.approx(0.5)
    assert old == ema_beta(50, 0, beta=None, half_life_kimg=10)
    assert ema_beta(50, 0, beta=None, half_life_kimg=10, rampup=0.05) < 1e-6  # at first G_ema is G
