"""Everything that the plugin registers keeps the contracts of ganzoo.interfaces."""

from __future__ import annotations

import pytest
import torch

import ganzoo_biggan
from ganzoo import GrowthState
from ganzoo.testing import check_component, check_discriminator, check_generator, check_loss, registered
from ganzoo_biggan.networks import (
    Discriminator,
    Generator,
    SAGANDiscriminator,
    SAGANGenerator,
    SNGANDiscriminator,
    SNGANGenerator,
)

SMALL = {"args": {"z_dim": 8, "ch": 2}, "img_resolution": 8}
SMALL_D = {"args": {"ch": 2}, "img_resolution": 8}
OPTIONS = {
    ("generator", "biggan"): {"args": {"z_dim": 8, "ch": 2, "shared_dim": 4}, "img_resolution": 8},
    ("generator", "sagan"): {"args": {"z_dim": 8, "ch": 2, "attn_resolutions": [8]}, "img_resolution": 8},
    ("generator", "sngan"): SMALL,
    ("discriminator", "biggan"): SMALL_D,
    ("discriminator", "sagan"): {"args": {"ch": 2, "attn_resolutions": [8]}, "img_resolution": 16},
    ("discriminator", "sngan"): SMALL_D,
    ("loss", "biggan-hinge"): {},
    ("regularizer", "orthogonal"): {},
}


@pytest.mark.parametrize("c_dim", [0, 3])
@pytest.mark.parametrize(
    "entry",
    [entry for entry in registered(ganzoo_biggan) if entry.kind != "importer"],
    ids=lambda entry: f"{entry.kind} {entry.name}",
)
def test_contract(entry, c_dim):
    check_component(entry, c_dim=c_dim, **OPTIONS[entry.kind, entry.name])


@pytest.mark.parametrize("img_resolution", [16, 32, 64, 128, 256])
def test_every_resolution(img_resolution):
    """Attention, where it stands by default, needs 8 channels."""
    args = {"ch": 8 if img_resolution == 128 else 4, "init": "N02"}
    parts = {16: 3, 32: 4, 64: 5, 128: 6, 256: 7}[img_resolution]  # of the latent: one, and one a block
    sizes = {"img_resolution": img_resolution, "img_channels": 1, "c_dim": 2}
    G, D = Generator(**sizes, **args, z_dim=2 * parts, shared_dim=3), Discriminator(**sizes, **args)
    c = torch.eye(2)
    growth = GrowthState(img_resolution, 1.0, batch_size=2, g_lr=0.001, d_lr=0.001)
    img = G(torch.randn(2, 2 * parts), c, growth=growth)
    assert img.shape == (2, 1, img_resolution, img_resolution) and D(img, c, growth=growth).shape == (2, 1)
    assert set(G.attention) == ({"64"} if img_resolution >= 64 else set())
    assert len(D.attention) == (img_resolution >= 128)


@pytest.mark.parametrize(
    ("g_args", "million"),
    [
        ({"z_dim": 128, "shared_dim": None, "hierarchical": False}, 173.5),
        ({"hierarchical": False}, 160.6),
        ({}, 158.3),
    ],
)
def test_sizes_of_biggan_are_the_papers(g_args, million):
    """Parameters of both players for ImageNet at 128 px (Brock et al. 2019, table 1)."""
    sizes = {"img_resolution": 128, "img_channels": 3, "c_dim": 1000}
    with torch.device("meta"):
        players = Generator(**sizes, **g_args), Discriminator(**sizes)
    assert sum(p.numel() for net in players for p in net.parameters()) / 1e6 == pytest.approx(million, abs=0.15)


