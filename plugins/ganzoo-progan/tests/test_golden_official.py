"""Equality with the authors' TensorFlow code (tkarras/progressive_growing_of_gans), weights in its own layout."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganzoo import Batch, GrowthState
from ganzoo.training.ema import update_ema
from ganzoo_progan import losses
from ganzoo_progan.growth import FadeSchedule
from ganzoo_progan.losses import WGANGPLoss, gradient_norms
from ganzoo_progan.networks import Discriminator, Generator

OURS = {"Conv0_up": "conv0", "Conv1_down": "conv1", "Conv0": "conv0", "Conv1": "conv1", "Conv": "conv"}


def from_tf(name: str, x: Tensor, resolution: int) -> tuple[str, Tensor]:
    """A tensor of the official code under our name and in our layout. Gradients are laid out like their weights."""
    if rgb := re.fullmatch(r"(To|From)RGB_lod(\d+)/(\w+)", name):
        side, lod, kind = rgb.groups()
        ours = f"{side.lower()}_rgb.{resolution >> int(lod)}.{kind}"
    else:
        size, layer, kind = re.fullmatch(r"(\d+)x\d+/(\w+)/(\w+)", name).groups()
        if (layer, kind) == ("Dense", "bias"):
            return "blocks.4.bias", x
        ours = f"blocks.{size}.{OURS.get(layer, layer.lower())}.{kind}"
    if name.endswith("Conv0_up/weight"):  # a transposed convolution: [kh, kw, out, in], spatially flipped
        return ours, x.flip(0, 1).permute(2, 3, 0, 1)
    if x.ndim == 4:
        return ours, x.permute(3, 2, 0, 1)
    return ours, x.T if x.ndim == 2 else x


def load(net: nn.Module, golden, side: str) -> nn.Module:
    weights = dict(from_tf(name, x, golden.resolution) for name, x in golden.under(f"w/{side}/").items())
    net.load_state_dict({name: x.contiguous() for name, x in weights.items()})  # strict: every tensor, no other
    return net


@pytest.fixture
def players(golden) -> tuple[Generator, Discriminator]:
    g, d = golden.meta["constructor"]["G"], golden.meta["constructor"]["D"]
    shared = {"img_resolution": golden.resolution, "img_channels": g["num_channels"], "c_dim": g["label_size"]}
    G = Generator(**shared, z_dim=g["latent_size"], fmap_base=g["fmap_base"], fmap_max=g["fmap_max"])
    D = Discriminator(
        **shared,
        fmap_base=d["fmap_base"],
        fmap_max=d["fmap_max"],
        fused_scale=d["fused_scale"],
        mbstd_group_size=d["mbstd_group_size"],
    )
    return load(G, golden, "G"), load(D, golden, "D")


@pytest.fixture
def loss(golden) -> WGANGPLoss:
    k = golden.meta["loss_kwargs"]
    return WGANGPLoss(
        gp_weight=k["wgan_lambda"],
        drift_weight=k["wgan_epsilon"],
        target=k["wgan_target"],
        ac_weight=k["cond_weight"],
    )


def make_batch(golden, lod: float, z: str) -> Batch:
    tensors = golden.tensors
    return Batch(golden.real(lod), tensors.get("in/label_real"), golden[z], tensors.get("in/label"), golden.growth(lod))


def lods_with_losses(golden) -> list[float]:
    return [lod for lod in golden.meta["lods"] if f"loss/D_lod{lod}_mean" in golden.tensors]


def total(terms: dict[str, Tensor]) -> Tensor:
    return sum(term.mean() for term in terms.values())


def check_gradients(net: nn.Module, golden, prefix: str, assert_near) -> None:
    reference = dict(from_tf(name, x, golden.resolution) for name, x in golden.under(prefix).items())
    assert reference, f"no gradients recorded under {prefix}"
    for name, parameter in net.named_parameters():
        if name not in reference:  # big items record a part of their gradients
            continue
        if parameter.grad is None:  # a layer that is not in use yet, which the reference multiplies by zero
            assert not reference[name].any(), name
        else:
            assert_near(parameter.grad, reference[name], 1e-3, name)


@pytest.mark.golden("progan_official_r*")
def test_images_and_scores(golden, players, assert_near):
    G, D = players
    for lod in golden.meta["lods"]:
        growth = golden.growth(lod)
        with torch.no_grad():
            img = G(golden["in/z"], golden.tensors.get("in/label"), growth=growth)
            fake, real = D(img, growth=growth), D(golden.real(lod), growth=growth)
        assert_near(golden.at_final_size(img), golden[f"out/image_lod{lod}"], 1e-4, f"image, lod {lod}")
        # Per element: a wrong minibatch-stddev grouping moves scores by as little as 0.4 %.
        torch.testing.assert_close(fake[:, :1], golden[f"out/D_fake_lod{lod}"], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(real[:, :1], golden[f"out/D_real_lod{lod}"], rtol=1e-4, atol=1e-6)
        if D.aux_dim:
            assert_near(real[:, 1:], golden[f"out/D_real_labels_lod{lod}"], 1e-4, f"labels, lod {lod}")


@pytest.mark.golden("progan_official_r*")
def test_d_loss_and_its_gradients(golden, players, loss, assert_near, monkeypatch):
    G, D = players
    mixing = golden["in/mixing_factors"].reshape(-1)
    monkeypatch.setattr(losses.torch, "rand", lambda *shape, **kwargs: mixing)
    for lod in lods_with_losses(golden):
        terms = loss.d_loss(G, D, make_batch(golden, lod, "in/z"))
        D.zero_grad()
        total(terms).backward()

        recorded = golden.under(f"loss/D_lod{lod}_Loss_")
        assert_near(-terms["real"], recorded["real_scores"][:, 0], 1e-4, "real scores")
        assert_near(terms["fake"], recorded["fake_scores"][:, 0], 1e-4, "fake scores")
        # The reference records the components before their weights.
        penalty = (recorded["mixed_norms"] - loss.target) ** 2
        assert_near(terms["gp"] * loss.target**2 / loss.gp_weight, penalty, 1e-3, "gradient penalty")
        assert_near(terms["drift"] / loss.drift_weight, recorded["epsilon_penalty"][:, 0], 1e-3, "drift")
        if D.aux_dim:
            assert_near(terms["ac_real"], recorded["label_penalty_reals"], 1e-3, "label term of reals")
            assert_near(terms["ac_fake"], recorded["label_penalty_fakes"], 1e-3, "label term of fakes")
        assert_near(total(terms), golden[f"loss/D_lod{lod}_mean"], 1e-3, "D loss")
        check_gradients(D, golden, f"grad/D_lod{lod}_mean/D/", assert_near)
        assert all(p.grad is None for p in G.parameters())


@pytest.mark.golden("progan_official_r*")
def test_gradient_norms(golden, players, assert_near):
    G, D = players
    for lod in lods_with_losses(golden):
        batch = make_batch(golden, lod, "in/z")
        fake = G(batch.z, batch.c, growth=batch.growth)
        norms = gradient_norms(D, batch.real, fake, golden["in/mixing_factors"], growth=batch.growth)
        assert_near(norms, golden[f"loss/D_lod{lod}_Loss_mixed_norms"], 1e-3, "norms")


@pytest.mark.golden("progan_official_r*")
def test_g_loss_and_its_gradients(golden, players, loss, assert_near):
    G, D = players
    for lod in lods_with_losses(golden):
        terms = loss.g_loss(G, D, make_batch(golden, lod, "in/z2"))
        G.zero_grad()
        total(terms).backward()
        assert_near(total(terms), golden[f"loss/G_lod{lod}_mean"], 1e-3, "G loss")
        check_gradients(G, golden, f"grad/G_lod{lod}_mean/G/", assert_near)


@pytest.mark.golden("progan_official_process_reals*")
def test_process_reals(golden, assert_near):
    schedule = FadeSchedule(img_resolution=32, stable_kimg=1, fade_kimg=1, batch_size=4)
    inputs = golden.under("in/x_lod")
    assert inputs
    for lod, real in inputs.items():
        reference = golden[f"out/y_lod{lod}"]
        growth = GrowthState(real.shape[-1], 1 - float(lod) % 1, len(real), 0.001, 0.001)
        scaled = real / 127.5 - 1  # the official function starts from pixel values
        ours = F.interpolate(schedule.process_reals(scaled, growth), size=reference.shape[-2:], mode="nearest")
        assert_near(ours, reference, 1e-6, f"lod {lod}")


# The official repository records no optimiser step; pytorch_GAN_zoo does, with the same Adam and the same average.
@pytest.mark.golden("progan_pgz_*")
def test_one_adam_step(golden, assert_near):
    gradients = golden.under("grad/D_total_sum/D/")
    after = golden.under("after/D/")
    names = gradients.keys() & after.keys()
    assert names
    weights = {name: nn.Parameter(golden[f"w/D/{name}"].clone()) for name in names}
    for name, weight in weights.items():
        weight.grad = gradients[name]
    torch.optim.Adam(weights.values(), lr=0.001, betas=(0.0, 0.99), eps=1e-8).step()
    for name in names:
        assert_near(weights[name], after[name], 1e-5, name)


@pytest.mark.golden("progan_pgz_*")
def test_moving_average(golden, assert_near):
    after, averages = golden.under("after/G/"), golden.under("after/avgG/")
    names = after.keys() & averages.keys()
    assert names
    for name in names:
        G, G_ema = nn.Linear(1, 1), nn.Linear(1, 1)
        G.weight, G_ema.weight = nn.Parameter(after[name]), nn.Parameter(golden[f"w/avgG/{name}"].clone())
        update_ema(G_ema, G, 0.999)
        assert_near(G_ema.weight, averages[name], 1e-6, name)
