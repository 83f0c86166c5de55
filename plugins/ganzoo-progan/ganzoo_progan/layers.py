"""The building blocks of ProGAN, each a few lines and usable on its own.

Every function is differentiable twice, as the gradient penalty needs, and keeps the memory format it is given. Those
with derivatives of their own are plain formulas inside ``torch.compile``, which finds the derivatives itself.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from ganzoo import whole_batch

from .convolution import Geometry, convolve

SLOPE = 0.2  # of leaky ReLU below zero


def at_least_fp32(x: Tensor) -> Tensor:
    """Half-precision tensors as float32; others unchanged (float64 stays, for numerical checks)."""
    return x if x.dtype.itemsize >= 4 else x.float()


def pixel_norm(x: Tensor, eps: float = 1e-8) -> Tensor:
    """Scale the feature vector of every pixel to unit mean square (section 4.2). x [N, C, ...] -> same shape.

    The statistics are float32 even under autocast: squares of half-precision features lose what eps protects.
    """
    if torch.compiler.is_compiling():
        return x * (at_least_fp32(x).square().mean(dim=1, keepdim=True) + eps).rsqrt().to(x.dtype)
    y: Tensor = _PixelNorm.apply(x, eps)[0]
    return y


def _pixel_lengths(x: Tensor) -> Tensor:
    """Length of the feature vector of every pixel, float32 at least. x [N, C, ...] -> [N, 1, ...]."""
    if x.dtype.itemsize >= 4 or x.device.type != "cpu":
        return torch.linalg.vector_norm(at_least_fp32(x), dim=1, keepdim=True)
    # In parts that stay in the cache: all of x in float32 is four passes over memory for the one that is needed.
    parts = x.split(max(1, 2**19 // x[0].numel()))
    return torch.cat([torch.linalg.vector_norm(part.float(), dim=1, keepdim=True) for part in parts])


class _PixelNorm(Function):
    """y = x * r, r = rsqrt(mean(x^2) + eps), so dx = r * (dy - y * mean(dy * y)): in y and r alone, x is not kept.

    r is an output as well, so that derivatives of any order can be had from that formula.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        r = _pixel_lengths(x).square_().div_(x.shape[1]).add_(eps).rsqrt_().to(x.dtype)
        y = x * r
        ctx.save_for_backward(y, r)
        ctx.set_materialize_grads(False)
        return y, r

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, dr: Tensor | None) -> tuple[Tensor | None, None]:
        y, r = ctx.saved_tensors
        along_y = None if dy is None else (dy * y).sum(dim=1, keepdim=True)
        if dr is not None:
            along_y = dr * r if along_y is None else along_y + dr * r
        if along_y is None:
            return None, None
        dx = torch.addcmul(torch.zeros_like(y) if dy is None else dy, y, along_y, value=-1 / y.shape[1])
        return (dx * r if torch.is_grad_enabled() else dx.mul_(r)), None


def check_groups(n: int, group_size: int) -> None:
    """Raise ValueError if ``minibatch_stddev`` cannot split n images into groups."""
    if n % min(group_size, n) != 0:
        raise ValueError(
            f"a batch of {n} images does not split into groups of mbstd_group_size={group_size}: "
            f"use a batch size of at most {group_size} or a multiple of it"
        )


def variance(samples: Tensor) -> Tensor:
    """Of a whole population, along the first dimension. ``Tensor.var`` takes 40 times as long there on CPUs."""
    return (samples - samples.mean(dim=0)).square().mean(dim=0)


def minibatch_stddev(x: Tensor, group_size: int, batches: int = 1) -> Tensor:
    """Append one channel that tells how much the samples of a group differ (section 3). [N, C, H, W] -> [N, C+1, H, W].

    Groups are strided as in the official code: with M = N / group_size groups, samples m, m + M, m + 2M, ... share
    one. A batch smaller than group_size is one group. Raises ValueError if the groups do not divide the batch.
    N are the images of all processes (``ganzoo.whole_batch``), of which x has a share. batches: x holds so many,
    equally large and one after another, and no group has images of two.
    """
    _, c, h, w = x.shape
    everywhere = whole_batch.gather(at_least_fp32(x).unflatten(0, (batches, -1)).transpose(0, 1))
    n = len(everywhere)
    check_groups(n, group_size)
    size = min(group_size, n)
    groups = everywhere.reshape(size, n // size, batches, c, h, w)
    stddev = (variance(groups) + 1e-8).sqrt().mean(dim=(2, 3, 4))  # one scalar a group, [M, batches]
    of_images = whole_batch.share(stddev.to(x.dtype).repeat(size, 1)).t().flatten()
    return torch.cat([x, of_images[:, None, None, None].expand(-1, 1, h, w)], dim=1)


def upsample(x: Tensor) -> Tensor:
    """Every pixel becomes a 2x2 square. [N, C, H, W] -> [N, C, 2H, 2W]."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def downsample(x: Tensor) -> Tensor:
    """Mean of every 2x2 square. [N, C, H, W] -> [N, C, H/2, W/2]."""
    return F.avg_pool2d(x, 2)


class EqualizedLinear(nn.Module):
    """A dense layer with equalized learning rate (section 4.1).

    The stored weight is N(0, 1); gain / sqrt(fan_in) is applied when it is used, so that Adam's step has the same
    relative size in every layer. The bias starts at 0 and is not scaled.
    """

    def __init__(self, in_features: int, out_features: int, *, gain: float = math.sqrt(2), bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self.scale = gain / math.sqrt(in_features)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias)


class EqualizedConv2d(nn.Module):
    """A convolution with equalized learning rate and zero padding that keeps the size; see `EqualizedLinear`."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, gain: float = math.sqrt(2)) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.scale = gain / math.sqrt(in_channels * kernel_size**2)
        self.padding = kernel_size // 2

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight * self.scale, self.bias, Geometry(padding=self.padding))


