"""The smallest GAN that grows, fades, uses labels and dropout: enough to test the loop without any plugin."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

import ganzoo
from ganzoo import Batch, GrowthState


class TinyGenerator(ganzoo.Generator):
    def __init__(self, *, img_resolution: int, img_channels: int, c_dim: int, z_dim: int = 8, width: int = 6) -> None:
        super().__init__(z_dim=z_dim, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.dense = nn.Linear(z_dim + c_dim, width * 16)
        self.convs = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1) for _ in range(8)])
        self.to_rgb = nn.ModuleList([nn.Conv2d(width, img_channels, 1) for _ in range(8)])
        self.dropout = nn.Dropout(0.2)  # draws from torch's generator in every training step

    def forward(self, z, c=None, *, growth: GrowthState):
        x = self.dense(z if c is None else torch.cat([z, c], 1)).reshape(len(z), -1, 4, 4)
        img = older = self.to_rgb[0](x)
        level = 0
        while x.shape[-1] < growth.resolution:
            level += 1
            x = self.dropout(F.relu(self.convs[level](F.interpolate(x, scale_factor=2))))
            older, img = (
                F.interpolate(self.to_rgb[level - 1](F.avg_pool2d(x, 2)), scale_factor=2),
                self.to_rgb[level](x),
            )
        return torch.tanh(torch.lerp(older, img, growth.alpha) if level else img)


class TinyDiscriminator(ganzoo.Discriminator):
    def __init__(self, *, img_resolution: int, img_channels: int, c_dim: int, width: int = 6) -> None:
        super().__init__(c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.conv = nn.Conv2d(img_channels, width, 3, padding=1)
        self.dense = nn.Linear(width * 16 + c_dim, 1)

    def forward(self, img, c=None, *, growth: GrowthState):
        x = F.adaptive_avg_pool2d(F.leaky_relu(self.conv(img), 0.2), 4).flatten(1)
        return self.dense(x if c is None else torch.cat([x, c], 1))


class TinyLoss(ganzoo.Loss):
    """Hinge, with noise on the images so that D's step draws random numbers too."""

    def __init__(self, *, noise: float = 0.1, explode_at: int = 0) -> None:
        self.noise, self.explode_at, self.steps = noise, explode_at, 0

    def d_loss(self, G, D, batch: Batch):
        with torch.no_grad():
            fake = G(batch.z, batch.gen_c, growth=batch.growth)
        self.steps += 1
        factor = float("nan") if self.steps == self.explode_at else 1.0
        real = batch.real + self.noise * torch.randn_like(batch.real)
        return {
            "real": F.relu(1 - D(real, batch.c, growth=batch.growth)) * factor,
            "fake": F.relu(1 + D(fake, batch.gen_c, growth=batch.growth)),
        }

    def g_loss(self, G, D, batch: Batch):
        fake = G(batch.z, batch.gen_c, growth=batch.growth)
        return {"fake": -D(fake, batch.gen_c, growth=batch.growth)}


class TinyPenalty(ganzoo.Regularizer, nn.Module):
    """Keeps D's scores of real images small; lazily, if asked. Counts its calls in a buffer, and draws numbers."""

    player = "D"

    def __init__(self, *, every: int = 1, refuse: bool = False, name: str = "penalty") -> None:
        super().__init__()
        self.every, self.refuse, self.name = every, refuse, name
        self.register_buffer("calls", torch.zeros(()))

    def check(self, G, D):
        if self.refuse:
            raise ValueError("it wants a taller D; use one of 3 metres")

    def terms(self, G, D, batch: Batch):
        self.calls += 1
        noise = 0.1 * torch.randn_like(batch.real)
        return {self.name: D(batch.real + noise, batch.c, growth=batch.growth).square()}


class TinySmoothness(ganzoo.Regularizer):
    """Of G: small changes of z change little."""

    player = "G"

    def __init__(self, *, every: int = 4) -> None:
        self.every = every

    def terms(self, G, D, batch: Batch):
        pair = [G(z, batch.gen_c, growth=batch.growth) for z in (batch.z, batch.z * 1.01)]
        return {"smoothness": (pair[0] - pair[1]).square().flatten(1).mean(1)}


