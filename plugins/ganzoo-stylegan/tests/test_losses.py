"""The logistic loss, R1, R2 and path length against closed forms, on networks whose gradients are known."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ganzoo
import ganzoo_stylegan
from ganzoo import Batch, GrowthState
from ganzoo.testing import check_component, check_loss, registered
from ganzoo_progan.networks import Discriminator as ProGANDiscriminator
from ganzoo_progan.networks import Generator as ProGANGenerator
from ganzoo_stylegan.losses import R1, R2, LogisticLoss, PathLength, path_lengths, squared_gradient_norms
from ganzoo_stylegan.stylegan1 import Discriminator, Generator

GROWTH = GrowthState(resolution=4, alpha=1.0, batch_size=16, g_lr=0.001, d_lr=0.001)
SMALL = {"img_resolution": 16, "img_channels": 3, "fmap_base": 64, "fmap_max": 16}
STYLES = {"z_dim": 8, "w_dim": 8, "mapping_layers": 2, "mapping_fmaps": 8}


class LabelDependent(ganzoo.Discriminator):
    """score = strength * sum of squares of the image + sum of the label: the gradient is 2 * strength * image."""

    def __init__(self, outputs: str = "score") -> None:
        super().__init__(c_dim=2, img_resolution=4, img_channels=1)
        self.strength = nn.Parameter(torch.tensor(0.3))
        self.outputs = outputs

    def forward(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        assert growth is GROWTH
        score = self.strength * img.square().sum(dim=(1, 2, 3))[:, None] + (0 if c is None else c.sum(1, keepdim=True))
        if self.outputs == "patches":  # all alike, so that their mean is the score
            return score[:, :, None, None].expand(-1, 1, 3, 2)
        return score


class Flat(ganzoo.Generator):
    """Images of one value, the first latent number plus the sum of the label."""

    def __init__(self) -> None:
        super().__init__(z_dim=2, c_dim=2, img_resolution=4, img_channels=1)
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, z: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        value = self.gain * z[:, :1] + (0 if c is None else c.sum(1, keepdim=True))
        return value[:, :, None, None].expand(-1, 1, 4, 4)


def make_batch() -> Batch:
    torch.manual_seed(0)
    return Batch(torch.randn(4, 1, 4, 4), torch.rand(4, 2), torch.randn(4, 2), torch.rand(4, 2), GROWTH)


# --- contracts ---


@pytest.mark.parametrize("c_dim", [0, 3])
def test_contract(c_dim):
    (entry,) = (e for e in registered(ganzoo_stylegan) if (e.kind, e.name) == ("loss", "non-saturating"))
    check_component(entry, c_dim=c_dim)


@pytest.mark.parametrize("c_dim", [0, 2])
def test_contract_with_stylegan(c_dim):
    players = Generator(**SMALL, **STYLES, c_dim=c_dim), Discriminator(**SMALL, c_dim=c_dim)
    check_loss(LogisticLoss, players=players)


def test_regularizers_are_registered():
    found = {e.name: e.cls for e in registered(ganzoo_stylegan) if e.kind == "regularizer"}
    assert found.items() >= {"r1": R1, "r2": R2, "path-length": PathLength}.items()


# --- the logistic loss ---


def log_of_1_plus_exp(x: Tensor) -> Tensor:
    return torch.log1p(torch.exp(x.double())).float()


@pytest.mark.parametrize("outputs", ["score", "patches"])
def test_logistic_loss(outputs):
    G, D, batch = Flat(), LabelDependent(outputs), make_batch()
    fake_score = 0.3 * 16 * (0.5 * batch.z[:, 0] + batch.gen_c.sum(1)) ** 2 + batch.gen_c.sum(1)
    real_score = 0.3 * batch.real.square().sum(dim=(1, 2, 3)) + batch.c.sum(1)
    terms = LogisticLoss().d_loss(G, D, batch)
    torch.testing.assert_close(terms["fake"], log_of_1_plus_exp(fake_score))
    torch.testing.assert_close(terms["real"], log_of_1_plus_exp(-real_score))
    terms = LogisticLoss().g_loss(G, D, batch)
    torch.testing.assert_close(terms["fake"], log_of_1_plus_exp(-fake_score))


def test_patches_count_alike():
    class Patches(LabelDependent):
        def forward(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
            return img[:, :, :2, :3] + self.strength

    batch = make_batch()
    terms = LogisticLoss().d_loss(Flat(), Patches(), batch)
    torch.testing.assert_close(terms["real"], F.softplus(-batch.real[:, 0, :2, :3] - 0.3).mean(dim=(1, 2)))


def test_classifying_discriminator_is_refused():
    G = ProGANGenerator(**SMALL, c_dim=3)
    with pytest.raises(ValueError, match=r"3 class logits.*stylegan.*wgan-gp"):
        LogisticLoss().check(G, ProGANDiscriminator(**SMALL, c_dim=3))
    LogisticLoss().check(G, ProGANDiscriminator(**SMALL, c_dim=0))
    LogisticLoss().check(G, Discriminator(**SMALL, c_dim=3))


# --- R1 and R2 ---


@pytest.mark.parametrize("outputs", ["score", "patches"])
def test_squared_gradient_norms(outputs):
    D, batch = LabelDependent(outputs), make_batch()
    norms = squared_gradient_norms(D, batch.real, c=batch.c, growth=GROWTH)
    torch.testing.assert_close(norms, 4 * 0.09 * batch.real.square().sum(dim=(1, 2, 3)))
    (gradient,) = torch.autograd.grad(norms.sum(), D.strength)
    torch.testing.assert_close(gradient, 8 * 0.3 * batch.real.square().sum())
    assert not batch.real.requires_grad


def test_r1_is_of_real_images_and_r2_of_generated_ones():
    G, D, batch = Flat(), LabelDependent(), make_batch()
    r1 = R1(gamma=10.0).terms(G, D, batch)["r1"]
    torch.testing.assert_close(r1, 5 * squared_gradient_norms(D, batch.real, growth=GROWTH))
    r2 = R2(gamma=3.0).terms(G, D, batch)["r2"]
    fake = G(batch.z, batch.gen_c, growth=GROWTH)
    torch.testing.assert_close(r2, 1.5 * squared_gradient_norms(D, fake, growth=GROWTH))
    (r1.sum() + r2.sum()).backward()
    assert D.strength.grad is not None and G.gain.grad is None
    assert R1().player == R2().player == "D" and R1(every=16).every == 16


def test_labels_reach_the_discriminator():
    """stylegan's D without labels raises; R1 must give those of the reals, R2 those that the fakes were made with."""
    G, D = Generator(**SMALL, **STYLES, c_dim=2).eval(), Discriminator(**SMALL, c_dim=2)
    c, gen_c = torch.eye(2), torch.eye(2).flip(0)
    growth = replace(GROWTH, resolution=16)
    batch = Batch(torch.randn(2, 3, 16, 16), c, torch.randn(2, 8), gen_c, growth)
    expected = squared_gradient_norms(D, batch.real, c=c, growth=growth)
    assert not torch.allclose(expected, squared_gradient_norms(D, batch.real, c=gen_c, growth=growth), rtol=1e-3)
    torch.testing.assert_close(R1(gamma=2.0).terms(G, D, batch)["r1"], expected)
    fake = G(batch.z, gen_c, growth=growth)
    expected = squared_gradient_norms(D, fake, c=gen_c, growth=growth)
    torch.testing.assert_close(R2(gamma=2.0).terms(G, D, batch)["r2"], expected)


