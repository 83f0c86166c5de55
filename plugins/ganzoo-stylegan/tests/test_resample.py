"""FIR resampling against scipy, against autograd, and for what it keeps in memory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from scipy import signal
from torch import Tensor

from ganzoo_stylegan.resample import (
    downsample2d,
    downsample_conv2d,
    filter2d,
    fir_kernel,
    upfirdn2d,
    upsample2d,
    upsample_conv2d,
)

BINOMIAL = fir_kernel([1, 3, 3, 1])
CASES = [
    {},
    {"up": 2, "padding": (2, 1, 2, 1), "gain": 4.0},
    {"down": 2, "padding": 1},
    {"up": 2, "padding": (3, 0, -1, 4)},
    {"padding": (-2, 3, 1, 0)},
    {"up": 3, "down": 2, "padding": (1, 2, 5, 2)},
    {"up": 2, "down": 3, "padding": 4, "gain": 0.5},
    {"up": 4, "padding": (-3, -2, -4, -5)},
]


def by_scipy(x: Tensor, kernel: Tensor, up=1, down=1, padding=0, gain=1.0) -> Tensor:
    """The definition, step by step, with scipy's convolution."""
    kernel = kernel.outer(kernel) if kernel.ndim == 1 else kernel
    spread = x.new_zeros(*x.shape[:2], x.shape[2] * up, x.shape[3] * up)
    spread[..., ::up, ::up] = x
    spread = F.pad(spread, (padding,) * 4 if isinstance(padding, int) else padding)
    maps = [signal.convolve2d(m.numpy(), kernel.numpy(), mode="valid") for m in spread.flatten(0, 1)]
    out = torch.stack([torch.from_numpy(m) for m in maps]).unflatten(0, x.shape[:2])
    return out[..., ::down, ::down] * gain


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(5,), (4, 3)], ids=["separable", "planar"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_definition(case, shape, memory_format):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64).contiguous(memory_format=memory_format)
    kernel = torch.randn(shape, dtype=torch.float64)
    out = upfirdn2d(x, kernel, **case)
    torch.testing.assert_close(out, by_scipy(x, kernel, **case))
    assert out.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_derivatives_of_both_orders(case):
    torch.manual_seed(0)
    x = torch.randn(1, 2, 6, 5, dtype=torch.float64, requires_grad=True)
    kernel = torch.randn(4, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: upfirdn2d(x, kernel, **case), x)
    # The second derivative of a linear function is 0: that of its square tells whether the graph goes on.
    assert torch.autograd.gradgradcheck(lambda x: upfirdn2d(x, kernel, **case).square(), x)


def test_gradients_by_torch_func():
    x = torch.randn(1, 2, 6, 6)
    gradient = torch.func.grad(lambda x: upsample2d(x, BINOMIAL).square().sum())(x)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(upsample2d(leaf, BINOMIAL).square().sum(), leaf)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("resize", [upsample2d, downsample2d])
def test_resizing_keeps_the_brightness(resize):
    out = resize(torch.ones(1, 1, 16, 16), BINOMIAL)
    assert out.shape[-1] == (32 if resize is upsample2d else 8)
    torch.testing.assert_close(out[..., 2:-2, 2:-2], torch.ones_like(out[..., 2:-2, 2:-2]))


def test_resizing_keeps_things_in_place():
    """A ramp stays the ramp between the centres of the pixels: neither filter shifts the image."""
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)
    torch.testing.assert_close(upsample2d(ramp, BINOMIAL)[0, 0, 8, 4:-4], torch.arange(32.0)[4:-4] / 2 - 0.25)
    torch.testing.assert_close(downsample2d(ramp, BINOMIAL)[0, 0, 4, 2:-2], torch.arange(8.0)[2:-2] * 2 + 0.5)


@pytest.mark.parametrize("size", [1, 3])
def test_convolutions_are_resampling_and_convolution(size):
    """At 3x3 the zero padding of the convolution is around the filtered image: only the border differs."""
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, 10, 10), torch.randn(4, 3, size, size)
    up = F.conv2d(upsample2d(x, BINOMIAL), weight.flip(2, 3), padding=size // 2)
    down = F.conv2d(filter2d(x, BINOMIAL, padding=1), weight, torch.arange(4.0), padding=size // 2, stride=1)
    ours_up, ours_down = upsample_conv2d(x, weight, BINOMIAL), downsample_conv2d(x, weight, torch.arange(4.0), BINOMIAL)
    assert ours_up.shape == up.shape and ours_down.shape == (2, 4, 5, 5)
    inside = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(ours_up[inside], up[inside], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours_down[..., 1:-1, 1:-1], down[..., ::2, ::2][..., 1:, 1:][..., :3, :3][..., :3, :3])


@pytest.mark.parametrize(
    ("function", "maps"),
    [
        (lambda x, weight: upfirdn2d(x, BINOMIAL, up=2, padding=(2, 1, 2, 1)), []),
        (lambda x, weight: upsample_conv2d(x, weight, BINOMIAL), [(2, 8, 16, 16)]),
        (lambda x, weight: downsample_conv2d(x, weight, None, BINOMIAL), [(2, 8, 17, 17)]),
    ],
    ids=["resampling", "up and convolution", "down and convolution"],
)
def test_keeps_no_map_for_the_backward_pass_but_what_is_convolved(function, maps):
    x, weight = torch.randn(2, 8, 16, 16, requires_grad=True), torch.randn(4, 8, 3, 3, requires_grad=True)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        function(x, weight)
    assert [tuple(t.shape) for t in kept if t.shape[0] == 2] == maps
    assert all(t.numel() <= weight.numel() for t in kept if t.shape[0] != 2) and kept


def test_type_is_kept_under_autocast():
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(1, 2, 8, 8, dtype=dtype, requires_grad=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = upsample2d(x, BINOMIAL)
        assert out.dtype == dtype
        out.sum().backward()
        assert x.grad.dtype == dtype
