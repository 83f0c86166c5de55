"""FIR filters between resolutions: zero insertion, padding, filter, decimation (Karras et al. 2020 and 2021).

Plain PyTorch, differentiable as often as wanted. Nothing is kept for the backward pass but the kernel, and everything
is computed in the type and the memory format of the input; on CPUs channels-last is several times faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ganzoo_progan.layers import at_least_fp32

Pair = tuple[int, int]  # vertical, horizontal


def fir_kernel(taps: Sequence[float]) -> Tensor:
    """The outer product of ``taps`` with themselves, of sum 1. [L, L]"""
    line = torch.tensor(taps, dtype=torch.float32)
    return line.outer(line) / line.sum().square()


def upfirdn2d(
    x: Tensor, kernel: Tensor, *, up: int = 1, down: int = 1, padding: int | Sequence[int] = 0, gain: float = 1.0
) -> Tensor:
    """Insert zeros, pad or crop, convolve, keep every ``down``-th pixel. x [N, C, H, W] -> [N, C, H', W'].

    Each pixel becomes ``up`` x ``up``, itself at the top left. padding: (left, right, top, bottom) in pixels after
    that, or one number; negative values crop. kernel: [L, L'], or [L], applied along both axes in turn. The convolution
    is a true one (the kernel is flipped) without padding of its own: H' = (H * up + top + bottom - L) // down + 1.
    gain multiplies the result; keeping the brightness when upsampling takes up * up.
    """
    left, right, top, bottom = (padding,) * 4 if isinstance(padding, int) else padding
    if kernel.ndim == 2:
        return _filter(x, kernel * gain, (up, up), (down, down), (top, bottom), (left, right))
    x = _filter(x, kernel[None] * gain, (1, up), (1, down), (0, 0), (left, right))
    return _filter(x, kernel[:, None], (up, 1), (down, 1), (top, bottom), (0, 0))


def filter2d(x: Tensor, kernel: Tensor, *, padding: int, gain: float = 1.0) -> Tensor:
    """Pad every side, then convolve with ``kernel`` [L, L]. [N, C, H, W] -> [N, C, H + 2 * padding - L + 1, ...]."""
    return upfirdn2d(x, kernel, padding=padding, gain=gain)


def upsample2d(x: Tensor, kernel: Tensor) -> Tensor:
    """Twice the size, at the same brightness, with an even number of taps. [N, C, H, W] -> [N, C, 2H, 2W]."""
    size = kernel.shape[-1]
    return upfirdn2d(x, kernel, up=2, padding=(size // 2, size // 2 - 1) * 2, gain=4.0)


def downsample2d(x: Tensor, kernel: Tensor) -> Tensor:
    """Half the size, with an even number of taps. [N, C, H, W] -> [N, C, H/2, W/2]."""
    return upfirdn2d(x, kernel, down=2, padding=kernel.shape[-1] // 2 - 1)


def upsample_conv2d(x: Tensor, weight: Tensor, kernel: Tensor) -> Tensor:
    """`upsample2d` and a convolution in one. x [N, C, H, W], weight [C', C, k, k], k 1 or 3 -> [N, C', 2H, 2W].

    For k = 3 the weight is convolved, not correlated as elsewhere: it goes as it is into a transposed convolution,
    which inserts the zeros in passing and spares three quarters of the products.
    """
    if weight.shape[-1] == 1:  # a 1x1 convolution commutes with the filter: first, on a quarter of the pixels
        return upsample2d(F.conv2d(x, weight), kernel)
    x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    return filter2d(x, kernel, padding=kernel.shape[-1] // 2 - 1, gain=4.0)


def downsample_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, kernel: Tensor) -> Tensor:
    """The filter and a strided convolution. x [N, C, H, W], weight [C', C, k, k], k 1 or 3 -> [N, C', H/2, W/2]."""
    if weight.shape[-1] == 1:
        return F.conv2d(downsample2d(x, kernel), weight, bias)
    return F.conv2d(filter2d(x, kernel, padding=kernel.shape[-1] // 2), weight, bias, stride=2)


def _filter(x: Tensor, kernel: Tensor, up: Pair, down: Pair, pad_y: Pair, pad_x: Pair) -> Tensor:
    """`upfirdn2d` with up, down and padding by axis."""
    if torch.compiler.is_compiling():  # it finds the derivatives itself, and would lose second ones of a Function
        with torch.autocast(x.device.type, enabled=False):
            return _resample(x, kernel.to(x.dtype), up, down, pad_y, pad_x)
    return _Resample.apply(x, kernel, up, down, pad_y, pad_x)


class _Resample(torch.autograd.Function):
    """`_filter`.

    The function is linear and its adjoint of the same kind, so that every derivative comes from here. Left to autograd,
    the convolution inside would keep its input, although the kernel is not trained, and its backward passes would be
    slower than this.
    """

    @staticmethod
    def forward(x: Tensor, kernel: Tensor, up: Pair, down: Pair, pad_y: Pair, pad_x: Pair) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return _resample(x, kernel.to(x.dtype), up, down, pad_y, pad_x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, kernel, up, down, pad_y, pad_x = inputs
        ctx.save_for_backward(kernel)
        ctx.up, ctx.down = up, down
        ctx.pads = [
            _adjoint_padding(*sizes)
            for sizes in zip(x.shape[2:], output.shape[2:], kernel.shape, up, down, (pad_y, pad_x), strict=True)
        ]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (kernel,) = ctx.saved_tensors
        return _Resample.apply(grad, kernel.flip(0, 1), ctx.down, ctx.up, *ctx.pads), None, None, None, None, None


def _adjoint_padding(size: int, out_size: int, taps: int, up: int, down: int, pad: Pair) -> Pair:
    """Padding along one axis that, with up and down exchanged and the kernel flipped, gives the adjoint."""
    before = taps - 1 - pad[0]
    return before, (size - 1) * up + 1 + pad[0] - out_size * down


def _resample(x: Tensor, kernel: Tensor, up: Pair, down: Pair, pad_y: Pair, pad_x: Pair) -> Tensor:
    channels = x.shape[1]
    pads = (*pad_x, *pad_y)  # left, right, top, bottom
    if up == (1, 1):
        if pad_y[0] == pad_y[1] >= 0 and pad_x[0] == pad_x[1] >= 0:
            symmetric = (pad_y[0], pad_x[0])
        else:
            x, symmetric = F.pad(x, pads), (0, 0)
        weight = kernel.flip(0, 1).expand(channels, 1, *kernel.shape)
        return F.conv2d(x, weight, stride=down, padding=symmetric, groups=channels)

    # A transposed convolution inserts the zeros. It is the full convolution: padding means cropping less of it.
    tall, wide = kernel.shape
    crops = (wide - 1 - pad_x[0], wide - up[1] - pad_x[1], tall - 1 - pad_y[0], tall - up[0] - pad_y[1])
    common = (max(0, min(crops[2:])), max(0, min(crops[:2])))
    weight = kernel.expand(channels, 1, *kernel.shape)
    if x.device.type == "cpu":  # which has no fast kernel for this in bfloat16: the detour is 10 to 100 times faster
        given, x, weight = x.dtype, at_least_fp32(x), at_least_fp32(weight)
        x = F.conv_transpose2d(x, weight, stride=up, padding=common, groups=channels).to(given)
    else:
        x = F.conv_transpose2d(x, weight, stride=up, padding=common, groups=channels)
    rest = [common[1] - crops[0], common[1] - crops[1], common[0] - crops[2], common[0] - crops[3]]
    if any(rest):
        x = F.pad(x, rest)
    return x if down == (1, 1) else x[..., :: down[0], :: down[1]].clone()
