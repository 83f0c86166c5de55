"""Losses and the gradient penalty against closed forms, on players whose scores and gradients are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import ganzoo
from ganzoo import Batch, GrowthState
from ganzoo_classic.dcgan import Discriminator, Generator
from ganzoo_classic.layers import MinibatchDiscrimination, append_labels
from ganzoo_classic.losses import HingeLoss, LSGANLoss, MinimaxLoss, RelativisticLoss, WassersteinLoss
from ganzoo_classic.mlp import Discriminator as MLPDiscriminator
from ganzoo_classic.mlp import Generator as MLPGenerator
from ganzoo_classic.regularizers import GradientPenalty, gradient_norms

GROWTH = GrowthState(resolution=4, alpha=1.0, batch_size=16, g_lr=0.001, d_lr=0.001)
SIZES = {"img_resolution": 8, "img_channels": 3}


class LabelDependent(ganzoo.Discriminator):
    """score = strength * sum of squares of the image + sum of the label: the gradient is 2 * strength * image.

    'patches' has four scores an image, which are that plus -1, 0, 0, 1; 'classes' has logits beside it.
    """

    def __init__(self, outputs: str = "score") -> None:
        super().__init__(c_dim=2, img_resolution=4, img_channels=1)
        self.strength = nn.Parameter(torch.tensor(0.3))
        self.outputs = outputs
        self.aux_dim = 2 if outputs == "classes" else 0

    def forward(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        assert growth is GROWTH
        score = self.strength * img.square().sum(dim=(1, 2, 3))[:, None] + (0 if c is None else c.sum(1, keepdim=True))
        if self.outputs == "patches":
            return score[:, :, None, None] + torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
        if self.outputs == "classes":
            return torch.cat([score, img[:, 0, 0, :2] * torch.tensor([4.0, -2.0])], dim=1)
        return score


class Flat(ganzoo.Generator):
    """Images of one value, a multiple of the first latent number plus the sum of the label."""

    def __init__(self) -> None:
        super().__init__(z_dim=2, c_dim=2, img_resolution=4, img_channels=1)
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, z: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        value = self.gain * z[:, :1] + (0 if c is None else c.sum(1, keepdim=True))
        return value[:, :, None, None].expand(-1, 1, 4, 4)


def make_batch() -> Batch:
    torch.manual_seed(0)
    real = torch.randn(4, 1, 4, 4) * torch.tensor([0.1, 0.5, 1.0, 2.0]).reshape(4, 1, 1, 1)
    c = torch.tensor([[-0.9, 0.2], [0.3, -0.4], [0.6, 0.1], [-0.5, 0.8]])
    z = torch.tensor([[3.0, 0.0], [1.2, 0.0], [0.0, 0.0], [-2.4, 0.0]])
    gen_c = torch.tensor([[-1.0, -0.5], [-0.2, -0.3], [0.5, -0.3], [0.4, 0.6]])
    return Batch(real, c, z, gen_c, GROWTH)


def known_scores(batch: Batch, labels: str, shifts: list[float]) -> tuple[Tensor, Tensor]:
    """Scores of real and generated images by hand, float64 [N, 1 or 4]. labels: those that fakes are made with."""
    c = getattr(batch, labels).double().sum(1)
    fake = 0.3 * 16 * (0.5 * batch.z[:, 0].double() + c) ** 2 + c
    real = 0.3 * batch.real.double().square().sum(dim=(1, 2, 3)) + batch.c.double().sum(1)
    offsets = torch.tensor(shifts, dtype=torch.float64)
    return real[:, None] + offsets, fake[:, None] + offsets


def log1pexp(x: Tensor) -> Tensor:
    return torch.log1p(torch.exp(x))


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


# loss -> (D's terms, G's terms) of float64 scores of real and generated images.
FORMS = {
    "minimax": (
        MinimaxLoss(),
        lambda r, f: {"real": -sigmoid(r).log(), "fake": -(1 - sigmoid(f)).log()},
        lambda r, f: {"fake": (1 - sigmoid(f)).log()},
    ),
    "non-saturating": (
        MinimaxLoss(saturating=False),
        lambda r, f: {"real": -sigmoid(r).log(), "fake": -(1 - sigmoid(f)).log()},
        lambda r, f: {"fake": -sigmoid(f).log()},
    ),
    "smoothed": (
        MinimaxLoss(real_target=0.9),
        lambda r, f: {"real": -0.9 * sigmoid(r).log() - 0.1 * (1 - sigmoid(r)).log(), "fake": log1pexp(f)},
        lambda r, f: {"fake": (1 - sigmoid(f)).log()},
    ),
    "lsgan": (
        LSGANLoss(),
        lambda r, f: {"real": (r - 1) ** 2 / 2, "fake": f**2 / 2},
        lambda r, f: {"fake": (f - 1) ** 2 / 2},
    ),
    "lsgan-pearson": (
        LSGANLoss(a=-1.0, b=1.0, c=0.0),
        lambda r, f: {"real": (r - 1) ** 2 / 2, "fake": (f + 1) ** 2 / 2},
        lambda r, f: {"fake": f**2 / 2},
    ),
    "wgan": (WassersteinLoss(), lambda r, f: {"real": -r, "fake": f}, lambda r, f: {"fake": -f}),
    "hinge": (
        HingeLoss(),
        lambda r, f: {"real": (1 - r).clamp(min=0), "fake": (1 + f).clamp(min=0)},
        lambda r, f: {"fake": -f},
    ),
    "relativistic": (
        RelativisticLoss(),
        lambda r, f: {"pair": log1pexp(f - r)},
        lambda r, f: {"pair": log1pexp(r - f)},
    ),
}


@pytest.mark.parametrize(("outputs", "shifts"), [("score", [0.0]), ("patches", [-1.0, 0.0, 0.0, 1.0])])
@pytest.mark.parametrize("name", FORMS)
def test_closed_forms(name, outputs, shifts):
    loss, d_form, g_form = FORMS[name]
    batch = make_batch()
    labels = "c" if name == "relativistic" else "gen_c"  # a pair has one label
    real, fake = known_scores(batch, labels, shifts)
    assert real.min() < 1 < real.max() and (name == "relativistic" or fake.min() < -1 < 0 < fake.max())
    G, D = Flat(), LabelDependent(outputs)
    for terms, form in ((loss.d_loss(G, D, batch), d_form), (loss.g_loss(G, D, batch), g_form)):
        expected = {term: value.mean(1).float() for term, value in form(real, fake).items()}
        assert terms.keys() == expected.keys()
        for term, value in expected.items():
            torch.testing.assert_close(terms[term], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FORMS)
def test_label_terms(name):
    """Cross entropy of the columns behind the score: of both kinds of images for D, of generated ones for G."""
    loss = type(FORMS[name][0])(ac_weight=2.0)
    batch, G, D = make_batch(), Flat(), LabelDependent("classes")
    batch = Batch(batch.real, torch.eye(2)[[0, 1, 1, 0]], batch.z, torch.eye(2)[[1, 1, 0, 0]], GROWTH)
    fake_c = batch.c if name == "relativistic" else batch.gen_c

    def entropy(img: Tensor, c: Tensor) -> Tensor:
        p = torch.exp(img[:, 0, 0, :2].double() * torch.tensor([4.0, -2.0]))
        return -2 * ((p / p.sum(1, keepdim=True)).log() * c).sum(1).float()

    fake = G(batch.z, fake_c, growth=GROWTH).detach()
    terms = loss.d_loss(G, D, batch)
    torch.testing.assert_close(terms["ac_real"], entropy(batch.real, batch.c), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(terms["ac_fake"], entropy(fake, fake_c), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss.g_loss(G, D, batch)["ac_fake"], entropy(fake, fake_c), rtol=1e-4, atol=1e-5)

    loss.check(G, D)
    type(loss)(ac_weight=0.0).check(G, LabelDependent())
    with pytest.raises(ValueError, match=r"2 class logits.*ac_weight is 0"):
        type(loss)(ac_weight=0.0).check(G, D)


def test_lsgan_refuses_codings_without_a_game():
    with pytest.raises(ValueError, match="nothing apart"):
        LSGANLoss(a=1.0, b=1.0, c=1.0)
    for c in (0.0, -1.0):
        with pytest.raises(ValueError, match=r"found out.*Use c 1\.0"):
            LSGANLoss(a=0.0, b=1.0, c=c)
    LSGANLoss(a=1.0, b=-1.0, c=-1.0)


# --- the gradient penalty ---


@pytest.mark.parametrize("outputs", ["score", "patches"])
@pytest.mark.parametrize(("one_sided", "target"), [(False, 1.0), (True, 1.0), (False, 0.0)])
def test_gradient_penalty(monkeypatch, outputs, one_sided, target):
    G, D, batch = Flat(), LabelDependent(outputs), make_batch()
    t = torch.tensor([0.0, 0.25, 0.5, 1.0])
    monkeypatch.setattr(torch, "rand", lambda *args, **kwargs: t)
    penalty = GradientPenalty(weight=3.0, target=target, one_sided=one_sided).terms(G, D, batch)["gradient_penalty"]

    fake = G(batch.z, batch.c, growth=GROWTH).detach()
    weights = t.reshape(4, 1, 1, 1)  # of the generated image
    size = ((1 - weights) * batch.real + weights * fake).square().sum(dim=(1, 2, 3)).sqrt()
    excess = 2 * 0.3 * size - target
    assert excess.min() < 0 < excess.max() or target == 0
    if one_sided:
        excess = excess.clamp(min=0)
    torch.testing.assert_close(penalty, 3 * excess**2)
    (gradient,) = torch.autograd.grad(penalty.sum(), D.strength)
    torch.testing.assert_close(gradient, (3 * 2 * excess * 2 * size).sum())
    assert not batch.real.requires_grad


def test_gradient_penalty_of_a_flat_discriminator_is_finite():
    D = LabelDependent()
    nn.init.zeros_(D.strength)
    norms = gradient_norms(D, torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4), torch.zeros(2), growth=GROWTH)
    (gradient,) = torch.autograd.grad((norms - 1).square().sum(), D.strength)
    assert norms.tolist() == [0, 0] and gradient.isfinite()


def test_gradient_penalty_refuses_batch_norm():
    G = Generator(**{**SIZES, "img_resolution": 16}, c_dim=0)
    for norm in ("layer", "none"):
        GradientPenalty().check(G, Discriminator(img_resolution=16, img_channels=3, c_dim=0, norm=norm))
    with pytest.raises(ValueError, match=r"batch norm.*norm to layer or none"):
        GradientPenalty().check(G, Discriminator(img_resolution=16, img_channels=3, c_dim=0))
    assert GradientPenalty().player == "D" and GradientPenalty(every=4).every == 4


# --- networks ---


def test_minibatch_discrimination():
    torch.manual_seed(0)
    layer, x = MinibatchDiscrimination(6, kernels=3, dim=2), torch.randn(4, 6) * 20
    m = (x @ layer.T).reshape(4, 3, 2)
    for i in range(4):
        for b in range(3):
            expected = sum(math.exp(-sum(abs(m[i, b, k] - m[j, b, k]).item() for k in range(2))) for j in range(4))
            assert layer(x)[i, b].item() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(layer(x[:1]), torch.ones(1, 3))  # alone, an image is close to itself


def test_discriminator_sees_that_images_are_alike():
    D = Discriminator(**SIZES, c_dim=0, norm="none", mbdisc_kernels=4).eval()
    nn.init.ones_(D.mbdisc_out.weight)
    growth = GrowthState(8, 1.0, 4, 0.001, 0.001)
    img = torch.randn(1, 3, 8, 8)
    alone, alike = D(img, growth=growth), D(img.expand(4, -1, -1, -1), growth=growth)
    torch.testing.assert_close(alike, (alone + 3 * 4).expand(4, 1))  # each of the others adds 1 a kernel


def test_labels_are_appended():
    c = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    x = torch.randn(2, 3, 4, 4)
    out = append_labels(x, c, 2)
    assert torch.equal(out[:, :3], x) and torch.equal(out[:, 3:].mean(dim=(2, 3)), c)
    assert out.shape == (2, 5, 4, 4)
    assert append_labels(x, None, 0) is x
    with pytest.raises(ValueError, match=r"labels of size 2 needs them: give c \[2, 2\]"):
        append_labels(x, None, 2)


@pytest.mark.parametrize("cls", [Discriminator, MLPDiscriminator])
def test_labels_are_looked_at_or_classified(cls):
    torch.manual_seed(0)
    growth = GrowthState(8, 1.0, 2, 0.001, 0.001)
    img, c = torch.randn(2, 3, 8, 8), torch.eye(2)
    looks, classifies = cls(**SIZES, c_dim=2).eval(), cls(**SIZES, c_dim=2, aux=True).eval()
    assert looks.aux_dim == 0 and looks(img, c, growth=growth).shape == (2, 1)
    assert not torch.allclose(looks(img, c, growth=growth), looks(img, c.flip(0), growth=growth))
    assert classifies.aux_dim == 2 and classifies(img, c, growth=growth).shape == (2, 3)
    assert torch.equal(classifies(img, c, growth=growth), classifies(img, c.flip(0), growth=growth))
    with pytest.raises(ValueError, match=r"set data\.labels to true"):
        cls(**SIZES, c_dim=0, aux=True)


@pytest.mark.parametrize("network", [Generator, Discriminator, MLPGenerator, MLPDiscriminator])
def test_growing_is_refused(network):
    player = network(**SIZES, c_dim=0)
    player.check_resolution(8)
    with pytest.raises(ValueError, match=r"does not grow.*8x8 only.*4x4.*fixed"):
        player.check_resolution(4)


def test_dcgan_refuses_sizes_that_do_not_double():
    for size in (4, 24):
        with pytest.raises(ValueError, match="power of two"):
            Generator(img_resolution=size, img_channels=3, c_dim=0)


def test_dropout_and_maxout():
    """In eval mode the first layer's output is the largest of its pieces; in training mode dropout makes it random."""
    torch.manual_seed(0)
    D = MLPDiscriminator(**SIZES, c_dim=0, hidden_layers=1, hidden_dim=5, pieces=3)
    growth = GrowthState(8, 1.0, 2, 0.001, 0.001)
    img = torch.randn(2, 3, 8, 8)
    assert not torch.equal(D(img, growth=growth), D(img, growth=growth))
    D.eval()
    pieces = img.flatten(1) @ D.hidden[0].weight.T + D.hidden[0].bias
    hidden = torch.stack([pieces[:, [3 * i, 3 * i + 1, 3 * i + 2]].max(dim=1).values for i in range(5)], dim=1)
    torch.testing.assert_close(D(img, growth=growth), hidden @ D.out.weight.T + D.out.bias)
