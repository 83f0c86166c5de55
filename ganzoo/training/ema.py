"""Exponential moving average of the generator: the network that is shown, measured and shared."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def update_ema(G_ema: nn.Module, G: nn.Module, beta: float) -> None:
    """G_ema = beta * G_ema + (1 - beta) * G for parameters; buffers are copied (Karras et al. 2018, section 6)."""
    averages: list[Tensor] = list(G_ema.parameters())
    torch._foreach_lerp_(averages, list(G.parameters()), 1 - beta)
    buffers: list[Tensor] = list(G_ema.buffers())
    if buffers:
        torch._foreach_copy_(buffers, list(G.buffers()))


def ema_beta(
    batch_size: int, nimg: int, *, beta: float | None, half_life_kimg: float | None, rampup: float | None = None
) -> float:
    """The weight of the past at a step of ``batch_size`` images: fixed, or from a half-life in thousands of images.

    rampup: the half-life is at most that share of the ``nimg`` images shown, so that the average follows G closely
    while G is young (Karras et al. 2020, ADA, appendix C: 0.05).
    """
    if half_life_kimg is None:
        assert beta is not None, "the recipe's validation demands one of the two"
        return beta
    half_life = half_life_kimg * 1000
    if rampup is not None:
        half_life = min(half_life, nimg * rampup)
    return 0.5 ** (batch_size / max(half_life, 1e-8))