def test_automatic_gamma_follows_resolution_and_batch_size():
    """StyleGAN2-ADA's rule: 0.8192 for 256 px at a batch of 16."""
    G, D, batch = Flat(), LabelDependent(), make_batch()
    ratio = R1().terms(G, D, batch)["r1"] / R1(gamma=1.0).terms(G, D, batch)["r1"]
    torch.testing.assert_close(ratio, torch.full_like(ratio, 0.0002 * 4**2 / 16))
    from ganzoo_stylegan.losses import resolve_gamma

    assert resolve_gamma("auto", replace(GROWTH, resolution=256)) == pytest.approx(0.8192)
    assert resolve_gamma(0.0, GROWTH) == 0.0


# --- path length ---


class Linear(ganzoo.StyleGenerator):
    """Images that are a matrix times the first ws in use: the path length in direction y is known."""

    def __init__(self, *, c_dim: int = 0) -> None:
        super().__init__(z_dim=3, w_dim=3, num_ws=4, c_dim=c_dim, img_resolution=8, img_channels=1)
        self.matrix = nn.Parameter(torch.randn(4, 3, 64))
        self.noises: list[str] = []

    def forward(self, z: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        raise AssertionError("path length takes the two halves apart")

    def mapping(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return z if c is None else z + c.sum(dim=1, keepdim=True)

    def synthesis(self, ws: Tensor, *, growth: GrowthState, noise: str = "random") -> Tensor:
        self.noises.append(noise)
        assert ws.shape[1:] == (self.num_ws, self.w_dim)
        pixels = growth.resolution**2
        used = self.num_ws_at(growth.resolution)
        self.seen = ws
        img = torch.einsum("nlw,lwp->np", ws[:, :used], self.matrix[:used, :, :pixels])
        return img.reshape(-1, 1, growth.resolution, growth.resolution)

    def num_ws_at(self, resolution: int) -> int:
        return {4: 2, 8: 4}[resolution]


@pytest.mark.parametrize("resolution", [4, 8])
def test_path_lengths_of_a_linear_generator(resolution):
    torch.manual_seed(0)
    G, growth = Linear(), replace(GROWTH, resolution=resolution)
    ws = torch.randn(5, 4, 3, requires_grad=True)
    y = torch.randn(5, 1, resolution, resolution)
    lengths = path_lengths(partial(G.synthesis, growth=growth), ws, y)
    jacobian = torch.einsum("np,lwp->nlw", y.flatten(1), G.matrix[: G.num_ws_at(resolution), :, : resolution**2])
    expected = (jacobian / resolution).square().sum(dim=(1, 2)).div(4).sqrt()  # beyond those in use there are zeros
    torch.testing.assert_close(lengths, expected)


@pytest.mark.parametrize("resolution", [4, 8])
def test_path_length_penalty(monkeypatch, resolution):
    torch.manual_seed(0)
    G, growth = Linear(c_dim=2), replace(GROWTH, resolution=resolution)
    batch = Batch(torch.zeros(6, 1, 8, 8), None, torch.randn(6, 3), torch.rand(6, 2), growth)
    y = torch.randn(3, 1, resolution, resolution)
    monkeypatch.setattr(ganzoo.whole_batch, "randn", lambda *shape, device: y.reshape(shape))
    regularizer = PathLength(weight=2.0, decay=0.1, batch_shrink=2)
    regularizer.pl_mean.fill_(0.7)
    penalty = regularizer.terms(G, LabelDependent(), batch)["path_length"]

    used = G.num_ws_at(resolution)
    jacobian = torch.einsum("np,lwp->nlw", y.flatten(1), G.matrix[:used, :, : resolution**2]) / resolution
    lengths = (jacobian.square().sum(dim=(1, 2)) / used).sqrt()  # averaged over the layers in use
    mean = 0.9 * 0.7 + 0.1 * lengths.mean()
    torch.testing.assert_close(penalty, 2 * (lengths - mean) ** 2)
    torch.testing.assert_close(regularizer.pl_mean, mean.detach())
    expected = torch.autograd.grad((2 * (lengths - mean) ** 2).mean(), G.matrix)[0]  # through the mean too
    torch.testing.assert_close(torch.autograd.grad(penalty.mean(), G.matrix)[0], expected)
    w = batch.z[::2] + batch.gen_c[::2].sum(dim=1, keepdim=True)
    torch.testing.assert_close(G.seen, G.broadcast(w))
    assert G.noises == ["random"]


def test_path_length_of_one_image():
    G = Linear()
    batch = Batch(torch.zeros(1, 1, 8, 8), None, torch.randn(1, 3), None, replace(GROWTH, resolution=8))
    penalty = PathLength(batch_shrink=4).terms(G, LabelDependent(), batch)["path_length"]
    assert penalty.shape == (1,) and penalty.requires_grad


def test_running_mean_is_saved_and_settles():
    regularizer = PathLength(decay=0.01)
    lengths = torch.full((4,), 3.0)
    penalties = [regularizer.penalty(lengths).mean().item() for _ in range(1000)]
    assert penalties[0] == pytest.approx(2 * (3 - 0.03) ** 2) and penalties[-1] < 1e-6
    other = PathLength()
    other.load_state_dict(regularizer.state_dict())
    assert other.pl_mean.item() == pytest.approx(3, abs=1e-3)


def test_running_mean_is_that_of_all_processes(monkeypatch):
    """And so is what lengths are compared with: the same total batch is the same training."""
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda x: x.add_(5.0))  # the other one has 5
    regularizer = PathLength(weight=1.0, decay=1.0)
    with ganzoo.whole_batch.together(0, 2, seed=0):
        penalties = regularizer.penalty(torch.tensor([2.0, 4.0]))
    assert regularizer.pl_mean.item() == 4.0
    assert penalties.tolist() == [4.0, 0.0]


@pytest.mark.parametrize("resolution", [8, 16])
def test_path_length_trains_stylegan(resolution):
    torch.manual_seed(0)
    G, D = Generator(**SMALL, **STYLES, c_dim=0), Discriminator(**SMALL, c_dim=0)
    batch = Batch(torch.zeros(4, 3, 16, 16), None, torch.randn(4, 8), None, replace(GROWTH, resolution=resolution))
    w_avg = G.w_avg.clone()
    penalty = PathLength().terms(G, D, batch)["path_length"]
    assert penalty.shape == (2,) and penalty.isfinite().all()
    penalty.mean().backward()
    trained = {name for name, p in G.named_parameters() if p.grad is not None and p.grad.any()}
    assert {"mapping_network.layers.0.weight", "blocks.4.conv.weight", f"to_rgb.{resolution}.weight"} <= trained
    assert torch.equal(G.w_avg, w_avg)


def test_path_length_needs_styles():
    D = Discriminator(**SMALL, c_dim=0)
    PathLength().check(Generator(**SMALL, **STYLES, c_dim=0), D)
    with pytest.raises(ValueError, match="stylegan2"):
        PathLength().check(ProGANGenerator(**SMALL, c_dim=0), D)
    assert PathLength().player == "G" and PathLength().every == 4 and math.isclose(PathLength().decay, 0.01)
