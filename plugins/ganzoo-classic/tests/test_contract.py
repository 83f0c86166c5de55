"""Everything that the plugin registers keeps the contracts of ganzoo.interfaces."""

from __future__ import annotations

import pytest
import torch

import ganzoo_classic
from ganzoo import GrowthState
from ganzoo.testing import check_component, check_discriminator, check_generator, check_loss, registered
from ganzoo_classic.dcgan import Discriminator, Generator
from ganzoo_classic.lapgan import Discriminator as LAPGANDiscriminator
from ganzoo_classic.lapgan import Generator as LAPGANGenerator
from ganzoo_classic.mlp import Discriminator as MLPDiscriminator
from ganzoo_classic.mlp import Generator as MLPGenerator

OPTIONS = {
    ("generator", "dcgan"): {"args": {"z_dim": 8, "ngf": 8, "fmap_max": 16}},
    ("generator", "mlp"): {"args": {"z_dim": 8, "hidden_dim": 16}},
    ("generator", "lapgan"): {"args": {"base_resolution": 4, "base_z_dim": 4, "hidden_dim": 8, "ngf": 4}},
    ("discriminator", "dcgan"): {"args": {"ndf": 8, "fmap_max": 16}},
    ("discriminator", "mlp"): {"args": {"hidden_dim": 16, "pieces": 3}},
    ("discriminator", "lapgan"): {"args": {"base_resolution": 4, "hidden_dim": 8, "ndf": 4}},
    ("loss", "minimax"): {},
    ("loss", "lsgan"): {},
    ("loss", "wgan"): {},
    ("loss", "hinge"): {},
    ("loss", "relativistic"): {},
    ("regularizer", "gradient-penalty"): {},
    ("regularizer", "weight-clipping"): {},
    ("regularizer", "gdpp"): {},
}
# `lapgan` is checked below, with the only networks that it goes with.
LOSSES = sorted(name for kind, name in OPTIONS if kind == "loss")
SIZES = {"img_resolution": 8, "img_channels": 3}


def find(kind: str, name: str):
    (entry,) = (e for e in registered(ganzoo_classic) if (e.kind, e.name) == (kind, name))
    return entry


def test_every_component_is_checked():
    elsewhere = {("loss", "lapgan"), ("importer", "dcgan")}
    assert {(entry.kind, entry.name) for entry in registered(ganzoo_classic)} == OPTIONS.keys() | elsewhere


@pytest.mark.parametrize("c_dim", [0, 3])
@pytest.mark.parametrize(("kind", "name"), OPTIONS)
def test_contract(kind, name, c_dim):
    check_component(find(kind, name), c_dim=c_dim, **OPTIONS[kind, name])


@pytest.mark.parametrize("c_dim", [0, 3])
def test_lapgan_loss(c_dim):
    G = LAPGANGenerator(**SIZES, c_dim=c_dim, base_resolution=2, base_z_dim=4, hidden_dim=8, ngf=4)
    D = LAPGANDiscriminator(**SIZES, c_dim=c_dim, base_resolution=2, hidden_dim=8, ndf=4)
    check_loss(find("loss", "lapgan").cls, players=(G, D))


@pytest.mark.parametrize("resolution", [8, 32])
def test_dcgan_of_other_sizes(resolution):
    check_generator(Generator, {"z_dim": 4, "ngf": 2, "fmap_max": 8}, img_resolution=resolution, img_channels=1)
    check_discriminator(Discriminator, {"ndf": 2, "fmap_max": 8}, img_resolution=resolution, img_channels=1)


@pytest.mark.parametrize(
    "args", [{"norm": "layer"}, {"norm": "none"}, {"aux": True}, {"norm": "none", "mbdisc_kernels": 3}]
)
def test_options_of_dcgan(args):
    alone = "mbdisc_kernels" not in args
    check_discriminator(Discriminator, {"ndf": 8, **args}, c_dim=2, minibatch_statistics=not alone)


@pytest.mark.parametrize("args", [{"pieces": 1}, {"aux": True}, {"hidden_layers": 3, "dropout": 0.0}])
def test_options_of_mlp(args):
    check_discriminator(MLPDiscriminator, {"hidden_dim": 16, **args}, c_dim=2)


@pytest.mark.parametrize("aux", [False, True])
@pytest.mark.parametrize("networks", ["dcgan", "mlp"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_with_these_networks(name, networks, aux):
    if networks == "dcgan":
        players = Generator(**SIZES, c_dim=2, z_dim=8, ngf=8), Discriminator(**SIZES, c_dim=2, ndf=8, aux=aux)
    else:
        players = (
            MLPGenerator(**SIZES, c_dim=2, z_dim=8, hidden_dim=16),
            MLPDiscriminator(**SIZES, c_dim=2, hidden_dim=16, aux=aux),
        )
    check_loss(find("loss", name).cls, players=players)


def test_double_backward_through_batch_norm_in_bf16():
    """R1 with DCGAN's D under autocast: gradients of gradients of a batch norm whose input is bfloat16."""
    torch.manual_seed(0)
    D = Discriminator(c_dim=0, img_resolution=16, img_channels=3, ndf=8)
    img = torch.randn(4, 3, 16, 16, requires_grad=True)
    growth = GrowthState(16, 1.0, batch_size=4, g_lr=0.001, d_lr=0.001)
    penalties = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            score = D(img, growth=growth).sum()
        (gradient,) = torch.autograd.grad(score, img, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), D.convs[1].weight)
        penalties.append(second)
    assert (penalties[1] - penalties[0]).norm() < 0.1 * penalties[0].norm()
