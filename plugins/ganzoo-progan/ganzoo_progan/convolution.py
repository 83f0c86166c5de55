"""Convolutions whose second derivatives cost what first ones do.

A convolution is linear in its input and in its weight, and so are the two maps that make up its backward pass:

    y = conv(x, w)        dx = conv_x(dy, w)        dw = conv_w(dy, x)

The derivatives of each are the other two again, to any order. A gradient penalty needs the second: torch finds that of
``dx`` by the weight by convolving with images as kernels, which takes three to six times as long on CPUs.

Gradients that are nothing stay None, rather than tensors of zeros that are convolved as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

_convolution, _backward = torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default


class Geometry(NamedTuple):
    """Of a square kernel. transposed: its weight is [in, out, k, k], as that of ``conv_transpose2d``."""

    stride: int = 1
    padding: int = 0
    transposed: bool = False

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        y: Tensor = _convolution(
            x, weight, bias, [self.stride] * 2, [self.padding] * 2, [1, 1], self.transposed, [0, 0], 1
        )
        return y

    def input_gradient(self, dy: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """Of an input of that shape."""
        return self._backward(dy, _only_shape(dy, shape), weight, (True, False))[0]

    def weight_gradient(self, dy: Tensor, x: Tensor, shape: torch.Size) -> Tensor:
        """Of a weight of that shape."""
        if self._has_few_pixels(dy, x):
            return self._weight_gradient_of_patches(dy, x, shape[-1])
        return self._backward(dy, x, _only_shape(x, shape), (False, True))[1]

    def _backward(self, dy: Tensor, x: Tensor, weight: Tensor, mask: tuple[bool, bool]) -> tuple[Tensor, Tensor]:
        """Gradients of x and weight, where ``mask`` asks for them. Of what they do not need only shapes count."""
        dx, dw, _ = _backward(
            dy, x, weight, None,
            [self.stride] * 2, [self.padding] * 2, [1, 1], self.transposed, [0, 0], 1, [*mask, False],
        )  # fmt: skip
        return dx, dw

    def _has_few_pixels(self, dy: Tensor, x: Tensor) -> bool:
        """Whether patches give the gradient of a weight faster than oneDNN, which takes long for few pixels.

        Measured on a CPU with AMX, 16 and 64 images, 32 to 512 channels: 1.3 to 6 times as fast at 4 px, 1.2 to 3 at
        8 px with what is let through here; the more channels, the more.
        """
        if x.device.type != "cpu" or not all(t.is_contiguous(memory_format=torch.channels_last) for t in (x, dy)):
            return False
        small = x if self.transposed else dy
        side = 8 if self.stride > 1 or small.dtype == torch.bfloat16 else 4
        return small.shape[2] * small.shape[3] <= side**2

    def _weight_gradient_of_patches(self, dy: Tensor, x: Tensor, size: int) -> Tensor:
        """One product, of every pixel of the smaller image with the patch of the larger one that it belongs to."""
        small, large = (x, dy) if self.transposed else (dy, x)
        if self.padding:
            large = F.pad(large, [self.padding] * 4)
        patches = large.unfold(2, size, self.stride).unfold(3, size, self.stride)  # [N, C, H, W, k, k]
        patches = patches.permute(0, 2, 3, 4, 5, 1).reshape(-1, size * size * large.shape[1])
        dw = small.permute(0, 2, 3, 1).reshape(-1, small.shape[1]).t() @ patches
        return dw.view(-1, size, size, large.shape[1]).permute(0, 3, 1, 2)


SAME = Geometry()


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None, geometry: Geometry = SAME) -> Tensor:
    """``F.conv2d`` or ``F.conv_transpose2d``, in the precision that autocast asks for. Differentiable to any order.

    x [N, C, H, W], weight [C', C, k, k] (transposed: [C, C', k, k]), bias [C'] -> [N, C', H', W'].
    """
    if torch.compiler.is_compiling():  # it sees all derivatives at once, and traces no Functions that know each other
        plain = F.conv_transpose2d if geometry.transposed else F.conv2d
        return plain(x, weight, bias, stride=geometry.stride, padding=geometry.padding)
    device, dtype = x.device.type, x.dtype
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    y: Tensor = _Conv.apply(x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype), geometry)
    return y


_only_inputs = False


@contextmanager
def only_input_gradients() -> Iterator[None]:
    """Backward passes inside compute no gradients of weights and biases, which then count as independent of the input.

    For ``torch.autograd.grad`` with respect to images: a Function is not told that nobody asks for the others. Weights
    have gradients still where that gradient is itself differentiated, later and outside.
    """
    # Not thread-local: on GPUs, backward passes run in threads of torch's.
    global _only_inputs
    before, _only_inputs = _only_inputs, True
    try:
        yield
    finally:
        _only_inputs = before


class _Conv(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        ctx.set_materialize_grads(False)
        return geometry.forward(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None) -> tuple[Tensor | None, ...]:
        if dy is None:
            return None, None, None, None
        x, weight = ctx.saved_tensors
        dx = dw = db = None
        if ctx.needs_input_grad[0]:
            dx = _ConvX.apply(dy, weight, x.shape, ctx.geometry)
        if _only_inputs:
            return dx, None, None, None
        if ctx.needs_input_grad[1]:
            dw, db = _ConvW.apply(dy, x, weight.shape, ctx.needs_input_grad[2], ctx.geometry)
        elif ctx.needs_input_grad[2]:
            db = dy.sum((0, 2, 3))
        return dx, dw, db, None


class _ConvX(Function):
    """The gradient of the input."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, weight: Tensor, shape: torch.Size, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(dy, weight)
        ctx.geometry = geometry
        ctx.set_materialize_grads(False)
        return geometry.input_gradient(dy, weight, shape)

    @staticmethod
    def backward(ctx: Any, ddx: Tensor | None) -> tuple[Tensor | None, ...]:
        if ddx is None:
            return None, None, None, None
        dy, weight = ctx.saved_tensors
        ddy = dw = None
        if ctx.needs_input_grad[0]:
            ddy = _Conv.apply(ddx, weight, None, ctx.geometry)
        if ctx.needs_input_grad[1]:
            dw, _ = _ConvW.apply(dy, ddx, weight.shape, False, ctx.geometry)
        return ddy, dw, None, None


