"""Equality with the authors' PyTorch code (NVlabs/stylegan3, its StyleGAN2 networks and loss)."""

from __future__ import annotations

import re
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from ganzoo import Batch
from ganzoo_stylegan.losses import R1, LogisticLoss, PathLength, path_lengths, squared_gradient_norms
from ganzoo_stylegan.stylegan2 import Discriminator, Generator

OUTPUT = {"conv": "conv", "fc": "dense0", "out": "dense1"}


def generator_name(name: str) -> str | None:
    """Our name of a tensor of theirs; None for the constants that are no part of our weights."""
    if name.endswith("resample_filter"):
        return None
    if name == "mapping.w_avg":
        return "w_avg"
    if name.startswith("mapping."):
        return re.sub(r"^mapping\.(fc(?=\d))?", lambda m: f"mapping_network.{'layers.' if m[1] else ''}", name)
    resolution, layer = re.fullmatch(r"synthesis\.b(\d+)\.(.*)", name).groups()
    if layer.startswith("torgb."):
        return f"to_rgb.{resolution}.{layer.removeprefix('torgb.')}"
    if resolution == "4":
        return "const" if layer == "const" else f"conv4.{layer.removeprefix('conv1.')}"
    return f"blocks.{resolution}.{'skip' if layer == 'skip.weight' else layer}"


def discriminator_name(name: str) -> str | None:
    if name.endswith("resample_filter"):
        return None
    if name.startswith("mapping."):
        return generator_name(name)
    resolution, layer = re.fullmatch(r"b(\d+)\.(.*)", name).groups()
    if layer.startswith("fromrgb."):
        return f"from_rgb.{resolution}.{layer.removeprefix('fromrgb.')}"
    if resolution == "4":
        part, kind = layer.split(".")
        return f"output.{OUTPUT[part]}.{kind}"
    return f"blocks.{resolution}.{'skip' if layer == 'skip.weight' else layer}"


def translate(golden, side: str, prefix: str) -> dict[str, Tensor]:
    our_name = {"G": generator_name, "D": discriminator_name}[side]
    return {ours: x for name, x in golden.under(f"{prefix}/{side}/").items() if (ours := our_name(name)) is not None}


@pytest.fixture
def players(golden) -> tuple[Generator, Discriminator]:
    """In eval mode: the stored noise, no mixing."""
    g, d = golden.meta["constructor"]["G"], golden.meta["constructor"]["D"]
    sizes = {name: g[name] for name in ("c_dim", "img_resolution", "img_channels")}
    widths = {name: g[name] for name in ("channel_base", "channel_max", "conv_clamp")}
    assert all(d[name] == value for name, value in (sizes | widths).items())
    layers = g["mapping_kwargs"]["num_layers"]
    G = Generator(
        **sizes,
        **widths,
        z_dim=g["z_dim"],
        w_dim=g["w_dim"],
        mapping_layers=layers,
        architecture=g["architecture"],
    )
    D = Discriminator(**sizes, **widths, mapping_layers=layers, architecture=d["architecture"], **d["epilogue_kwargs"])
    for side, net in (("G", G), ("D", D)):
        net.load_state_dict(translate(golden, side, "w"))
    return G.eval(), D.eval()


def make_batch(golden) -> Batch:
    c = golden.tensors.get("in/c")
    return Batch(golden["in/real"], golden.tensors.get("in/c_real"), golden["in/z"], c, golden.growth(0.0))


@pytest.mark.golden("stylegan2_*")
@torch.no_grad()
def test_w_and_truncation(golden, players, assert_near):
    G, _ = players
    c = golden.tensors.get("in/c")
    w, w2 = (G.mapping(golden[name], c) for name in ("in/z", "in/z2"))
    assert_near(w, golden["out/w"], 1e-4, "w")
    assert_near(w2, golden["out/w2"], 1e-4, "w2")
    truncated = G.truncate(G.broadcast(w), golden.meta["truncation_psi"], golden.meta["truncation_cutoff"])
    assert_near(truncated, golden["out/ws_trunc"], 1e-4, "truncated w")


@pytest.mark.golden("stylegan2_*")
@torch.no_grad()
def test_images(golden, players, assert_near, monkeypatch):
    G, _ = players
    growth = golden.growth(0.0)
    ws, ws2 = (G.broadcast(golden[name]) for name in ("out/w", "out/w2"))
    cutoff = golden.meta["mix_cutoff"]
    mixed = torch.cat([ws[:, :cutoff], ws2[:, cutoff:]], dim=1)
    for name, styles, noise in [
        ("const", ws, "const"),
        ("none", ws, "none"),
        ("trunc", golden["out/ws_trunc"], "const"),
        (f"mix{cutoff}", mixed, "const"),
    ]:
        assert_near(G.synthesis(styles, growth=growth, noise=noise), golden[f"out/image_{name}"], 1e-4, name)

    recorded = [x for _, x in sorted(golden.under("in/noise_").items())]
    draws = iter(recorded)
    monkeypatch.setattr(torch, "randn", lambda *shape, **kwargs: next(draws))
    assert_near(G.synthesis(ws, growth=growth, noise="random"), golden["out/image_random"], 1e-4, "random noise")
    assert next(draws, None) is None and len(recorded) == G.num_ws - 1