# Both layers below leave out most of the multiplications of a plain implementation, and compute the same function.
# A 2x2 box filter commutes with the convolution, so the convolution can run where it meets the fewest pixels: on the
# input before every pixel becomes four, or only for the outputs that are kept.


class UpConv2d(EqualizedConv2d):
    """Nearest 2x upsampling, then a 3x3 convolution. [N, C, H, W] -> [N, C', 2H, 2W]."""

    def forward(self, x: Tensor) -> Tensor:
        # Nearest upsampling is zero insertion and a 2x2 sum; the transposed convolution does the first together with
        # the (flipped) kernel. The bias comes last: given to the convolution, it makes that 20 times slower on CPUs.
        kernel = self.weight.flip(2, 3).transpose(0, 1) * (4 * self.scale)
        x = box(convolve(x, kernel, geometry=Geometry(stride=2, transposed=True)))
        return x.add_(self.bias.to(x.dtype)[:, None, None])


class DownConv2d(EqualizedConv2d):
    """A 3x3 convolution, then 2x2 averaging, then the bias. [N, C, H, W] -> [N, C', H/2, W/2]."""

    def forward(self, x: Tensor) -> Tensor:
        return convolve(box(x, padding=1), self.weight * self.scale, self.bias, Geometry(stride=2))


def box(x: Tensor, padding: int = 0) -> Tensor:
    """Mean of every 2x2 window, one pixel apart. [N, C, H, W] -> [N, C, H - 1, W - 1], or + 1 with padding 1."""
    if torch.compiler.is_compiling():
        return F.avg_pool2d(x, 2, stride=1, padding=padding)
    y: Tensor = _Box.apply(x, padding)
    return y


class _Box(Function):
    """The gradient of a box filter is the box filter with the other padding: torch's own is several times slower."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: int) -> Tensor:
        ctx.padding = padding
        ctx.set_materialize_grads(False)
        if x.dtype == torch.bfloat16 and x.device.type == "cpu" and x.shape[2] * x.shape[3] >= 256:
            # Twice as fast on CPUs from 16 px on, and the same numbers: a quarter is exact, and sums are float32.
            quarters = x.new_full((x.shape[1], 1, 2, 2), 0.25)
            return F.conv2d(x, quarters, padding=padding, groups=x.shape[1])
        return F.avg_pool2d(x, 2, stride=1, padding=padding)

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None) -> tuple[Tensor | None, None]:
        return None if dy is None else _Box.apply(dy, 1 - ctx.padding), None


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU with slope 0.2, in place: the convolutions before it do not need their output again."""
    if torch.compiler.is_compiling():
        return F.leaky_relu(x, SLOPE)
    y: Tensor = _Leaky.apply(x)
    return y


class _Leaky(Function):
    """Piecewise linear: the slopes have no gradient, for which torch fills and adds tensors of zeros."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        y = F.leaky_relu_(x, SLOPE)
        ctx.save_for_backward(y)
        ctx.set_materialize_grads(False)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None) -> Tensor | None:
        (y,) = ctx.saved_tensors
        return None if dy is None else _LeakySlopes.apply(dy, y)


class _LeakySlopes(Function):
    """dy times the slope at y: 1 where it is positive, else 0.2."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(y)
        ctx.set_materialize_grads(False)
        dx: Tensor = torch.ops.aten.leaky_relu_backward(dy, y, SLOPE, True)
        return dx

    @staticmethod
    def backward(ctx: Any, ddx: Tensor | None) -> tuple[Tensor | None, None]:
        (y,) = ctx.saved_tensors
        return None if ddx is None else _LeakySlopes.apply(ddx, y), None