class _ConvW(Function):
    """The gradients of the weight and, if wanted, of the bias."""

    @staticmethod
    def forward(
        ctx: Any, dy: Tensor, x: Tensor, shape: torch.Size, has_bias: bool, geometry: Geometry
    ) -> tuple[Tensor, Tensor | None]:
        ctx.save_for_backward(dy, x)
        ctx.geometry = geometry
        ctx.set_materialize_grads(False)
        dw = geometry.weight_gradient(dy, x, shape)
        # A sum of its own: as a part of the convolution's backward pass it takes up to six times as long on CPUs.
        return dw, dy.sum((0, 2, 3)) if has_bias else None

    @staticmethod
    def backward(ctx: Any, ddw: Tensor | None, ddb: Tensor | None) -> tuple[Tensor | None, ...]:
        dy, x = ctx.saved_tensors
        ddy = dx = None
        if ddw is None:
            ddy = None if ddb is None else ddb[:, None, None].expand_as(dy)
            return ddy, None, None, None, None
        if ctx.needs_input_grad[0]:
            ddy = _Conv.apply(x, ddw, ddb, ctx.geometry)
        if ctx.needs_input_grad[1]:
            dx = _ConvX.apply(dy, ddw, x.shape, ctx.geometry)
        return ddy, dx, None, None, None


def _only_shape(like: Tensor, shape: torch.Size) -> Tensor:
    """A tensor of that shape that nobody reads or writes; laid out like ``like``, or it would be copied to be so."""
    last = like.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)
