"""The building blocks against plain implementations and closed forms."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize

from ganzoo import GrowthState
from ganzoo.generation import LoadedGenerator, standing_statistics
from ganzoo_biggan.layers import (
    AffineBatchNorm2d,
    BatchNorm2d,
    ConditionalBatchNorm2d,
    Conv2d,
    Embedding,
    Linear,
    SelfAttention,
    SpectralNorm,
    initialise,
)
from ganzoo_biggan.networks import Generator

# --- spectral normalisation ---


def test_power_iteration_finds_the_largest_singular_value():
    torch.manual_seed(0)
    weight = torch.randn(6, 3, 2, 2)
    norm = SpectralNorm(6)
    for _ in range(200):
        norm(weight)
    expected = weight / torch.linalg.matrix_norm(weight.flatten(1), ord=2)
    torch.testing.assert_close(norm(weight), expected)


def test_one_iteration_a_call_in_training_mode_only():
    torch.manual_seed(0)
    weight, norm = torch.randn(5, 4), SpectralNorm(5)
    u = norm.u.clone()
    v = F.normalize(weight.T @ u, dim=0)
    wanted = F.normalize(weight @ v, dim=0)
    sigma = wanted @ weight @ v
    norm.eval()
    torch.testing.assert_close(norm(weight), weight / sigma)
    assert torch.equal(norm.u, u)
    norm.train()
    torch.testing.assert_close(norm(weight), weight / sigma)
    torch.testing.assert_close(norm.u, wanted)


def test_gradient_flows_through_the_singular_value_and_not_through_the_iteration():
    """d(W / s) with s = u^T W v and constant u, v."""
    torch.manual_seed(0)
    weight, norm = torch.randn(5, 4, dtype=torch.float64, requires_grad=True), SpectralNorm(5).double().eval()
    y = torch.randn(5, 4, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((norm(weight) * y).sum(), weight)
    with torch.no_grad():
        v = F.normalize(weight.T @ norm.u, dim=0)
        u = F.normalize(weight @ v, dim=0)
        sigma = u @ weight @ v
        expected = y / sigma - (y * weight).sum() / sigma**2 * u.outer(v)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(3, 4, 3), nn.Linear(3, 4), nn.Embedding(4, 3)], ids=lambda layer: type(layer).__name__
)
def test_spectral_norm_on_torch_layers(layer):
    layer = copy.deepcopy(layer)
    weight = layer.weight.detach().clone()
    parametrize.register_parametrization(layer, "weight", SpectralNorm(4))
    for _ in range(300):
        normed = layer.weight
    expected = weight / torch.linalg.matrix_norm(weight.flatten(1), ord=2)
    torch.testing.assert_close(normed.detach(), expected, rtol=1e-4, atol=1e-5)


def test_precision_under_autocast():
    torch.manual_seed(0)
    weight, norm = torch.randn(64, 64), SpectralNorm(64).eval()
    exact = norm(weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(norm(weight), exact)


# --- layers ---


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("scale", ["up", "down", None])
@pytest.mark.parametrize("bias", [True, False])
def test_scaling_convolutions(kernel_size, scale, bias):
    """Where the convolution runs makes no difference to what it computes, nor to its gradients."""
    torch.manual_seed(0)
    conv = Conv2d(3, 5, kernel_size, scale=scale, bias=bias, spectral_norm=False)
    if bias:
        nn.init.normal_(conv.bias)
    x = torch.randn(2, 3, 8, 8)
    plain = F.interpolate(x, scale_factor=2) if scale == "up" else x
    plain = F.conv2d(plain, conv.weight, conv.bias, padding=kernel_size // 2)
    plain = F.avg_pool2d(plain, 2) if scale == "down" else plain
    ours = conv(x)
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)
    y = torch.randn_like(plain)
    for p in conv.parameters():
        gradients = [torch.autograd.grad((out * y).sum(), p, retain_graph=True)[0] for out in (ours, plain)]
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("layer", [Conv2d(8, 8, 3), Conv2d(8, 8, 3, scale="up"), Conv2d(8, 8, 1), SelfAttention(8)])
def test_memory_format_is_kept(layer):
    x = torch.randn(2, 8, 8, 8).contiguous(memory_format=torch.channels_last)
    assert layer(x).is_contiguous(memory_format=torch.channels_last)


def test_embedding_takes_mixtures_of_classes():
    table = Embedding(3, 4)
    torch.testing.assert_close(table(torch.eye(3)), table.weight)
    torch.testing.assert_close(table(torch.tensor([[0.5, 0.5, 0.0]])), table.weight[:2].mean(0, keepdim=True))


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_is_torchs(training):
    torch.manual_seed(0)
    ours, theirs = BatchNorm2d(3).train(training), nn.BatchNorm2d(3, affine=False).train(training)
    for _ in range(3):
        x = 2 + 3 * torch.randn(4, 3, 5, 5)
        torch.testing.assert_close(ours(x), theirs(x))
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))
    assert training == bool(ours.running_mean.any())


def test_conditional_batch_norm():
    torch.manual_seed(0)
    x, y = 2 + 3 * torch.randn(4, 3, 5, 5), torch.eye(2)[[0, 1, 1, 0]]
    layer = ConditionalBatchNorm2d(3, gain=Embedding(2, 3), bias=Embedding(2, 3))
    normalised = F.batch_norm(x, None, None, training=True)
    gain, bias = y @ layer.gain.weight, y @ layer.bias.weight
    torch.testing.assert_close(layer(x, y), normalised * (1 + gain[:, :, None, None]) + bias[:, :, None, None])


def test_statistics_are_float32_under_autocast():
    torch.manual_seed(0)
    x = (100 + torch.randn(8, 3, 16, 16)).bfloat16()
    for layer in (BatchNorm2d(3), AffineBatchNorm2d(3)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            layer(x)
        expected = 0.1 * x.float().mean(dim=(0, 2, 3))
        torch.testing.assert_close(layer.running_mean, expected, rtol=1e-4, atol=0)
        assert layer.running_mean.dtype == torch.float32


def test_attention_starts_as_identity_and_weighs_values():
    torch.manual_seed(0)
    layer, x = SelfAttention(16, spectral_norm=False), torch.randn(2, 16, 4, 6)
    assert torch.equal(layer(x), x)
    nn.init.constant_(layer.gamma, 0.5)
    theta, phi, g, o = (m.weight[:, :, 0, 0] for m in (layer.theta, layer.phi, layer.g, layer.o))
    expected = x.clone()
    for n in range(2):
        pooled = [F.max_pool2d((w @ x[n].flatten(1)).reshape(1, -1, 4, 6), 2).flatten(1)[0] for w in (phi, g)]
        key, value = (p.reshape(len(w), 6) for p, w in zip(pooled, (phi, g), strict=True))
        for i in range(4):
            for j in range(6):
                weights = torch.softmax((theta @ x[n, :, i, j]) @ key, dim=0)
                expected[n, :, i, j] += 0.5 * (o @ (value @ weights))
    torch.testing.assert_close(layer(x), expected)


def test_initial_weights():
    torch.manual_seed(0)
    weight = torch.empty(8, 4, 3, 3)
    initialise(weight, "ortho")
    torch.testing.assert_close(weight.flatten(1) @ weight.flatten(1).T, torch.eye(8), atol=1e-5, rtol=0)
    weight = torch.empty(100, 100)
    initialise(weight, "N02")
    assert weight.std().item() == pytest.approx(0.02, rel=0.05)
    initialise(weight, "xavier")
    assert weight.abs().max().item() == pytest.approx((6 / 200) ** 0.5, rel=0.01)
    assert not Linear(3, 4).bias.any()


def test_standing_statistics_reach_batch_norm_and_leave_spectral_norms_alone():
    torch.manual_seed(0)
    G = Generator(c_dim=3, img_resolution=32, img_channels=3, z_dim=8, ch=2, shared_dim=4).eval().requires_grad_(False)
    before = {name: buffer.clone() for name, buffer in G.named_buffers()}
    growth = GrowthState(32, 1.0, batch_size=4, g_lr=0.001, d_lr=0.001)
    loaded = LoadedGenerator(G, Path("x"), None, 0, growth, None, torch.device("cpu"))
    standing_statistics(loaded, 2, trunc=0.5, batch_size=4)
    changed = {name for name, buffer in G.named_buffers() if not torch.equal(buffer, before[name])}
    assert changed == {name for name in before if "running_" in name} != set(before)
    assert not any(module.training for module in G.modules())