class TinyDarkening(ganzoo.Augmentation):
    """Multiplies images by a random number around 1 - p; p rises while D is sure."""

    adapts_every = 2

    def __init__(self, *, speed: float = 0.01) -> None:
        super().__init__()
        self.speed = speed
        self.register_buffer("p", torch.zeros(()))

    def forward(self, img):
        return img * (1 - self.p * torch.rand(len(img), 1, 1, 1))

    def adapt(self, real_logits, nimg):
        assert real_logits.ndim == 1
        self.p += self.speed * nimg * (real_logits.mean() > -100)


class TinySchedule(ganzoo.GrowthSchedule):
    """Every ``every`` images the size doubles, the first half of each stretch fading."""

    def __init__(self, *, img_resolution: int, every: int = 64, batch_size: int = 8, lr: float = 2e-3) -> None:
        self.img_resolution, self.every, self.batch_size, self.lr = img_resolution, every, batch_size, lr

    def at(self, nimg: int) -> GrowthState:
        level, rest = divmod(nimg, self.every)
        resolution = min(4 << level, self.img_resolution)
        fading = level > 0 and 4 << level <= self.img_resolution
        alpha = min(1.0, 2 * rest / self.every + 0.1) if fading else 1.0
        batch_size = self.batch_size if resolution < 16 else self.batch_size // 2
        return GrowthState(resolution, alpha, batch_size, self.lr, self.lr / 2)


class TinyExtractor(ganzoo.Extractor):
    """Mean colours of four quarters. ``interrupt_at``: sends SIGINT once so many images were seen."""

    layers = ("quarters",)
    weights_hash = "none"
    resize = "none"
    seen = 0
    interrupt_at = 0

    def __init__(self, *, weights: str | None = None) -> None:
        if weights is not None and not Path(weights).exists():
            raise ganzoo.CheckpointError(f"{weights}: no such file of weights")

    def layer_for(self, metric):
        return "quarters"

    def features(self, images, layers):
        cls = type(self)
        cls.seen += len(images)
        if cls.interrupt_at and cls.seen >= cls.interrupt_at:
            cls.interrupt_at = 0
            signal.raise_signal(signal.SIGINT)
        return {"quarters": F.adaptive_avg_pool2d(images.float() / 255, 2).flatten(1)}


class TinyDistance(ganzoo.Metric):
    """Of the means of features, and the spread of the generated ones. Draws random numbers, as it should not."""

    results: ClassVar = {"distance": True, "spread": False}

    def __init__(self, *, fail: bool = False) -> None:
        self.fail = fail

    def compute(self, fake, real):
        torch.rand(3)
        if self.fail:
            raise RuntimeError("no luck today")
        return {"distance": float((fake.mean(0) - real.mean(0)).norm()), "spread": float(fake.std())}


class TinyBrightness(ganzoo.Metric):
    """Looks at images, and at no more than 40 of them."""

    needs = "images"
    compares = False
    max_samples = 40
    results: ClassVar = {"brightness": False}

    def compute(self, fake, real):
        return {"brightness": float(fake.read(range(len(fake))).mean())}


class TinyPlugin:
    """What would be a plugin's module."""

    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_generators(register):
        register("tiny", TinyGenerator)

    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_discriminators(register):
        register("tiny", TinyDiscriminator)

    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_losses(register):
        register("tiny", TinyLoss)

    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_growth_schedules(register):
        register("tiny", TinySchedule)

    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_regularizers(register):
        register("penalty", TinyPenalty)
        register("smoothness", TinySmoothness)

    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_augmentations(register):
        register("darkening", TinyDarkening)

    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_extractors(register):
        register("tiny", TinyExtractor)

    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_metrics(register):
        register("tiny", TinyDistance)
        register("brightness", TinyBrightness)


RECIPE = """
recipe_version: 1
name: tiny
seed: 3
data:
  source: {name: faces, args: {num_images: 40}}
  img_resolution: 16
  labels: true
  mirror: true
generator: {name: tiny}
discriminator: {name: tiny}
loss: {name: tiny}
growth: {name: tiny}
train: {total_kimg: 0.32, d_steps: 2, tick_kimg: 0.032, snapshot_kimg: 0.16, checkpoint_kimg: 0.04, grid: [2, 3]}
system: {device: cpu, precision: fp32, threads: 1}
"""