@pytest.mark.golden("stylegan2_*")
@torch.no_grad()
def test_scores(golden, players):
    _, D = players
    batch = make_batch(golden)
    fake = D(golden["out/image_const"], batch.gen_c, growth=batch.growth)
    real = D(batch.real, batch.c, growth=batch.growth)
    torch.testing.assert_close(fake, golden["out/D_fake"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(real, golden["out/D_real"], rtol=1e-4, atol=1e-6)


@pytest.mark.golden("stylegan2_*")
def test_g_loss_and_its_gradients(golden, players, assert_near):
    G, D = players
    D.requires_grad_(False)
    terms = LogisticLoss().g_loss(G, D, make_batch(golden))
    assert_near(total(terms), golden["loss/Gmain/Loss_G_loss"].mean(), 1e-4, "G loss")
    total(terms).backward()
    check_gradients(G, translate(golden, "G", "grad/Gmain"), assert_near)


@pytest.mark.golden("stylegan2_*")
def test_d_loss_and_its_gradients(golden, players, assert_near):
    G, D = players
    terms = LogisticLoss().d_loss(G, D, make_batch(golden))
    assert_near(total(terms), golden["loss/Dmain/Loss_D_loss"].mean(), 1e-4, "D loss")
    total(terms).backward()
    check_gradients(D, translate(golden, "D", "grad/Dmain"), assert_near)
    assert all(p.grad is None for p in G.parameters())


@pytest.mark.golden("stylegan2_*")
def test_r1_and_its_gradients(golden, players, assert_near):
    G, D = players
    batch = make_batch(golden)
    norms = squared_gradient_norms(D, batch.real, c=batch.c, growth=batch.growth)
    assert_near(norms, golden["loss/Dreg/Loss_r1_penalty"], 1e-3, "squared norms")
    (penalty,) = R1(gamma=10.0, every=16).terms(G, D, batch).values()
    assert_near(penalty, golden["loss/Dreg/Loss_D_reg"], 1e-3, "R1")
    penalty.mean().backward()
    check_gradients(D, translate(golden, "D", "grad/Dreg"), assert_near)


@pytest.mark.golden("stylegan2_*")
def test_path_length_and_its_gradients(golden, players, assert_near):
    G, _ = players
    batch = make_batch(golden)
    n = len(batch.z) // int(golden["in/pl_batch_shrink"])
    regularizer = PathLength(weight=2.0, decay=0.01)
    regularizer.pl_mean.copy_(golden["in/pl_mean_before"])
    ws = G.broadcast(G.mapping(batch.z[:n], None if batch.gen_c is None else batch.gen_c[:n]))
    synthesis = partial(G.synthesis, growth=batch.growth, noise="const")
    penalty = regularizer.penalty(path_lengths(synthesis, ws, golden["in/pl_noise_unit"][:n]))
    assert_near(penalty, golden["loss/Greg/Loss_G_reg"], 1e-3, "path length")
    assert_near(penalty / 2, golden["loss/Greg/Loss_pl_penalty"], 1e-3, "path length without its weight")
    assert_near(regularizer.pl_mean, golden["after/pl_mean"], 1e-4, "running mean of lengths")
    penalty.mean().backward()
    check_gradients(G, translate(golden, "G", "grad/Greg"), assert_near)


@pytest.mark.golden("stylegan2_*")
def test_mean_of_w_after_a_training_pass(golden, players, assert_near):
    G, _ = players
    batch = make_batch(golden)
    G.train()(batch.z, batch.gen_c, growth=batch.growth)
    assert_near(G.w_avg, golden["after/G/mapping.w_avg"], 1e-5, "w_avg")
    assert not torch.allclose(G.w_avg, golden["w/G/mapping.w_avg"], rtol=1e-4)


def total(terms: dict[str, Tensor]) -> Tensor:
    return sum(term.mean() for term in terms.values())


def check_gradients(net: nn.Module, reference: dict[str, Tensor], assert_near) -> None:
    """Of the regularizers, the items of 32 px and more record no gradients of large weights."""
    parameters = dict(net.named_parameters())
    for name, gradient in reference.items():
        ours = parameters[name].grad
        assert_near(torch.zeros_like(gradient) if ours is None else ours, gradient, 1e-3, name)
    assert all(p.ndim == 4 or p.grad is None for name, p in parameters.items() if name not in reference)
