"""Layers with derivatives of their own: against torch's layers, and by finite differences to the second order."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from ganzoo import GrowthState
from ganzoo_progan.convolution import Geometry, convolve, only_input_gradients
from ganzoo_progan.layers import DownConv2d, UpConv2d, box, leaky, pixel_norm
from ganzoo_progan.networks import Discriminator

GEOMETRIES = [Geometry(), Geometry(padding=1), Geometry(stride=2), Geometry(stride=2, transposed=True)]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def reference(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    conv = F.conv_transpose2d if geometry.transposed else F.conv2d
    return conv(x, weight, bias, stride=geometry.stride, padding=geometry.padding)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_convolution(geometry, has_bias, memory_format):
    x, weight = (
        randn(2, 3, 5, 5).to(memory_format=memory_format),
        randn(*((3, 2) if geometry.transposed else (2, 3)), 3, 3),
    )
    bias = randn(2) if has_bias else None
    torch.testing.assert_close(convolve(x, weight, bias, geometry), reference(x, weight, bias, geometry))
    inputs = (x.detach().requires_grad_(), weight, bias)
    assert gradcheck(lambda *args: convolve(*args, geometry), inputs)
    assert gradgradcheck(lambda *args: convolve(*args, geometry), inputs)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("size", [1, 3])
def test_weight_gradients_of_patches_are_those_of_the_convolution(geometry, size):
    geometry = geometry._replace(padding=geometry.padding if size == 3 else 0)
    x = randn(5, 3, 9, 9).detach().contiguous(memory_format=torch.channels_last)
    shape = torch.Size([3, 4, size, size] if geometry.transposed else [4, 3, size, size])
    dy = torch.randn_like(geometry.forward(x, randn(*shape).detach(), None))
    dy = dy.contiguous(memory_format=torch.channels_last)
    _, expected = geometry._backward(dy, x, x.new_empty(shape), (False, True))
    torch.testing.assert_close(geometry._weight_gradient_of_patches(dy, x, size), expected)


@pytest.mark.parametrize(
    "geometry, pixels, dtype, few",
    [
        (Geometry(padding=1), 4, torch.float32, True),
        (Geometry(padding=1), 8, torch.float32, False),
        (Geometry(padding=1), 8, torch.bfloat16, True),
        (Geometry(padding=1), 16, torch.bfloat16, False),
        (Geometry(stride=2), 17, torch.float32, True),
        (Geometry(stride=2), 33, torch.bfloat16, False),
        (Geometry(stride=2, transposed=True), 8, torch.float32, True),
        (Geometry(stride=2, transposed=True), 16, torch.bfloat16, False),
    ],
)
def test_patches_are_for_few_pixels(geometry, pixels, dtype, few, monkeypatch):
    taken = []
    original = Geometry._weight_gradient_of_patches
    monkeypatch.setattr(Geometry, "_weight_gradient_of_patches", lambda *args: taken.append(True) or original(*args))
    x = torch.randn(2, 4, pixels, pixels, dtype=dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(4, 4, 3, 3, dtype=dtype, requires_grad=True)
    for memory_format in (torch.channels_last, torch.contiguous_format):
        y = convolve(x.contiguous(memory_format=memory_format), weight, geometry=geometry)
        torch.autograd.grad(y, weight, torch.ones_like(y))
    assert taken == ([True] if few else [])


def penalty(conv, x: Tensor, weight: Tensor, bias: Tensor | None, context) -> tuple[Tensor, ...]:
    y = conv(x, weight, bias)
    with context:
        (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    return torch.autograd.grad(dx.square().sum() + y.sum(), (x, weight, bias))


def test_penalty_without_the_gradients_that_nobody_asks_for():
    x, weight, bias = randn(2, 3, 5, 5), randn(2, 3, 3, 3), randn(2)
    ours = penalty(convolve, x, weight, bias, only_input_gradients())
    for one, other in zip(ours, penalty(F.conv2d, x, weight, bias, torch.enable_grad()), strict=True):
        torch.testing.assert_close(one, other)
    y = convolve(x, weight, bias)
    with only_input_gradients():
        assert torch.autograd.grad(y.sum(), weight, retain_graph=True, allow_unused=True) == (None,)
    assert torch.autograd.grad(y.sum(), weight)[0].any()


def test_convolution_follows_autocast():
    x, weight, bias = (t.detach().float().requires_grad_() for t in (randn(1, 3, 4, 4), randn(2, 3, 3, 3), randn(2)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = convolve(x, weight, bias)
        assert torch.equal(y, F.conv2d(x, weight, bias))
    assert y.dtype == torch.bfloat16
    assert all(g.dtype == torch.float32 for g in torch.autograd.grad(y.sum(), (x, weight, bias)))


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("pixels", [8, 16, 33])
def test_box_in_bf16(padding, pixels):
    x = torch.randn(2, 3, pixels, pixels, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    y, expected = box(x, padding), F.avg_pool2d(x, 2, stride=1, padding=padding)
    assert torch.equal(y, expected)
    assert y.is_contiguous(memory_format=torch.channels_last)
    (dx,) = torch.autograd.grad(y, x, torch.ones_like(y))
    assert torch.equal(dx, torch.autograd.grad(expected, x, torch.ones_like(y))[0])


@pytest.mark.parametrize("padding", [0, 1])
def test_box(padding):
    x = randn(2, 2, 4, 6)
    torch.testing.assert_close(box(x, padding), F.avg_pool2d(x, 2, stride=1, padding=padding))
    assert gradcheck(lambda x: box(x, padding), x)
    assert gradgradcheck(lambda x: box(x, padding), x)


def test_leaky():
    x = randn(3, 4, 5)
    torch.testing.assert_close(leaky(x.clone()), F.leaky_relu(x, 0.2))
    assert gradcheck(lambda x: leaky(x.clone()), x)
    assert gradgradcheck(lambda x: leaky(x.clone()), x)


def test_leaky_has_no_second_gradient_to_add_up():
    x, slopes = randn(3), randn(3)
    (dx,) = torch.autograd.grad(leaky(x.clone()), x, slopes, create_graph=True)
    assert torch.autograd.grad(dx.sum(), x, allow_unused=True) == (None,)


def test_pixel_norm():
    x = randn(2, 5, 3, 3)
    plain = lambda x: x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()  # noqa: E731
    torch.testing.assert_close(pixel_norm(x), plain(x))
    assert gradcheck(pixel_norm, x)
    assert gradgradcheck(pixel_norm, x)
    small = torch.full((1, 4, 1, 1), 1e-5, dtype=torch.float64, requires_grad=True)  # where eps counts
    for one, other in zip(second_order(pixel_norm, small), second_order(plain, small), strict=True):
        torch.testing.assert_close(one, other)


def second_order(function, x: Tensor) -> tuple[Tensor, Tensor]:
    (dx,) = torch.autograd.grad(function(x).pow(3).sum(), x, create_graph=True)
    return dx, torch.autograd.grad(dx.square().sum(), x)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pixel_norm_has_float32_statistics(dtype):
    x = (torch.randn(1, 512, 2, 2) * 1e-3).to(dtype)
    exact = x.double() * (x.double().square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
    torch.testing.assert_close(pixel_norm(x).double(), exact, rtol=3 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("layer", [UpConv2d(2, 3, 3), DownConv2d(2, 3, 3)])
def test_resampling_layers(layer):
    layer = layer.double()
    torch.nn.init.normal_(layer.bias)
    x, weight = randn(1, 2, 4, 4), layer.weight * layer.scale
    if isinstance(layer, UpConv2d):
        plain = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), weight, layer.bias, padding=1)
    else:
        plain = F.avg_pool2d(F.conv2d(x, weight, padding=1), 2) + layer.bias[:, None, None]
    torch.testing.assert_close(layer(x), plain)
    assert gradgradcheck(layer, x)


def test_a_penalty_reaches_every_weight_of_d():
    D = Discriminator(c_dim=0, img_resolution=8, img_channels=3, fmap_base=16, fmap_max=4).double()
    growth = GrowthState(8, 1.0, 4, 0.001, 0.001)
    img = randn(4, 3, 8, 8)
    (gradient,) = torch.autograd.grad(D(img, growth=growth).sum(), img, create_graph=True)
    penalty, direction = gradient.square().sum(), torch.randn_like(D.from_rgb["8"].weight)
    (dw,) = torch.autograd.grad(penalty, D.from_rgb["8"].weight)
    values = []
    for step in (1e-7, -1e-7):
        with torch.no_grad():
            D.from_rgb["8"].weight.add_(direction, alpha=step)
        (gradient,) = torch.autograd.grad(D(img, growth=growth).sum(), img)
        values.append(gradient.square().sum())
        with torch.no_grad():
            D.from_rgb["8"].weight.sub_(direction, alpha=step)
    torch.testing.assert_close((dw * direction).sum(), (values[0] - values[1]) / 2e-7, rtol=1e-4, atol=1e-9)
