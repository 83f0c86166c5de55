"""The smallest networks that translate images, and what goes with them."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from tiny import TinyPlugin
from torch import nn

import ganzoo


class TinyTranslator(ganzoo.Translator):
    """One convolution there and one back, with dropout: draws from torch's generator in every step."""

    directions: ClassVar = ("a2b", "b2a")
    size_multiple = 2

    def __init__(self, *, in_channels: int, img_resolution: int, img_channels: int, c_dim: int) -> None:
        super().__init__(in_channels=in_channels, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.there = nn.Conv2d(in_channels, img_channels, 3, padding=1)
        self.back = nn.Conv2d(img_channels, in_channels, 3, padding=1)
        self.dropout = nn.Dropout(0.1)

    def forward(self, source, c=None, *, growth):
        return self.there(self.dropout(source)).float().tanh()

    def translate(self, source, c=None, *, direction="a2b", growth):
        if direction == "b2a":
            return self.back(source).float().tanh()
        return super().translate(source, c, direction=direction, growth=growth)


class TinyPairs(ganzoo.Discriminator):
    """Judges an image beside its source, if asked to."""

    def __init__(
        self, *, in_channels: int, img_resolution: int, img_channels: int, c_dim: int, conditional: bool = False
    ) -> None:
        super().__init__(c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.sees_source = conditional
        self.conv = nn.Conv2d(img_channels + conditional * in_channels, 1, 3, padding=1)

    def forward(self, img, c=None, *, growth, source=None):
        return self.conv(img if source is None else torch.cat([source, img], 1)).float()


class TinyPairLoss(ganzoo.Loss):
    passes_source = True

    def __init__(self, *, paired: bool) -> None:
        if not paired:
            raise ValueError("it wants pairs; use data.inputs of another kind")

    def _scores(self, D, img, batch):
        source = {"source": batch.z} if D.sees_source else {}
        return D(img, None, growth=batch.growth, **source).flatten(1).mean(1)

    def d_loss(self, G, D, batch):
        with torch.no_grad():
            fake = G(batch.z, batch.gen_c, growth=batch.growth)
        return {
            "real": F.softplus(-self._scores(D, batch.real, batch)),
            "fake": F.softplus(self._scores(D, fake, batch)),
        }

    def g_loss(self, G, D, batch):
        fake = G(batch.z, batch.gen_c, growth=batch.growth)
        near = (fake - batch.real).abs().flatten(1).mean(1)
        return {"fake": F.softplus(-self._scores(D, fake, batch)), "near": near}


class TinyDusk(ganzoo.Degradation):
    """Grey, and darker by a random amount."""

    def __init__(self, *, strength: float = 0.5) -> None:
        super().__init__()
        self.strength = strength

    def forward(self, img):
        light = 1 - self.strength * torch.rand(len(img), 1, 1, 1, device=img.device)
        return (img.mean(1, keepdim=True) + 1) * light - 1

    def out_channels(self, img_channels):
        if img_channels == 4:
            raise ValueError("it takes no transparent images; set data.img_channels to 3")
        return 1


class TranslationPlugin(TinyPlugin):
    """What would be a plugin's module."""

    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_generators(register):
        TinyPlugin.ganzoo_register_generators(register)
        register("translator", TinyTranslator)

    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_discriminators(register):
        TinyPlugin.ganzoo_register_discriminators(register)
        register("pairs", TinyPairs)

    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_losses(register):
        TinyPlugin.ganzoo_register_losses(register)
        register("pairs", TinyPairLoss)

    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_degradations(register):
        register("dusk", TinyDusk)


RECIPE = """
recipe_version: 1
name: tiny-translation
seed: 3
data:
  source: {name: faces, args: {num_images: 40}}
  img_resolution: 8
  mirror: true
  inputs: {kind: degrade, degrade: {name: dusk}}
generator: {name: translator}
discriminator: {name: tiny}
loss: {name: tiny}
growth: {name: fixed, args: {batch_size: 8, lr: 0.002}}
train: {total_kimg: 0.16, d_steps: 2, tick_kimg: 0.032, snapshot_kimg: 0.08, checkpoint_kimg: 0.04, grid: [2, 2]}
system: {device: cpu, precision: fp32, threads: 1}
"""
UNPAIRED = "data.inputs={kind: unpaired}"
