"""GDPP on features that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ganzoo
from ganzoo import Batch, GrowthState
from ganzoo.training.extras import AugmentedDiscriminator
from ganzoo_classic.gdpp import GDPP, spectrum

GROWTH = GrowthState(resolution=1, alpha=1.0, batch_size=2, g_lr=0.001, d_lr=0.001)


class Pixels(ganzoo.Discriminator):
    """Features are twice the pixels, [N, 2]."""

    has_features = True

    def __init__(self) -> None:
        super().__init__(c_dim=0, img_resolution=1, img_channels=2)

    def forward(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        return self.features(img, c, growth=growth)[:, :1]

    def features(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        return 2 * img.flatten(1)


class Angles(ganzoo.Generator):
    """Latents [N, 1] are angles, images the points of the circle there."""

    def __init__(self) -> None:
        super().__init__(z_dim=1, c_dim=0, img_resolution=1, img_channels=2)
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        angle = self.gain * z[:, :1]
        return torch.cat([angle.cos(), angle.sin()], dim=1)[:, :, None, None]


def points(*angles: float) -> Tensor:
    return Angles()(torch.tensor(angles)[:, None], growth=GROWTH).detach()


def make_batch(real: Tensor, *angles: float) -> Batch:
    return Batch(real, None, torch.tensor(angles)[:, None], None, GROWTH)


def test_two_images():
    """The Gram matrix of two unit vectors at an angle a is [[1, cos a], [cos a, 1]]: eigenvalues 1 -+ |cos a|, the
    eigenvectors (1, -+1) / sqrt 2, in the other order where cos a < 0."""
    batch = make_batch(points(0.2, 1.3), 0.5, 0.8)
    terms = GDPP(weight=3.0).terms(Angles(), Pixels(), batch)
    difference = math.cos(0.3) - math.cos(1.1)
    assert terms["gdpp_magnitude"].item() == pytest.approx(3 * 2 * difference, rel=1e-5)
    assert terms["gdpp_structure"].item() == pytest.approx(-3.0, rel=1e-5)  # real weights 0 and 1, cosines 1 and 1

    opposite = GDPP().terms(Angles(), Pixels(), make_batch(points(0.2, 1.3), 0.5, 0.5 + math.pi - 0.3))
    assert opposite["gdpp_magnitude"].item() == pytest.approx(2 * difference, rel=1e-5)
    assert opposite["gdpp_structure"].item() == pytest.approx(0.0, abs=1e-5)


def test_three_images_by_hand():
    """Against eigenvalues and eigenvectors from elsewhere, in float64."""
    real, angles = points(0.0, 0.9, 2.0), torch.tensor([0.3, 0.7, 2.4])
    terms = GDPP().terms(Angles(), Pixels(), make_batch(real, *angles.tolist()))
    grams = [(x.double().flatten(1) @ x.double().flatten(1).T).numpy() for x in (points(*angles.tolist()), real)]
    (fake_values, fake_vectors), (real_values, real_vectors) = (
        map(torch.from_numpy, np.linalg.eigh(gram)) for gram in grams
    )
    assert terms["gdpp_magnitude"].item() == pytest.approx(float((fake_values - real_values).abs().sum()), rel=1e-5)
    cosines = (fake_vectors * real_vectors).sum(0).abs()
    weights = (real_values - real_values[0]) / (real_values[2] - real_values[0])
    assert terms["gdpp_structure"].item() == pytest.approx(-float(weights @ cosines), rel=1e-4)
    assert 0.01 < 1 - cosines[2] < 0.99  # the images do differ


def test_gradients_are_those_of_eigh():
    torch.manual_seed(0)
    features = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(4, dtype=torch.float64), torch.randn(4, 4, dtype=torch.float64)

    def value(values: Tensor, vectors: Tensor) -> Tensor:
        # No function of eigenvectors up to their signs has another gradient.
        return (values * weights[0]).sum() + (vectors.abs() * weights[1]).sum()

    (ours,) = torch.autograd.grad(value(*spectrum(features)), features)
    unit = nn.functional.normalize(features, dim=1)
    (reference,) = torch.autograd.grad(value(*torch.linalg.eigh(unit @ unit.T)), features)
    torch.testing.assert_close(ours, reference, rtol=1e-3, atol=1e-4)


def test_a_collapsed_generator_gets_a_finite_gradient_towards_diversity():
    G = Angles()
    real = points(0.0, 1.0, 2.0, 4.0)
    terms = GDPP().terms(G, Pixels(), make_batch(real, 0.5, 0.5, 0.5, 0.5))
    sum(terms.values()).backward()
    assert torch.isfinite(G.gain.grad)

    spread = GDPP().terms(G, Pixels(), make_batch(real, 0.5, 0.6, 0.4, 0.55))["gdpp_magnitude"]
    assert spread < terms["gdpp_magnitude"]
    G.gain.grad = None
    spread.backward()
    assert G.gain.grad < 0  # larger angles between images are better


def test_real_features_are_those_of_d_behind_its_augmentation():
    class Double(ganzoo.Augmentation):
        def forward(self, img):
            return img + torch.tensor([0.0, 1.0])[:, None, None]

    D = AugmentedDiscriminator(Pixels(), Double())
    assert D.has_features
    img = points(0.0)
    assert D.features(img, growth=GROWTH).tolist() == [[2.0, 2.0]]
    assert Pixels().features(img, growth=GROWTH).tolist() == [[2.0, 0.0]]


def test_a_discriminator_without_features_is_refused():
    class Plain(Pixels):
        has_features = False

    GDPP().check(Angles(), Pixels())
    with pytest.raises(ValueError, match="gives logits only; dcgan"):
        GDPP().check(Angles(), Plain())
