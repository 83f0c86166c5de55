"""Equality with the authors' code: images, scores, losses, gradients, and an iteration of both players."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from ganzoo import Batch, GrowthState
from ganzoo_translation import cyclegan, pix2pix
from ganzoo_translation.adversarial import d_fake, d_real
from ganzoo_translation.networks import ResNet, UNet
from ganzoo_translation.patchgan import Discriminator, Patches


def resnet_name(name: str, n_blocks: int) -> str:
    """model.1.weight and so on: the reference numbers layers, norms, activations and padding in order of execution."""
    number, rest = re.fullmatch(r"model\.(\d+)\.(.+)", name).groups()
    number = int(number)
    if 10 <= number < 10 + n_blocks:
        inner, rest = re.fullmatch(r"conv_block\.(\d)\.(\w+)", rest).groups()
        layer = {"1": "convs.0", "2": "norms.0", "5": "convs.1", "6": "norms.1"}[inner]
        return f"blocks.{number - 10}.{layer}.{rest}"
    layer = {1: "first", 4: "down.0", 7: "down.1", 10: "up.0", 13: "up.1", 17: "last"}
    return f"{layer[number - (n_blocks if number >= 10 else 0)]}.{rest}"


def unet_name(name: str, num_downs: int) -> str:
    """Blocks within blocks: model.model, then .1.model for the second and .3.model for each further one."""
    path, number, rest = re.fullmatch(r"model\.model((?:\.[13]\.model)*)\.(\d)\.(\w+)", name).groups()
    depth = path.count("model")
    layers = ["", "down", "down_norm", "", "", "up", "up_norm"]
    if depth == 0:
        layers = ["down", "", "", "up"]
    elif depth == num_downs - 1:
        layers = ["", "down", "", "up", "up_norm"]
    return f"{layers[int(number)]}.{depth}.{rest}"


def patches_name(name: str, convs: int) -> str:
    number, rest = re.fullmatch(r"(?:model|net)\.(\d+)\.(\w+)", name).groups()
    number = int(number)
    if number == 0:
        return f"convs.0.{rest}"
    if number == 3 * convs - 1:
        return f"out.{rest}"
    layer, kind = divmod(number - 2, 3)  # conv, norm, leaky
    return f"{['convs', 'norms'][kind]}.{layer + 1}.{rest}"


def our_name(net: nn.Module, name: str) -> str:
    if isinstance(net, ResNet):
        return resnet_name(name, len(net.blocks))
    if isinstance(net, UNet):
        return unet_name(name, len(net.down))
    return patches_name(name, len(net.convs))


def load(net: nn.Module, weights: dict[str, Tensor]) -> None:
    net.load_state_dict({our_name(net, name): x for name, x in weights.items()})


def growth_of(golden) -> GrowthState:
    return GrowthState(golden.resolution, 1.0, batch_size=len(golden["in/real_A"]), g_lr=0.0002, d_lr=0.0002)


def make_batch(golden) -> Batch:
    return Batch(golden["in/real_B"], None, golden["in/real_A"], None, growth_of(golden))


def sizes_of(golden) -> dict[str, int]:
    k = golden.meta["constructor"]
    sizes = {"in_channels": k["input_nc"], "img_channels": k["output_nc"]}
    return sizes | {"c_dim": 0, "img_resolution": golden.resolution}


def minimise(net: nn.Module, terms: dict[str, Tensor]) -> torch.optim.Adam:
    optimizer = torch.optim.Adam(net.parameters(), lr=0.0002, betas=(0.5, 0.999))
    torch.stack([term.mean() for term in terms.values()]).sum().backward()
    return optimizer


def check_gradients(net: nn.Module, reference: dict[str, Tensor], assert_near) -> None:
    assert len(reference) >= 4
    largest = max(x.abs().max() for x in reference.values())
    for name, x in reference.items():
        ours = net.get_parameter(our_name(net, name)).grad
        if x.abs().max() < 1e-5 * largest:  # a bias before a norm, which takes it out again: rounding
            assert ours.abs().max() < 1e-4 * largest, name
        else:
            assert_near(ours, x, 1e-3, f"gradient of {name}")


def check_step(net: nn.Module, before: dict, after: dict, gradients: dict, assert_near) -> None:
    """What the step changed. Adam's first step is lr * sign: where the gradient is rounding, so is the step."""
    checked = 0
    largest = max(x.abs().max() for x in gradients.values())
    for name, x in after.items():
        if "running" not in name and (gradients[name].abs() > 1e-3 * largest).any():
            clear = gradients[name].abs() > 1e-5 * largest
            step = net.get_parameter(our_name(net, name)).detach() - before[name]
            assert_near(step[clear], (x - before[name])[clear], 1e-3, f"step of {name}")
            checked += 1
    assert checked >= 3


