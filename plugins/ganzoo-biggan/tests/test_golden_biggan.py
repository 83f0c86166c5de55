"""Equality with BigGAN-PyTorch (ajbrock, by one of the paper's authors), weights carried over."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from torch import Tensor, nn

from ganzoo import Batch
from ganzoo.training.ema import update_ema
from ganzoo.training.loop import total_loss
from ganzoo_biggan.losses import JointHingeLoss, Orthogonal
from ganzoo_biggan.networks import Discriminator, Generator

OURS = {
    "linear.": "dense.",
    "output_layer.0.": "bn.",
    "output_layer.2.": "to_rgb.",
    ".conv_sc.": ".skip.",
    ".stored_": ".running_",
    ".u0": ".norm.u",
}


def from_reference(side: str, name: str, x: Tensor) -> tuple[str, Tensor]:
    """A tensor of theirs under our name and in our layout. Theirs numbers blocks, and attention is a part of one."""
    for theirs, ours in OURS.items():
        name = name.replace(theirs, ours)
    if block := re.match(r"blocks\.(\d+)\.(\d+)\.", name):
        number, part = int(block[1]), "attention" if block[2] == "1" else "blocks"
        name = f"{part}.{8 << number if side == 'G' else number}.{name[block.end() :]}"
    return name, x.flatten() if name.endswith(".u") else x


def translate(golden, side: str, prefix: str) -> dict[str, Tensor]:
    """Without their log of singular values."""
    tensors = {name: x for name, x in golden.under(prefix).items() if not name.endswith(".sv0")}
    return dict(from_reference(side, name, x) for name, x in tensors.items())


def attention(resolution: str) -> list[int]:
    return [int(r) for r in resolution.split("_") if r != "0"]


@pytest.fixture
def players(golden) -> tuple[Generator, Discriminator]:
    g, d = golden.meta["constructor"]["G"], golden.meta["constructor"]["D"]
    shared = {"img_resolution": golden.meta["resolution"], "img_channels": 3, "c_dim": g["n_classes"]}
    G = Generator(
        **shared,
        z_dim=g["dim_z"],
        ch=g["G_ch"],
        attn_resolutions=attention(g["G_attn"]),
        shared_dim=g["shared_dim"] if g["G_shared"] else None,
        hierarchical=g["hier"],
    )
    D = Discriminator(**shared, ch=d["D_ch"], attn_resolutions=attention(d["D_attn"]))
    for side, net in (("G", G), ("D", D)):
        net.load_state_dict({n: x.contiguous() for n, x in translate(golden, side, f"w/{side}/").items()})  # strict
    return G, D


def check_tensors(ours: dict[str, Tensor], reference: dict[str, Tensor], tolerance: float, assert_near) -> None:
    assert reference
    for name, x in reference.items():
        assert_near(ours[name], x, tolerance, name)


def check_gradients(net: nn.Module, reference: dict[str, Tensor], assert_near) -> None:
    """Biases in front of a batch normalisation have none: there, both are rounding errors."""
    ours = {name: p.grad for name, p in net.named_parameters()}
    largest = max(x.abs().max() for x in reference.values())
    for name, x in reference.items():
        if name.endswith("bias") and x.abs().max() < 1e-5 * largest:
            assert ours[name].abs().max() < 1e-5 * largest, name
        else:
            assert_near(ours[name], x, 1e-3, name)
    assert len(reference) > 2


@pytest.mark.golden("biggan_*")
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_images_and_scores(golden, players, assert_near, memory_format):
    G, D = (net.eval().to(memory_format=memory_format) for net in players)
    real = golden["in/real"].to(memory_format=memory_format)
    with torch.no_grad():
        fake = G(golden["in/z"], golden.labels("in/y"), growth=golden.growth)
        fake_score = D(fake, golden.labels("in/y"), growth=golden.growth)
        real_score = D(real, golden.labels("in/y_real"), growth=golden.growth)
    assert_near(fake, golden["out/image_eval"], 1e-4, "image")
    torch.testing.assert_close(fake_score, golden["out/D_fake_eval"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(real_score, golden["out/D_real_eval"], rtol=1e-4, atol=1e-6)
    check_tensors(G.state_dict(), translate(golden, "G", "w/G/"), 0, assert_near)  # no buffer has moved
    check_tensors(D.state_dict(), translate(golden, "D", "w/D/"), 0, assert_near)


@pytest.mark.golden("biggan_*")
def test_training_mode_and_its_buffers(golden, players, assert_near):
    G, D = players
    with torch.no_grad():
        img = G(golden["in/z"], golden.labels("in/y"), growth=golden.growth)
        score = D(golden["in/real"], golden.labels("in/y_real"), growth=golden.growth)
    assert_near(img, golden["out/image_train"], 1e-4, "image")
    torch.testing.assert_close(score, golden["out/D_real_train"], rtol=1e-4, atol=1e-6)
    for side, net in (("G", G), ("D", D)):
        after = translate(golden, side, f"after/one_{side}_forward/{side}/")
        assert after.keys() == dict(net.named_buffers()).keys()
        check_tensors(dict(net.named_buffers()), after, 1e-4, assert_near)


@pytest.mark.golden("biggan_*")
def test_step(golden, players, assert_near):
    """D's step, then G's on other latents through the D that it left, then the average: losses, gradients, weights."""
    G, D = players
    G_ema = copy.deepcopy(G)
    batch = Batch(golden["in/real"], golden.labels("in/y_real"), golden["in/z"], golden.labels("in/y"), golden.growth)
    loss = JointHingeLoss()
    opt_G, opt_D = (torch.optim.Adam(net.parameters(), lr=0.0002, betas=(0.0, 0.999), eps=1e-6) for net in (G, D))

    terms = loss.d_loss(G, D, batch)
    assert_near(terms["real"].mean(), golden["loss/D_hinge_real"], 1e-4, "real")
    assert_near(terms["fake"].mean(), golden["loss/D_hinge_fake"], 1e-4, "fake")
    total_loss(terms).backward()
    check_gradients(D, translate(golden, "D", "grad/D_hinge/D/"), assert_near)
    opt_D.step()

    D.requires_grad_(False)
    batch = Batch(batch.real, batch.c, golden["in/z_gstep"], golden.labels("in/y_gstep"), batch.growth)
    terms = loss.g_loss(G, D, batch)
    assert_near(terms["fake"], -golden["out/step_G_D_fake"][:, 0], 1e-4, "scores")
    assert_near(terms["fake"].mean(), golden["loss/G_hinge"], 1e-4, "G")
    total_loss(terms).backward()
    check_gradients(G, translate(golden, "G", "grad/G_hinge/G/"), assert_near)
    opt_G.step()
    update_ema(G_ema, G, 0.9999)

    steps = 0
    for side, net in (("G", G), ("D", D)):
        parameters = dict(net.named_parameters())
        for name, x in translate(golden, side, f"after/fullstep/{side}/").items():
            if name not in parameters:
                assert_near(net.state_dict()[name], x, 1e-4, name)
                continue
            # The first step is lr * g / (|g| + eps): of the order of lr, and sensitive where g is near eps.
            certain = parameters[name].grad.abs() > 1e-4
            off = (parameters[name].detach() - x).abs()[certain] / 0.0002
            assert (off < 0.02).all(), f"{name}: steps off by {off.max():.2e} of the learning rate"
            steps += len(off)
    assert steps > 100
    # Theirs averages buffers, too; core copies them.
    averages = translate(golden, "G", "after/fullstep/G_ema/")
    ours = dict(G_ema.named_parameters())
    check_tensors(ours, {name: x for name, x in averages.items() if name in ours}, 1e-6, assert_near)


@pytest.mark.golden("biggan_*")
def test_orthogonal_regularizer(golden, players, assert_near):
    """What their code adds to gradients is the gradient of our penalty."""
    G, D = players
    batch = Batch(golden["in/real"], None, golden["in/z"], None, golden.growth)
    total_loss(Orthogonal().terms(G, D, batch)).backward()
    check_gradients(G, translate(golden, "G", "grad/ortho_1e-4/G/"), assert_near)
    assert G.shared is None or G.shared.weight.grad is None
