"""``system.recompute`` with the networks and objectives that are installed: losses and gradients stay as they were."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ganzoo import Batch, GrowthState
from ganzoo.plugins import load_plugins
from ganzoo.recomputation import recomputing

REGISTRY = load_plugins().registry
SMALL = {"fmap_base": 64, "fmap_max": 8}
STYLE = {"z_dim": 8, "w_dim": 8, "mapping_layers": 2}
WIDE = {"channel_base": 128, "channel_max": 8}
LOGISTIC = ["non-saturating", "r1"]
CASES = {
    # generator, discriminator, objective, resolution, alpha
    "progan fading": ("progan", {"z_dim": 8, **SMALL}, "progan", SMALL, ["wgan-gp"], 16, 0.5),
    "progan unfused": ("progan", {"z_dim": 8, **SMALL}, "progan",
                       {**SMALL, "fused_scale": False}, ["wgan-gp"], 16, 1.0),
    "stylegan fading": ("stylegan", {**STYLE, **SMALL}, "stylegan", SMALL, [*LOGISTIC, "path-length"], 16, 0.5),
    "stylegan2": ("stylegan2", {**STYLE, **WIDE}, "stylegan2", WIDE, [*LOGISTIC, "path-length"], 16, 1.0),
    "stylegan2 residual": ("stylegan2", {**STYLE, **WIDE, "architecture": "resnet"}, "stylegan2",
                           {**WIDE, "architecture": "skip"}, [*LOGISTIC, "r2", "path-length"], 16, 1.0),
    "stylegan3": ("stylegan3", {**STYLE, **WIDE, "num_layers": 4, "num_critical": 1}, "stylegan2", WIDE,
                  LOGISTIC, 16, 1.0),
    "biggan": ("biggan", {"z_dim": 6, "ch": 8, "shared_dim": 4, "attn_resolutions": [16]}, "biggan",
               {"ch": 8, "attn_resolutions": [8]}, ["biggan-hinge", "r1"], 16, 1.0),
}  # fmt: skip
KINDS = ("loss", "regularizer")


def make(kind, name, args, **sizes):
    if name not in REGISTRY.names(kind):
        pytest.skip(f"needs the plugin that has {kind} {name}")
    return REGISTRY.get(kind, name).cls(**args, **sizes)


def terms_of(players, objective, batch, from_resolution):
    """Every term, each with the gradients of the player it is for; and the buffers afterwards."""
    G, D = copy.deepcopy(players)
    found, random = {}, {}
    for part in copy.deepcopy(objective):
        calls = [("D", part.d_loss), ("G", part.g_loss)] if hasattr(part, "d_loss") else [(part.player, part.terms)]
        for player, terms in calls:
            G.requires_grad_(player == "G")
            D.requires_grad_(player == "D")
            torch.manual_seed(4)
            with recomputing(from_resolution):
                losses = terms(G, D, batch)
            torch.stack([value.double().mean() for value in losses.values()]).sum().backward()
            module, name = (G if player == "G" else D), f"{type(part).__name__} of {player}"
            found |= {f"{name}: {term}": value.detach() for term, value in losses.items()}
            found |= {f"{name}: gradient of {key}": p.grad for key, p in module.named_parameters()}
            random[name] = torch.rand(1)
            module.zero_grad(set_to_none=True)
    buffers = {f"{n}: buffer {key}": b for n, m in (("G", G), ("D", D)) for key, b in m.named_buffers()}
    return found | buffers | random


@pytest.mark.parametrize("case", CASES)
def test_terms_gradients_and_buffers_are_the_same(case):
    generator, g_args, discriminator, d_args, objective, resolution, alpha = CASES[case]
    torch.manual_seed(0)
    c_dim = 3 if generator in ("biggan", "stylegan2") else 0
    sizes = {"c_dim": c_dim, "img_resolution": resolution, "img_channels": 3}
    players = [make("generator", generator, g_args, **sizes), make("discriminator", discriminator, d_args, **sizes)]
    for player in players:
        player.double().requires_grad_()
        with torch.no_grad():  # gates and noise strengths start at 0 and would hide what is behind them
            for parameter in player.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    parts = [make("loss" if i == 0 else "regularizer", name, {}) for i, name in enumerate(objective)]
    parts = [part.double() if isinstance(part, nn.Module) else part for part in parts]
    c = torch.eye(3, dtype=torch.float64)[torch.arange(4) % 3] if c_dim else None
    z = torch.randn(4, players[0].z_dim, dtype=torch.float64)
    real = torch.randn(4, 3, resolution, resolution, dtype=torch.float64)
    batch = Batch(real, c, z, c, GrowthState(resolution, alpha, 4, 0.001, 0.001))

    plain, again = (terms_of(players, parts, batch, from_resolution) for from_resolution in (None, 8))
    assert plain.keys() == again.keys()
    for name, value in plain.items():
        if value is None:
            assert again[name] is None, name
        else:
            torch.testing.assert_close(again[name], value, rtol=1e-6, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")
    assert any(
        v is not None and v.abs().max() > 1e-6 for k, v in plain.items() if "gradient of blocks" in k or "layers" in k
    )