def check_buffers(net: nn.Module, after: dict[str, Tensor], assert_near) -> None:
    for name, x in after.items():
        if "running" in name:
            assert_near(net.get_buffer(our_name(net, name)), x, 1e-4, name)


def same_mean(term: Tensor, reference: Tensor) -> None:
    torch.testing.assert_close(term.mean(), reference, rtol=1e-4, atol=1e-6)


@pytest.fixture
def pairs(golden) -> tuple[cyclegan.Generator, cyclegan.Discriminator]:
    """Their G_A is our G_ab; their D_A judges images of B and is our D_b."""
    k = golden.meta["constructor"]
    G = cyclegan.Generator(**sizes_of(golden), ngf=k["ngf"], n_blocks=6, norm=k["norm"])
    D = cyclegan.Discriminator(**sizes_of(golden), ndf=k["ndf"], n_layers=k["n_layers_D"], norm=k["norm"])
    for net, theirs in players_by_name(G, D):
        load(net, golden.under(f"w/{theirs}/"))
    return G, D


def players_by_name(G: cyclegan.Generator, D: cyclegan.Discriminator) -> list[tuple[nn.Module, str]]:
    return [(G.G_ab, "G_A"), (G.G_ba, "G_B"), (D.D_b, "D_A"), (D.D_a, "D_B")]


@pytest.mark.golden("cyclegan_resnet*")
def test_cyclegan_images_and_scores(golden, pairs, assert_near):
    (G, D), growth = pairs, growth_of(golden)
    a, b = golden["in/real_A"], golden["in/real_B"]
    with torch.no_grad():
        fake_b, fake_a = G(a, growth=growth), G.translate(b, direction="b2a", growth=growth)
        assert_near(fake_b, golden["out/fake_B"], 1e-4, "fake B")
        assert_near(fake_a, golden["out/fake_A"], 1e-4, "fake A")
        assert_near(G.translate(fake_b, direction="b2a", growth=growth), golden["out/rec_A"], 1e-4, "A again")
        assert_near(G.translate(fake_a, growth=growth), golden["out/rec_B"], 1e-4, "B again")
        assert_near(D(b, growth=growth), golden["out/D_A_real_B"], 1e-4, "D of B")
        assert_near(D(fake_b, growth=growth, side="b"), golden["out/D_A_fake_B"], 1e-4, "D of fake B")
        assert_near(D(a, growth=growth, side="a"), golden["out/D_B_real_A"], 1e-4, "D of A")


@pytest.mark.golden("cyclegan_resnet*")
def test_cyclegan_iteration(golden, pairs, assert_near):
    """The reference steps G first, and D on the images from before that step: here, both are asked before either."""
    (G, D), batch = pairs, make_batch(golden)
    k = golden.meta["constructor"]
    loss = cyclegan.Loss(
        mode=k["gan_mode"],
        lambda_a=k["lambda_A"],
        lambda_b=k["lambda_B"],
        identity=k["lambda_identity"],
        pool_size=k["pool_size"],
    )
    loss.check(G, D)
    d_terms = loss.d_loss(G, D, batch)
    same_mean(d_terms["real_b"] + d_terms["fake_b"], golden["loss/D_A"])
    same_mean(d_terms["real_a"] + d_terms["fake_a"], golden["loss/D_B"])
    d_adam = minimise(D, d_terms)
    D.requires_grad_(False)
    g_terms = loss.g_loss(G, D, batch)
    for ours, theirs in (
        ("fake_b", "G_A"),
        ("fake_a", "G_B"),
        ("cycle_a", "cycle_A"),
        ("cycle_b", "cycle_B"),
        ("identity_b", "idt_A"),
        ("identity_a", "idt_B"),
    ):
        same_mean(g_terms[ours], golden[f"loss/{theirs}"])
    same_mean(torch.stack([term.mean() for term in g_terms.values()]).sum(), golden["loss/G"])
    g_adam = minimise(G, g_terms)
    g_adam.step(), d_adam.step()
    for net, name in players_by_name(G, D):
        gradients = golden.under(f"grad/{'G' if name[0] == 'G' else name}/{name}/")
        check_gradients(net, gradients, assert_near)
        check_step(net, golden.under(f"w/{name}/"), golden.under(f"after/{name}/"), gradients, assert_near)


