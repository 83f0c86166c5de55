"""Equality with genforce's PyTorch port of the same networks, at every level of detail that it records."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from ganzoo_progan.layers import pixel_norm
from ganzoo_progan.losses import gradient_norms
from ganzoo_progan.networks import Discriminator, Generator

LAYERS_PER_BLOCK = 2


def from_genforce(side: str, name: str, x: Tensor, resolution: int, fused: bool) -> tuple[str, Tensor]:
    """A tensor of theirs (numbered in order of execution) under our name and in our layout."""
    group, number, kind = re.fullmatch(r"(layer|input|output)(\d+)\.(weight|bias)", name).groups()
    number = int(number)
    if group == "output":
        return f"to_rgb.{4 << number}.{kind}", x
    if group == "input":
        return f"from_rgb.{resolution >> number}.{kind}", x
    if side == "D":
        size = resolution >> min(number // LAYERS_PER_BLOCK, resolution.bit_length() - 3)
        first_of_last = LAYERS_PER_BLOCK * (resolution.bit_length() - 3)
        layer = ["conv", "dense0", "dense1"][number - first_of_last] if size == 4 else f"conv{number % 2}"
        return f"blocks.{size}.{layer}.{kind}", x
    size = 4 << (number // LAYERS_PER_BLOCK)
    if number == 0:  # a 4x4 convolution of a 1x1 map: the dense layer, spatially flipped
        if kind == "bias":
            return "blocks.4.bias", x
        return "blocks.4.dense.weight", x.flip(2, 3).permute(0, 2, 3, 1).flatten(0, 2)
    if number == 1:
        return f"blocks.4.conv.{kind}", x
    if fused and number % 2 == 0 and kind == "weight":  # a transposed convolution: [in, out, kh, kw], flipped
        x = x.permute(1, 0, 2, 3).flip(2, 3)
    return f"blocks.{size}.conv{number % 2}.{kind}", x


def translate(golden, side: str, prefix: str) -> dict[str, Tensor]:
    fused = golden.meta["constructor"]["fused_scale"]
    return dict(
        from_genforce(side, name, x, golden.resolution, fused)
        for name, x in golden.under(prefix).items()
        if name != "lod"
    )


@pytest.fixture
def players(golden) -> tuple[Generator, Discriminator]:
    k = golden.meta["constructor"]
    assert k["fused_scale"] in (True, False)
    shared = {"img_resolution": k["resolution"], "img_channels": k.get("image_channels", 3), "c_dim": k["label_size"]}
    shared |= {"fmap_base": k["fmaps_base"] // 2, "fmap_max": k["fmaps_max"]}  # theirs counts from 1 px, ours from 2 px
    G = Generator(**shared, z_dim=k["z_space_dim"])
    D = Discriminator(**shared, fused_scale=k["fused_scale"], mbstd_group_size=k["minibatch_std_group_size"])
    for side, net in (("G", G), ("D", D)):
        net.load_state_dict({name: x.contiguous() for name, x in translate(golden, side, f"w/{side}/").items()})
    return G, D


def latents(golden) -> tuple[Tensor, Tensor | None]:
    """genforce normalises z before it concatenates the labels and once more after; the official code only after."""
    label = golden.tensors.get("in/label")
    return (golden["in/z"] if label is None else pixel_norm(golden["in/z"])), label


@pytest.mark.golden("progan_genforce_*")
def test_images_and_scores(golden, players, assert_near):
    G, D = players
    for lod in golden.meta["lods"]:
        growth = golden.growth(lod)
        with torch.no_grad():
            img = G(*latents(golden), growth=growth)
            fake, real = D(img, growth=growth), D(golden.real(lod), growth=growth)
        assert_near(golden.at_final_size(img), golden[f"out/image_lod{lod}"], 1e-4, f"image, lod {lod}")
        torch.testing.assert_close(fake, golden[f"out/D_fake_lod{lod}"], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(real, golden[f"out/D_real_lod{lod}"], rtol=1e-4, atol=1e-6)


@pytest.mark.golden("progan_genforce_*", having="loss/")
def test_losses_and_gradients(golden, players, assert_near):
    """The terms are written out here once more, so that this does not lean on our loss class."""
    G, D = players
    lods = [lod for lod in golden.meta["lods"] if f"loss/lod{lod}_D_total_mean" in golden.tensors]
    for lod in lods:
        growth = golden.growth(lod)
        real = golden.real(lod)
        fake = G(*latents(golden), growth=growth)
        real_score, fake_score = D(real, growth=growth)[:, 0], D(fake.detach(), growth=growth)[:, 0]
        norms = gradient_norms(D, real, fake, golden["in/gp_eps"], growth=growth)
        penalty = (norms - 1) ** 2
        d_loss = (fake_score - real_score + 10 * penalty + 0.001 * real_score**2).mean()

        recorded = golden.under(f"loss/lod{lod}_")
        assert_near(fake_score - real_score, recorded["wgan_per_sample"], 1e-3, "wgan")
        assert_near(norms, recorded["gp_norm_per_sample"], 1e-3, "norms")
        assert_near(penalty, recorded["gp_per_sample"], 1e-3, "penalty")
        assert_near(real_score**2, recorded["drift_per_sample"], 1e-3, "drift")
        assert_near(d_loss, recorded["D_total_mean"], 1e-3, "D loss")
        D.zero_grad()
        d_loss.backward()
        check_gradients(D, translate(golden, "D", f"grad/lod{lod}_D_total_mean/D/"), assert_near)

        g_loss = -D(fake, growth=growth)[:, 0].mean()
        G.zero_grad()
        g_loss.backward()
        assert_near(g_loss, recorded["G_mean"], 1e-3, "G loss")
        check_gradients(G, translate(golden, "G", f"grad/lod{lod}_G_mean/G/"), assert_near)


def check_gradients(net: nn.Module, reference: dict[str, Tensor], assert_near) -> None:
    assert reference
    ours = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    for name, gradient in reference.items():
        assert_near(ours[name], gradient, 1e-3, name)
