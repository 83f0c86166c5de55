"""Checks of translators and degradations: each fails on one that is wrong in exactly one way."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ganzoo
from ganzoo.testing import (
    check_component,
    check_degradation,
    check_discriminator,
    check_loss,
    check_regularizer,
    check_translator,
    registered,
)


class Right(ganzoo.Translator):
    def __init__(self, *, in_channels: int, img_resolution: int, img_channels: int, c_dim: int) -> None:
        super().__init__(in_channels=in_channels, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.conv = nn.Conv2d(in_channels + c_dim, img_channels, 3, padding=1)

    def forward(self, source, c=None, *, growth):
        if c is not None:
            planes = c[:, :, None, None].expand(-1, -1, *source.shape[2:])
            source = torch.cat([source, planes], 1)
        return self.conv(source).float().tanh()


class BothWays(Right):
    directions: ClassVar = ("a2b", "b2a")

    def __init__(self, *, in_channels: int, img_resolution: int, img_channels: int, c_dim: int) -> None:
        super().__init__(in_channels=in_channels, img_resolution=img_resolution, img_channels=img_channels, c_dim=c_dim)
        self.back = nn.Conv2d(img_channels, in_channels, 3, padding=1)

    def translate(self, source, c=None, *, direction="a2b", growth):
        if direction == "b2a":
            return self.back(source).float().tanh()
        return super().translate(source, c, direction=direction, growth=growth)


class Halves(Right):
    """Pooled and enlarged again: sizes are multiples of 4."""

    size_multiple = 4

    def forward(self, source, c=None, *, growth):
        return F.interpolate(super().forward(F.avg_pool2d(source, 4), c, growth=growth), scale_factor=4)


class Multiple(Halves):
    size_multiple = 1


class Blind(Right):
    def forward(self, source, c=None, *, growth):
        return super().forward(torch.ones_like(source), c, growth=growth)


class Batchwise(Right):
    def forward(self, source, c=None, *, growth):
        return super().forward(source - source.mean(0), c, growth=growth)


class Idle(BothWays):
    def translate(self, source, c=None, *, direction="a2b", growth):
        if direction == "b2a":
            return source[:, : self.in_channels].tanh()
        return super().translate(source, c, direction=direction, growth=growth)


class AnyDirection(Right):
    def translate(self, source, c=None, *, direction="a2b", growth):
        return self(source, c, growth=growth)


class Overwrites(Right):
    def forward(self, source, c=None, *, growth):
        return super().forward(source.mul_(0.5), c, growth=growth)


class Misnamed(Right):
    directions: ClassVar = ("forwards",)


@pytest.mark.parametrize("sizes", [{}, {"c_dim": 2}, {"in_channels": 1}, {"img_channels": 4, "img_resolution": 8}])
@pytest.mark.parametrize("cls", [Right, BothWays, Halves])
def test_right_translators(cls, sizes):
    check_translator(cls, **sizes)


@pytest.mark.parametrize(
    ("cls", "problem"),
    [
        (Multiple, "forward of an image of 18 x 17 px|comes out as"),
        (Blind, "do not depend on the source"),
        (Batchwise, "depends on the others of its batch"),
        (Idle, "no gradient reaches back"),
        (AnyDirection, "takes a direction that does not exist"),
        (Overwrites, "changes its source in place"),
        (Misnamed, "directions are"),
    ],
)
def test_translators_that_break_the_contract(cls, problem):
    with pytest.raises(AssertionError, match=rf"{cls.__name__}: .*({problem})"):
        check_translator(cls)


class Dusk(ganzoo.Degradation):
    """Grey, darker by a random amount."""

    def __init__(self, *, strength: float = 0.5) -> None:
        super().__init__()
        self.strength = strength

    def forward(self, img):
        light = 1 - self.strength * torch.rand(len(img), 1, 1, 1, device=img.device)
        return (img.mean(1, keepdim=True) + 1) * light - 1

    def out_channels(self, img_channels):
        return 1


class Colours(Dusk):
    def out_channels(self, img_channels):
        return img_channels


class Brightens(Dusk):
    def forward(self, img):
        return super().forward(img) + 1.5


class Flat(Dusk):
    def forward(self, img):
        return super().forward(img).mul(0)


class Counts(Dusk):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, img):
        self.calls += 1
        return super().forward(img)


class Numpy(Dusk):
    calls = 0

    def forward(self, img):
        Numpy.calls += 1
        return super().forward(img) * (0.5 + 0.1 * (Numpy.calls % 2))


def test_a_right_degradation():
    check_degradation(Dusk, {"strength": 0.1})


@pytest.mark.parametrize(
    ("cls", "problem"),
    [
        (Colours, "images of 3 channels and 8 px: gives"),
        (Brightens, "leaves the range"),
        (Flat, "one flat colour"),
        (Counts, "changes its buffers .calls."),
        (Numpy, "one seed of torch gives different images"),
    ],
)
def test_degradations_that_break_the_contract(cls, problem):
    with pytest.raises(AssertionError, match=rf"{cls.__name__}: .*{problem}"):
        check_degradation(cls)


class Pairs(ganzoo.Discriminator):
    """Judges an image beside its source."""

    sees_source = True

    def __init__(self, *, in_channels: int, img_resolution: int, img_channels: int, c_dim: int) -> None:
        super().__init__(c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.conv = nn.Conv2d(in_channels + img_channels, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 1, 1)

    def forward(self, img, c=None, *, growth, source):
        return self.last(F.softplus(self.conv(torch.cat([source, img], 1)))).float()


class Forgets(Pairs):
    def forward(self, img, c=None, *, growth, source):
        return super().forward(img, c, growth=growth, source=torch.zeros_like(source))


def test_discriminators_of_pairs():
    check_discriminator(Pairs, in_channels=1)
    with pytest.raises(AssertionError, match="the source changes no logit"):
        check_discriminator(Forgets)


class PairLoss(ganzoo.Loss):
    passes_source = True

    def __init__(self, *, paired: bool) -> None:
        if not paired:
            raise ValueError("wants pairs")

    def d_loss(self, G, D, batch):
        with torch.no_grad():
            fake = G(batch.z, batch.gen_c, growth=batch.growth)
        return {
            "real": F.softplus(-D(batch.real, batch.c, growth=batch.growth, source=batch.z)).flatten(1).mean(1),
            "fake": F.softplus(D(fake, batch.gen_c, growth=batch.growth, source=batch.z)).flatten(1).mean(1),
        }

    def g_loss(self, G, D, batch):
        fake = G(batch.z, batch.gen_c, growth=batch.growth)
        return {"fake": F.softplus(-D(fake, batch.gen_c, growth=batch.growth, source=batch.z)).flatten(1).mean(1)}


class Near(ganzoo.Regularizer):
    player = "G"
    passes_source = True  # D is not asked at all

    def __init__(self, *, paired: bool) -> None:
        if not paired:
            raise ValueError("wants pairs")

    def terms(self, G, D, batch):
        return {"near": (G(batch.z, batch.gen_c, growth=batch.growth) - batch.real).abs().flatten(1).mean(1)}


def test_losses_and_regularizers_with_translators():
    sizes = {"in_channels": 1, "img_resolution": 8, "img_channels": 3, "c_dim": 0}
    players = Right(**sizes), Pairs(**sizes)
    check_loss(PairLoss, players=players)
    check_regularizer(Near, players=players)
    with pytest.raises(AssertionError, match="wants pairs"):
        check_loss(PairLoss)


def test_a_plugin_of_all_of_them():
    class Plugin:
        @staticmethod
        @ganzoo.hookimpl
        def ganzoo_register_generators(register):
            register("right", BothWays)

        @staticmethod
        @ganzoo.hookimpl
        def ganzoo_register_degradations(register):
            register("dusk", Dusk)

    entries = registered(Plugin)
    assert [entry.kind for entry in entries] == ["generator", "degradation"]
    for entry in entries:
        check_component(entry)
    with pytest.raises(AssertionError, match="do not depend on the source"):
        check_component(ganzoo_entry(Blind))


def ganzoo_entry(cls):
    from ganzoo.registry import Entry, Owner

    return Entry("generator", "blind", cls, Owner("test", "0"))