def test_sizes_of_sagan_and_sngan_are_the_papers():
    """SAGAN: 81.5 million in that table. SNGAN: feature maps (Miyato et al. 2018, appendix B.4)."""
    sizes = {"img_resolution": 128, "img_channels": 3, "c_dim": 1000}
    with torch.device("meta"):
        players = SAGANGenerator(**sizes), SAGANDiscriminator(**sizes)
        assert sum(p.numel() for net in players for p in net.parameters()) / 1e6 == pytest.approx(81.5, abs=0.05)
        sizes = {"img_resolution": 32, "img_channels": 3, "c_dim": 0}
        G, D = SNGANGenerator(**sizes), SNGANDiscriminator(**sizes, ch=32)
        wider = SNGANDiscriminator(**{**sizes, "img_resolution": 64}, ch=32)
    assert [block.conv2.weight.shape[:2] for block in G.blocks.values()] == [(256, 256)] * 3
    assert [block.conv2.weight.shape[:2] for block in D.blocks] == [(128, 128)] * 4
    # Hidden layers are as wide as what goes in, but for the image.
    assert [block.conv1.weight.shape[0] for block in wider.blocks] == [32, 32, 64, 128, 256]
    assert not any(name.endswith(".u") for name in G.state_dict())
    assert sum(name.endswith(".u") for name in D.state_dict()) == 4 * 2 + 2 + 1


@pytest.mark.parametrize("c_dim", [0, 3])
@pytest.mark.parametrize("args", [{"hierarchical": False}, {"shared_dim": None}, {"spectral_norm": False}])
def test_variants_of_the_generator(c_dim, args):
    check_generator(Generator, {"z_dim": 8, "ch": 2, **args}, img_resolution=8, img_channels=1, c_dim=c_dim)


@pytest.mark.parametrize("init", ["ortho", "N02", "xavier"])
def test_variants_of_the_discriminator(init):
    check_discriminator(Discriminator, {"ch": 2, "wide": False, "init": init}, img_resolution=8, c_dim=2)


def test_loss_with_these_networks():
    sizes = {"img_resolution": 8, "img_channels": 3, "c_dim": 2, "ch": 2}
    (entry,) = (e for e in registered(ganzoo_biggan) if e.kind == "loss")
    check_loss(entry.cls, players=(Generator(**sizes, z_dim=8), Discriminator(**sizes)))


def test_what_cannot_be_built_says_what_would_work():
    sizes = {"img_resolution": 32, "img_channels": 3, "c_dim": 0}
    with pytest.raises(ValueError, match=r"z_dim 10.*4 equal parts.*make it 8 or 12.*hierarchical: false"):
        Generator(**sizes, z_dim=10)
    with pytest.raises(ValueError, match=r"no block ends at 64 px, they end at 8, 16, 32 px"):
        Generator(**sizes, ch=2, attn_resolutions=[64])
    with pytest.raises(ValueError, match=r"no block ends at 8 px, they end at 16 px"):
        Discriminator(**sizes, ch=2, attn_resolutions=[8])
    with pytest.raises(ValueError, match=r"8 channels and has 4: raise ch"):
        Discriminator(**sizes, ch=1, attn_resolutions=[16])
    with pytest.raises(ValueError, match=r"48x48.*8, 16, 32, 64, 128, 256"):
        Discriminator(**{**sizes, "img_resolution": 48})
    for cls, args in ((Generator, {"z_dim": 4}), (Discriminator, {})):
        network = cls(**sizes, ch=2, **args)
        network.check_resolution(32)
        with pytest.raises(ValueError, match=r"32 px only.*16 px.*fixed"):
            network.check_resolution(16)


def test_labels_are_asked_for():
    sizes = {"img_resolution": 8, "img_channels": 3, "c_dim": 3, "ch": 2}
    growth = GrowthState(8, 1.0, batch_size=2, g_lr=0.001, d_lr=0.001)
    with pytest.raises(ValueError, match=r"3 classes"):
        Generator(**sizes, z_dim=4)(torch.randn(2, 4), growth=growth)
    with pytest.raises(ValueError, match=r"3 classes"):
        Discriminator(**sizes)(torch.randn(2, 3, 8, 8), growth=growth)
