"""Everything that the plugin registers keeps the contracts of ganzoo.interfaces."""

from __future__ import annotations

import pytest

import ganzoo_translation
from ganzoo.testing import check_component, check_discriminator, check_loss, check_regularizer, registered
from ganzoo_translation import cyclegan, pix2pix
from ganzoo_translation.patchgan import Discriminator

SIZES = {"in_channels": 1, "img_channels": 3, "c_dim": 0, "img_resolution": 16}
SAME = SIZES | {"in_channels": 3}  # identity terms need it
PIX2PIX = pix2pix.Generator(**SIZES, ngf=4), Discriminator(**SIZES, ndf=4, n_layers=1, conditional=True)
CYCLEGAN = cyclegan.Generator(**SAME, ngf=4, n_blocks=1), cyclegan.Discriminator(**SAME, ndf=4, n_layers=1)

OPTIONS = {
    ("generator", "cyclegan"): {"args": {"ngf": 4, "n_blocks": 2}, "in_channels": 1},
    ("generator", "pix2pix"): {"args": {"ngf": 4}, "in_channels": 4, "img_channels": 1},
    ("discriminator", "patchgan"): {"args": {"ndf": 4, "n_layers": 2}},
    ("discriminator", "cyclegan"): {"args": {"ndf": 4, "n_layers": 2}},
    ("loss", "cyclegan"): {"players": CYCLEGAN},
    ("loss", "pix2pix"): {"players": PIX2PIX},
    ("regularizer", "l1"): {"players": PIX2PIX},
    ("degradation", "super-resolution"): {},
    ("degradation", "grey"): {"channels": (3, 4)},
    ("degradation", "inpaint"): {},
    ("degradation", "sketch"): {},
}


def find(kind: str, name: str):
    (entry,) = (e for e in registered(ganzoo_translation) if (e.kind, e.name) == (kind, name))
    return entry


def test_every_component_is_checked():
    found = {(entry.kind, entry.name) for entry in registered(ganzoo_translation) if entry.kind != "importer"}
    assert found == OPTIONS.keys()


class SideB(cyclegan.Discriminator):
    """The half that other losses ask; the other half is at rest with them."""

    def __init__(self, *, in_channels: int, c_dim: int, img_resolution: int, img_channels: int) -> None:
        super().__init__(
            in_channels=in_channels, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels,
            ndf=4, n_layers=2,
        )  # fmt: skip
        del self.D_a


@pytest.mark.parametrize(("kind", "name"), OPTIONS)
def test_contract(kind, name):
    if (kind, name) == ("discriminator", "cyclegan"):
        check_discriminator(SideB)
    else:
        check_component(find(kind, name), **OPTIONS[kind, name])


@pytest.mark.parametrize(
    "args",
    [
        {"network": "resnet", "n_blocks": 1},
        {"network": "resnet", "n_blocks": 1, "norm": "instance", "dropout": False},
        {"num_downs": 2, "norm": "none"},
        {"norm": "instance"},
    ],
    ids=str,
)
def test_options_of_pix2pix(args):
    check_component(find("generator", "pix2pix"), args={"ngf": 4, **args}, c_dim=2)


def test_pix2pix_that_fills_holes():
    check_component(find("generator", "pix2pix"), args={"ngf": 4, "fill": True}, in_channels=4, img_channels=3)


def test_cyclegan_of_unets():
    check_component(find("generator", "cyclegan"), args={"network": "unet", "ngf": 4, "norm": "batch"})


@pytest.mark.parametrize(
    "args",
    [
        {"conditional": True},
        {"n_layers": 0},
        {"n_layers": 0, "norm": "none", "conditional": True},
        {"n_layers": 1, "norm": "instance"},
    ],
    ids=str,
)
def test_options_of_patchgan(args):
    check_discriminator(Discriminator, {"n_layers": 2, "ndf": 4, **args}, c_dim=2, in_channels=1)


@pytest.mark.parametrize("mode", ["lsgan", "vanilla"])
def test_modes_and_options_of_losses(mode):
    check_loss(cyclegan.Loss, {"mode": mode, "identity": 0.0, "pool_size": 2}, players=CYCLEGAN)
    check_loss(pix2pix.Loss, {"mode": mode, "l1_weight": 0.0}, players=PIX2PIX)
    alone = Discriminator(**SIZES, ndf=4, n_layers=1)
    check_loss(pix2pix.Loss, {"mode": mode}, players=(PIX2PIX[0], alone))
    check_regularizer(pix2pix.L1, {"every": 4}, players=(PIX2PIX[0], alone))


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("super-resolution", {"factor": 3, "enlarge": "nearest"}),
        ("super-resolution", {"factor": 64, "enlarge": "bilinear"}),
        ("inpaint", {"holes": 3, "mask": True}),
        ("sketch", {"method": "dog", "strength": 2.0}),
    ],
    ids=str,
)
def test_options_of_degradations(name, args):
    small = args.get("factor") == 64  # one colour is left of 8 or 32 px
    check_component(find("degradation", name), args=args, resolutions=(128,) if small else (8, 32))
