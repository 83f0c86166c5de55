"""Checks of regularizers, augmentations and style generators: each fails on one that is wrong in exactly one way."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

import ganzoo
from ganzoo import GrowthState
from ganzoo.testing import check_augmentation, check_generator, check_regularizer


class Right(ganzoo.Regularizer):
    player = "D"

    def __init__(self, *, every: int = 4) -> None:
        self.every = every

    def terms(self, G, D, batch):
        return {"size": D(batch.real, batch.c, growth=batch.growth)[:, 0].square()}


class OfG(Right):
    player = "G"

    def terms(self, G, D, batch):
        return {"size": G(batch.z, batch.gen_c, growth=batch.growth).flatten(1).square().mean(1)}


class Nobody(Right):
    player = "both"


class Never(Right):
    def __init__(self) -> None:
        self.every = 0


class Backward(Right):
    def terms(self, G, D, batch):
        terms = super().terms(G, D, batch)
        terms["size"].sum().backward()
        return terms


class Pixelwise(OfG):
    def terms(self, G, D, batch):
        return {"size": G(batch.z, batch.gen_c, growth=batch.growth).square()}


class Learns(Right, nn.Module):
    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.every, self.weight = 1, nn.Parameter(torch.ones(()))


class Refuses(Right):
    def check(self, G, D):
        raise ValueError("not today")


class Shrinks(Right):
    """No terms: all is done after the step."""

    def __init__(self, *, every: int = 1) -> None:
        self.every = every

    def terms(self, G, D, batch):
        return {}

    def after_step(self, player):
        for parameter in player.parameters():
            parameter.mul_(0.99)


class Lazily(Shrinks):
    def __init__(self) -> None:
        self.every = 2


class Jumps(Shrinks):
    def after_step(self, player):
        for parameter in player.parameters():
            parameter.add_(torch.rand(()))


class DividesByZero(Shrinks):
    def after_step(self, player):
        for parameter in player.parameters():
            parameter.div_(0.0)


def test_a_regularizer_without_terms():
    check_regularizer(Shrinks)


@pytest.mark.parametrize("c_dim", [0, 3])
@pytest.mark.parametrize("cls", [Right, OfG])
def test_right_regularizers(cls, c_dim):
    check_regularizer(cls, {"every": 16}, c_dim=c_dim)


@pytest.mark.parametrize(
    ("cls", "problem"),
    [
        (Nobody, "player is neither"),
        (Never, "every is 0"),
        (Backward, "terms calls backward"),
        (Pixelwise, "not yet averaged"),
        (Learns, "has parameters .weight., which nobody trains"),
        (Refuses, "not today"),
        (Lazily, "has no terms.*every must be 1"),
        (Jumps, "processes would drift apart"),
        (DividesByZero, "after_step makes .* not finite"),
    ],
)
def test_regularizers_that_break_the_contract(cls, problem):
    with pytest.raises(AssertionError, match=rf"{cls.__name__}: .*{problem}"):
        check_regularizer(cls)


class Mirror(ganzoo.Augmentation):
    """Sometimes left to right; more often the surer D is."""

    adapts_every = 4

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("p", torch.zeros(()))

    def forward(self, img):
        flip = (torch.rand(len(img)) < self.p + 0.1)[:, None, None, None]
        return torch.where(flip, img.flip(3), img)

    def adapt(self, real_logits, nimg):
        self.p += 0.01 * real_logits.mean().sign()
        self.p.clamp_(0, 1)


class InPlace(Mirror):
    def forward(self, img):
        if not img.requires_grad:
            img.mul_(0.5)
        return img * 1.0


class Crops(Mirror):
    def forward(self, img):
        return img[..., 1:]


class Doubles(Mirror):
    def forward(self, img):
        return img.double()


class PythonRandom(Mirror):
    def forward(self, img):
        return img * random.random()


class NoGradient(Mirror):
    def forward(self, img):
        return img.detach() + 0 * img


class Forgets(Mirror):
    def __init__(self) -> None:
        super().__init__()
        del self.p
        self.p = 0.0

    def adapt(self, real_logits, nimg):
        self.p += 0.01


class ColourOnly(Mirror):
    def forward(self, img):
        if img.shape[1] == 4:
            raise ValueError("RGB only")
        return super().forward(img)


def test_right_augmentations():
    check_augmentation(Mirror)
    check_augmentation(ColourOnly, channels=(1, 3))


@pytest.mark.parametrize(
    ("cls", "problem"),
    [
        (InPlace, "changes them in place"),
        (Crops, r"gives \[4, 1, 8, 7\]"),
        (Doubles, "float64"),
        (PythonRandom, "one seed of torch gives different images"),
        (NoGradient, "no gradient reaches the image"),
        (Forgets, "adapt changes no buffer"),
        (ColourOnly, "images of 4 channels and 8 px raises ValueError: RGB only"),
    ],
)
def test_augmentations_that_break_the_contract(cls, problem):
    with pytest.raises(AssertionError, match=rf"{cls.__name__}: .*{problem}"):
        check_augmentation(cls)


class Style(ganzoo.StyleGenerator):
    """One matrix to w, one to the image, and noise."""

    def __init__(self, *, img_resolution: int, img_channels: int, c_dim: int, z_dim: int = 8) -> None:
        super().__init__(
            z_dim=z_dim, w_dim=6, num_ws=2, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels
        )
        self.to_w = nn.Linear(z_dim + c_dim, 6)
        self.paint = nn.Linear(12, img_channels * img_resolution**2)
        self.strength = nn.Parameter(torch.ones(()))
        self.register_buffer("stored", torch.randn(img_resolution, img_resolution))

    def mapping(self, z, c=None):
        return self.to_w(z if c is None else torch.cat([z, c], 1)).tanh()

    def synthesis(self, ws, *, growth: GrowthState, noise="random"):
        x = self.paint(ws.flatten(1)).float().reshape(-1, self.img_channels, self.img_resolution, self.img_resolution)
        maps = {"none": 0, "const": self.stored, "random": torch.randn_like(x[:, :1])}
        return (x + self.strength.float() * maps[noise]).tanh()

    def forward(self, z, c=None, *, growth):
        w = self.mapping(z, c)
        if self.training:
            self.w_avg.lerp_(w.detach().float().mean(0), 0.1)
        return self.synthesis(self.broadcast(w), growth=growth, noise="random" if self.training else "const")


class FollowsInMapping(Style):
    def mapping(self, z, c=None):
        w = super().mapping(z, c)
        self.w_avg.lerp_(w.detach().float().mean(0), 0.1)
        return w


class NoAverage(Style):
    def forward(self, z, c=None, *, growth):
        noise = "random" if self.training else "const"
        return self.synthesis(self.broadcast(self.mapping(z, c)), growth=growth, noise=noise)


class AlreadyBroadcast(Style):
    def mapping(self, z, c=None):
        return self.broadcast(super().mapping(z, c))

    def forward(self, z, c=None, *, growth):
        ws = self.mapping(z, c)
        return self.synthesis(ws, growth=growth, noise="random" if self.training else "const")


class NoiselessForward(Style):
    def forward(self, z, c=None, *, growth):
        super().forward(z, c, growth=growth)
        noise = "random" if self.training else "none"
        return self.synthesis(self.broadcast(self.mapping(z, c)), growth=growth, noise=noise)


def test_a_right_style_generator():
    check_generator(Style)
    check_generator(Style, c_dim=3)


@pytest.mark.parametrize(
    ("cls", "problem"),
    [
        (FollowsInMapping, "mapping changes a buffer"),
        (NoAverage, "does not follow w_avg"),
        (AlreadyBroadcast, r"mapping gives \[4, 2, 6\]"),
        (NoiselessForward, "in eval mode, forward is not synthesis"),
    ],
)
def test_style_generators_that_break_the_contract(cls, problem):
    with pytest.raises(AssertionError, match=rf"{cls.__name__}: .*{problem}"):
        check_generator(cls)


def test_truncation_and_broadcast():
    G = Style(img_resolution=8, img_channels=3, c_dim=0)
    G.w_avg.fill_(2.0)
    ws = G.broadcast(torch.randn(3, 6))
    assert torch.equal(ws[:, 0], ws[:, 1])
    assert torch.allclose(G.truncate(ws, 1.0), ws)
    assert torch.equal(G.truncate(ws, 0.0), torch.full_like(ws, 2.0))
    half = G.truncate(ws, 0.5, cutoff=1)
    assert torch.equal(half[:, 1], ws[:, 1])
    assert torch.allclose(half[:, 0], (ws[:, 0] + 2) / 2, atol=1e-5)
