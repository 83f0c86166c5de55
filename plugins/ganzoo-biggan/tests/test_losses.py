"""The hinge loss and the orthogonal regularizer against closed forms, on networks whose answers are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import ganzoo
from ganzoo import Batch, GrowthState
from ganzoo_biggan.losses import JointHingeLoss, Orthogonal, orthogonality
from ganzoo_biggan.networks import Discriminator, Generator
from ganzoo_progan.networks import Discriminator as ProGANDiscriminator

GROWTH = GrowthState(resolution=4, alpha=1.0, batch_size=3, g_lr=0.001, d_lr=0.001)


class Mean(ganzoo.Discriminator):
    """score = strength * mean of the image + first number of the label."""

    def __init__(self, outputs: str = "score") -> None:
        super().__init__(c_dim=2, img_resolution=4, img_channels=1)
        self.strength = nn.Parameter(torch.tensor(0.7))
        self.outputs = outputs
        self.calls = 0

    def forward(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        self.calls += 1
        score = self.strength * img.mean(dim=(1, 2, 3))[:, None] + (0 if c is None else c[:, :1])
        if self.outputs == "patches":
            return score[:, :, None, None] + torch.tensor([-1.5, 0.0, 1.5])
        return score


class Flat(ganzoo.Generator):
    """Images of one value, the latent's."""

    def __init__(self) -> None:
        super().__init__(z_dim=1, c_dim=2, img_resolution=4, img_channels=1)
        self.gain = nn.Parameter(torch.tensor(1.0))

    def forward(self, z: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        return (self.gain * z)[:, :, None, None].expand(-1, 1, 4, 4)


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("outputs", ["score", "patches"])
def test_hinge(labels, outputs):
    z = torch.tensor([[-3.0], [0.2], [1.0]])
    real = torch.tensor([2.5, 1.0, -1.0])[:, None, None, None].expand(-1, 1, 4, 4)
    c, gen_c = (torch.eye(2)[[0, 1, 1]], torch.eye(2)[[1, 0, 1]]) if labels else (None, None)
    G, D, batch = Flat(), Mean(outputs), Batch(real, c, z, gen_c, GROWTH)
    offsets = torch.tensor([-1.5, 0.0, 1.5]) if outputs == "patches" else torch.zeros(1)
    fake_score = 0.7 * z + (gen_c[:, :1] if labels else 0) + offsets
    real_score = 0.7 * real[:, 0, 0, :1] + (c[:, :1] if labels else 0) + offsets

    terms = JointHingeLoss().d_loss(G, D, batch)
    torch.testing.assert_close(terms["fake"], (1 + fake_score).clamp_min(0).mean(1))
    torch.testing.assert_close(terms["real"], (1 - real_score).clamp_min(0).mean(1))
    assert D.calls == 1
    torch.testing.assert_close(JointHingeLoss().g_loss(G, D, batch)["fake"], -fake_score.mean(1))


def test_classifying_discriminator_is_refused():
    sizes = {"img_resolution": 8, "img_channels": 3}
    with pytest.raises(ValueError, match=r"3 class logits.*biggan.*wgan-gp"):
        JointHingeLoss().check(Flat(), ProGANDiscriminator(**sizes, c_dim=3))
    JointHingeLoss().check(Flat(), Discriminator(**sizes, c_dim=3, ch=2))


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (5, 5), (6, 2, 3, 3)])
def test_gradient_of_the_penalty_is_the_papers_formula(shape):
    torch.manual_seed(0)
    weight = torch.randn(shape, requires_grad=True)
    matrix = weight.detach().flatten(1)
    gram = matrix @ matrix.T
    expected = sum(gram[i, j] ** 2 for i in range(len(gram)) for j in range(len(gram)) if i != j)
    penalty = orthogonality(weight)
    torch.testing.assert_close(penalty, expected)
    (gradient,) = torch.autograd.grad(penalty / 2, weight)
    wanted = 2 * (gram * (1 - torch.eye(len(gram)))) @ matrix
    torch.testing.assert_close(gradient.flatten(1), wanted, rtol=1e-4, atol=1e-4)


def test_orthogonal_rows_of_any_length_cost_nothing():
    weight = torch.linalg.qr(torch.randn(8, 8)).Q * torch.arange(1.0, 9.0)[:, None]
    assert orthogonality(weight) < 1e-6


def test_which_weights_the_regularizer_moves():
    sizes = {"img_resolution": 8, "img_channels": 3, "c_dim": 2}
    G, D = Generator(**sizes, z_dim=4, ch=2, shared_dim=4), Discriminator(**sizes, ch=2)
    batch = Batch(torch.zeros(2, 3, 8, 8), None, torch.zeros(2, 4), None, GROWTH)

    def moved(**args) -> set[str]:
        for net in (G, D):
            net.zero_grad(set_to_none=True)
        regularizer = Orthogonal(**args)
        regularizer.check(G, D)
        regularizer.terms(G, D, batch)["orthogonal"].backward()
        named = [*G.named_parameters(prefix="G"), *D.named_parameters(prefix="D")]
        return {name for name, p in named if p.grad is not None}

    weights = {f"G.{name}" for name, p in G.named_parameters() if p.ndim > 1}
    assert moved() == weights - {"G.shared.weight"}
    assert moved(exclude=[]) == weights
    assert moved(player="D", exclude=["blocks"]) == {"D.dense.weight", "D.embed.weight"}
    assert Orthogonal().player == "G" and Orthogonal(player="D", every=8).every == 8
    with pytest.raises(ValueError, match=r"no weight of D"):
        Orthogonal(player="D", exclude=["blocks", "dense", "embed"]).check(G, D)