@pytest.mark.golden("cyclegan_losses*")
def test_losses_and_discriminators(golden, assert_near):
    pred = golden["in/pred"]
    for mode in ("lsgan", "vanilla"):
        same_mean(d_real(pred, mode), golden[f"loss/{mode}_real"])
        same_mean(d_fake(pred, mode), golden[f"loss/{mode}_fake"])
    pixel = Patches(3, n_layers=0, ndf=6, norm="instance")
    load(pixel, golden.under("w/pixel/"))
    two = Patches(3, n_layers=2, ndf=6, norm="batch").eval()
    load(two, golden.under("w/nlayer2_batch/"))
    x, y = golden["in/x"], golden["in/y"]
    assert_near(pixel(x), golden["out/pixel"], 1e-4, "pixels")
    assert_near(two(x), golden["out/nlayer2_batch_eval"], 1e-4, "two layers")

    # The reference's penalty is of the gradient of the sum over all pixels.
    t = golden["in/gp_eps"][:, :, None, None]
    mixed = (t * x + (1 - t) * y).requires_grad_()
    (gradient,) = torch.autograd.grad(pixel(mixed).sum(), mixed)
    penalty = ((gradient.flatten(1) + 1e-16).norm(dim=1) - 1).square() * 10
    same_mean(penalty, golden["loss/gradient_penalty_pixel"])


@pytest.fixture
def players(golden) -> tuple[pix2pix.Generator, Discriminator]:
    k = golden.meta["constructor"]
    options = {"norm": k["norm"], "num_downs": k["num_downs"], "dropout": k["use_dropout"]}
    G = pix2pix.Generator(**sizes_of(golden), ngf=k["ngf"], **options)
    D = Discriminator(**sizes_of(golden), ndf=k["ndf"], n_layers=k["n_layers_D"], norm=k["norm"], conditional=True)
    load(G.body, golden.under("w/G/"))
    load(D.patches, golden.under("w/D/"))
    return G, D


@pytest.mark.golden("pix2pix_*")
def test_pix2pix_images_and_scores(golden, players, assert_near):
    (G, D), batch = players, make_batch(golden)
    with torch.no_grad():
        G.eval(), D.eval()
        assert_near(G(batch.z, growth=batch.growth), golden["out/fake_B_eval"], 1e-4, "image in eval mode")
        scores = D(batch.real, growth=batch.growth, source=batch.z)
        assert_near(scores, golden["out/D_real_eval"], 1e-4, "scores")
        G.train()
        assert_near(G(batch.z, growth=batch.growth), golden["out/fake_B_train"], 1e-4, "image in training mode")


@pytest.mark.golden("pix2pix_*")
def test_pix2pix_iteration(golden, players, assert_near):
    (G, D), batch = players, make_batch(golden)
    k = golden.meta["constructor"]
    loss = pix2pix.Loss(paired=True, mode=k["gan_mode"], l1_weight=k["lambda_L1"])
    loss.check(G, D)
    gradients = golden.under("grad/G/G/"), golden.under("grad/D_plus_nothing/D/")
    before = {name: buffer.clone() for name, buffer in G.named_buffers()}
    terms = loss.d_loss(G, D, batch)
    for name, buffer in G.named_buffers():  # the reference runs G once an iteration, for both players
        buffer.copy_(before[name])
    same_mean(2 * terms["fake"], golden["loss/D_fake"])
    same_mean(2 * terms["real"], golden["loss/D_real"])
    optimizer = minimise(D, terms)
    check_gradients(D.patches, gradients[1], assert_near)
    optimizer.step()

    D.requires_grad_(False)
    terms = loss.g_loss(G, D, batch)
    same_mean(terms["fake"], golden["loss/G_GAN"])
    same_mean(terms["l1"], golden["loss/G_L1"])
    optimizer = minimise(G, terms)
    check_gradients(G.body, gradients[0], assert_near)
    optimizer.step()
    for net, name, gradient in ((G.body, "G", gradients[0]), (D.patches, "D", gradients[1])):
        after = golden.under(f"after/{name}/")
        check_step(net, golden.under(f"w/{name}/"), after, gradient, assert_near)
        check_buffers(net, after, assert_near)


@pytest.mark.golden("pix2pix_*")
def test_l1_regularizer(golden, players):
    (G, D), batch = players, make_batch(golden)
    l1 = pix2pix.L1(paired=True, weight=golden.meta["constructor"]["lambda_L1"])
    l1.check(G, D)
    same_mean(l1.terms(G, D, batch)["l1"], golden["loss/G_L1"])
