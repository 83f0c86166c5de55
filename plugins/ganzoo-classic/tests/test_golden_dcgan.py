"""Equality with the DCGAN of pytorch/examples: images, scores, losses, gradients, and an iteration of both players."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

import ganzoo
from ganzoo import Batch
from ganzoo_classic.dcgan import Discriminator, Generator
from ganzoo_classic.losses import MinimaxLoss


def our_name(side: str, name: str) -> str:
    """main.0.weight and so on: they number convolutions, norms and activations in order of execution."""
    number, rest = re.fullmatch(r"main\.(\d+)\.(\w+)", name).groups()
    number = int(number)
    if side == "G":  # conv, norm, relu, four times; conv
        if number == 12:
            return f"to_rgb.{rest}"
        return f"{['convs', 'norms'][number % 3]}.{number // 3}.{rest}"
    if number == 0:  # conv, leaky; conv, norm, leaky, three times; conv
        return f"convs.0.{rest}"
    if number == 11:
        return f"out.{rest}"
    return f"{['convs', 'norms'][(number - 2) % 3]}.{(number - 2) // 3 + 1}.{rest}"


@pytest.fixture
def players(golden) -> tuple[Generator, Discriminator]:
    k = golden.meta["constructor"]
    shared = {"img_resolution": golden.resolution, "img_channels": k["nc"], "c_dim": 0}
    G = Generator(**shared, z_dim=k["nz"], ngf=k["ngf"])
    D = Discriminator(**shared, ndf=k["ndf"])
    for side, net in (("G", G), ("D", D)):
        net.load_state_dict({our_name(side, name): x for name, x in golden.under(f"w/{side}/").items()})
    return G, D


def make_batch(golden) -> Batch:
    return Batch(golden["in/real"], None, golden["in/z"].flatten(1), None, golden.growth(0.0))


def minimise(net: nn.Module, terms: dict[str, Tensor]) -> torch.optim.Adam:
    optimizer = torch.optim.Adam(net.parameters(), lr=0.0002, betas=(0.5, 0.999))
    torch.stack([term.mean() for term in terms.values()]).sum().backward()
    return optimizer


@pytest.mark.golden("dcgan_*")
def test_images_and_scores(golden, players, assert_near):
    G, D = players
    batch = make_batch(golden)
    with torch.no_grad():
        G.eval(), D.eval()
        assert_near(G(batch.z, growth=batch.growth), golden["out/image_eval"], 1e-4, "image in eval mode")
        real = D(batch.real, growth=batch.growth).sigmoid().flatten()  # the reference ends in a sigmoid
        torch.testing.assert_close(real, golden["out/D_real_eval"], rtol=1e-4, atol=1e-6)
        G.train(), D.train()
        img = G(batch.z, growth=batch.growth)
        assert_near(img, golden["out/image_train"], 1e-4, "image in training mode")
        for name, x in (("real", batch.real), ("fake", img)):
            score = D(x, growth=batch.growth).sigmoid().flatten()
            torch.testing.assert_close(score, golden[f"out/D_{name}_train"], rtol=1e-4, atol=1e-6)


@pytest.mark.golden("dcgan_*")
def test_one_iteration(golden, players, assert_near):
    """D's step, then G's through the new D. Not all parameters are on record, but some of every layer's kind."""
    G, D = players
    batch = make_batch(golden)
    loss: ganzoo.Loss = MinimaxLoss(saturating=False)

    terms = loss.d_loss(G, D, batch)
    for ours, theirs in (("real", "loss/D_real"), ("fake", "loss/D_fake")):
        torch.testing.assert_close(terms[ours].mean(), golden[theirs], rtol=1e-4, atol=1e-6)
    check_buffers(G, golden, "G", assert_near)  # the reference calls G once an iteration: now
    optimizer = minimise(D, terms)
    check_gradients(D, golden, "D", assert_near)
    optimizer.step()

    terms = loss.g_loss(G, D, batch)
    torch.testing.assert_close(terms["fake"].mean(), golden["loss/G_after_D_step"], rtol=1e-4, atol=1e-6)
    check_buffers(D, golden, "D", assert_near)
    D.zero_grad()
    G.zero_grad()
    optimizer = minimise(G, terms)
    check_gradients(G, golden, "G", assert_near)
    optimizer.step()
    for side, net in (("G", G), ("D", D)):
        check_step(net, golden, side, assert_near)


def check_gradients(net: nn.Module, golden, side: str, assert_near) -> None:
    reference = golden.under(f"grad/{side}/{side}/")
    assert len(reference) >= 4
    for name, gradient in reference.items():
        assert_near(net.get_parameter(our_name(side, name)).grad, gradient, 1e-3, f"gradient of {side} {name}")


def check_buffers(net: nn.Module, golden, side: str, assert_near) -> None:
    reference = {name: x for name, x in golden.under(f"after/{side}/").items() if "running" in name}
    assert len(reference) >= 6
    for name, x in reference.items():
        assert_near(net.get_buffer(our_name(side, name)), x, 1e-4, f"{side} {name}")


def check_step(net: nn.Module, golden, side: str, assert_near) -> None:
    """The difference that the step made, not what it was added to."""
    reference = {name: x for name, x in golden.under(f"after/{side}/").items() if "running" not in name}
    assert len(reference) >= 3
    for name, x in reference.items():
        before = golden[f"w/{side}/{name}"]
        assert_near(net.get_parameter(our_name(side, name)) - before, x - before, 1e-3, f"step of {side} {name}")
