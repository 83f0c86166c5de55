"""Snapshots of small networks, made without training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ganzoo
from ganzoo.generation import LoadedGenerator, load_generator
from ganzoo.interfaces import GrowthState
from ganzoo.plugins import LoadedPlugins, make_plugin_manager
from ganzoo.training.checkpoint import TrainingState, save_snapshot

RECIPE = """
name: small
data: {{source: {{name: faces}}, img_resolution: 16, background: "#ff0000"}}
generator: {{name: {generator}, args: {{z_dim: 8}}}}
discriminator: {{name: of-a-plugin-that-is-not-installed}}
loss: {{name: of-a-plugin-that-is-not-installed}}
growth: {{name: of-a-plugin-that-is-not-installed}}
train: {{total_kimg: 1}}
"""


class SmallGenerator(ganzoo.Generator):
    def __init__(self, *, img_resolution: int, img_channels: int, c_dim: int, z_dim: int = 4) -> None:
        super().__init__(z_dim=z_dim, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.dense = nn.Linear(z_dim + c_dim, 8 * 16)
        self.norm = nn.BatchNorm1d(8 * 16)
        self.to_rgb = nn.Conv2d(8, img_channels, 1)

    def forward(self, z, c=None, *, growth: GrowthState):
        x = self.norm(self.dense(z if c is None else torch.cat([z, c], 1))).reshape(-1, 8, 4, 4)
        return self.to_rgb(F.interpolate(x, size=growth.resolution, mode="bilinear"))


class SmallStyleGenerator(ganzoo.StyleGenerator):
    """Two layers, each with a w and a map of noise of its own; the mean of w is not zero."""

    def __init__(self, *, img_resolution: int, img_channels: int, c_dim: int, z_dim: int = 4) -> None:
        super().__init__(
            z_dim=z_dim, w_dim=6, num_ws=2, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels
        )
        self.to_w = nn.Linear(z_dim + c_dim, 6)
        self.layers = nn.ModuleList(nn.Linear(6, img_channels * 16) for _ in range(2))
        self.register_buffer("noise", torch.randn(1, 1, 4, 4))
        self.w_avg.copy_(torch.randn(6))

    def mapping(self, z, c=None):
        return self.to_w(z if c is None else torch.cat([z, c], 1))

    def synthesis(self, ws, *, growth: GrowthState, noise="random"):
        coarse, fine = (layer(ws[:, i]).reshape(len(ws), -1, 4, 4) for i, layer in enumerate(self.layers))
        if noise != "none":
            fine = fine + (self.noise if noise == "const" else torch.randn_like(self.noise))
        img = (
            F.interpolate(coarse, size=growth.resolution)
            + fine.repeat(1, 1, 4, 4)[..., : growth.resolution, : growth.resolution]
        )
        return img.mul(0.3).tanh()

    def forward(self, z, c=None, *, growth: GrowthState):
        return self.synthesis(self.broadcast(self.mapping(z, c)), growth=growth, noise="const")


class SmallPlugin:
    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_generators(register):
        register("small", SmallGenerator)
        register("small-style", SmallStyleGenerator)


@pytest.fixture(scope="session")
def plugins() -> LoadedPlugins:
    return make_plugin_manager({"small": SmallPlugin})


@pytest.fixture
def make_snapshot(tmp_path) -> Callable[..., Path]:
    """Writes a snapshot as training does, into the ``snapshots`` folder of a run."""

    def make(*, kimg=5, c_dim=0, img_channels=3, resolution=16, class_names=None, generator="small", plugins=None):
        torch.manual_seed(kimg)
        G = {"small-style": SmallStyleGenerator}.get(generator, SmallGenerator)(
            z_dim=8, c_dim=c_dim, img_resolution=16, img_channels=img_channels
        )
        return save_snapshot(
            tmp_path / "run" / "snapshots",
            G,
            TrainingState(nimg=kimg * 1000),
            GrowthState(resolution, 1.0, 8, 0.001, 0.001),
            recipe=RECIPE.format(generator=generator),
            extra={
                "class_names": json.dumps(class_names),
                "plugins": json.dumps(plugins or {"ganzoo-small": "0.3.1"}),
                "ganzoo": ganzoo.__version__,
            },
        )

    return make


@pytest.fixture
def make_generator(make_snapshot, plugins) -> Callable[..., LoadedGenerator]:
    return lambda **kwargs: load_generator(make_snapshot(**kwargs), plugins=plugins)
