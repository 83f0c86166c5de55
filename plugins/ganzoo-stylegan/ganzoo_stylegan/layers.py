"""The building blocks of StyleGAN, each a few lines and usable on its own.

Every function is differentiable twice, as R1 and path length regularisation need, and keeps the memory format it is
given. Those with gradients of their own are plain formulas inside ``torch.compile``, which finds the gradients itself
and would lose the second ones.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ganzoo import whole_batch
from ganzoo_progan.layers import EqualizedConv2d, EqualizedLinear, at_least_fp32

if TYPE_CHECKING:
    from torch.autograd.function import FunctionCtx

    from ganzoo.interfaces import Noise

MappingLr = Annotated[
    float, Field(gt=0, allow_inf_nan=False, description="learning rate of the mapping network, relative")
]


def _blur(x: Tensor) -> Tensor:
    channels = x.shape[1]
    kernel = x.new_full((channels, 1, 3, 3), 1 / 16)  # made on the device: nothing waits for a copy
    kernel[:, :, 1] *= 2
    kernel[:, :, :, 1] *= 2
    return F.conv2d(x, kernel, padding=1, groups=channels)


class _BlurFunction(torch.autograd.Function):
    """The filter is symmetric, so that its gradient is the same filter, at every order, and nothing need be kept.

    (PyTorch's gradient of the gradient of a depthwise convolution goes from channel to channel.)
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        return _blur(x)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        return _BlurFunction.apply(grad)


def blur(x: Tensor) -> Tensor:
    """[1, 2, 1] x [1, 2, 1] / 16 on every map, zero outside (Karras et al. 2019, section 2). Keeps the shape."""
    return _blur(x) if torch.compiler.is_compiling() else _BlurFunction.apply(x)


def instance_statistics(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Mean and 1 / standard deviation (the biased one) of every map, [N, C, 1, 1] in at least float32."""
    x = at_least_fp32(x)
    mean = x.mean(dim=(2, 3), keepdim=True)
    return mean, torch.rsqrt((x - mean).square().mean(dim=(2, 3), keepdim=True) + eps)


def _renormalise(x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
    factor = scale * inverse
    return torch.addcmul((shift - mean * factor).to(x.dtype), x, factor.to(x.dtype))


class _AdaINFunction(torch.autograd.Function):
    """`adain`, which says why its gradient is written out. scale, shift: [N, C, 1, 1]."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
        mean, inverse = instance_statistics(x, eps)
        ctx.save_for_backward(x, scale, mean, inverse)
        ctx.eps = eps
        return _renormalise(x, scale, shift, mean, inverse)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, scale, mean, inverse = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted, to which the statistics contribute
            mean, inverse = instance_statistics(x, ctx.eps)
        grad, x32 = at_least_fp32(grad), at_least_fp32(x)
        grad_mean = grad.mean(dim=(2, 3), keepdim=True)
        covariance = inverse * ((grad * x32).mean(dim=(2, 3), keepdim=True) - mean * grad_mean)
        # factor * (grad - mean of grad - normalised x * covariance), with x taken apart.
        factor = scale * inverse
        slope = -factor * inverse * covariance
        grad_x = torch.addcmul(torch.addcmul(-factor * grad_mean - slope * mean, x32, slope), grad, factor)
        pixels = x.shape[2] * x.shape[3]
        return grad_x.to(x.dtype), covariance * pixels, grad_mean * pixels, None


def adain(x: Tensor, scale: Tensor, shift: Tensor, eps: float = 1e-8) -> Tensor:
    """Adaptive instance normalisation (equation 1): every map of every sample gets mean `shift` and deviation `scale`.

    x [N, C, H, W]; scale, shift [N, C] -> same shape as x. The variance is the biased one; statistics are float32 even
    under autocast. Of the features only x itself is kept for the gradient, which takes a quarter of the time of that of
    a chain of operators (measured on a CPU).
    """
    scale, shift = at_least_fp32(scale)[:, :, None, None], at_least_fp32(shift)[:, :, None, None]
    if torch.compiler.is_compiling():
        return _renormalise(x, scale, shift, *instance_statistics(x, eps))
    return _AdaINFunction.apply(x, scale, shift, eps)


class AdaIN(nn.Module):
    """Adaptive instance normalisation by a learned affine function of w, the 'A' of figure 1.

    x [N, C, H, W], w [N, w_dim] -> [N, C, H, W]. The first half of the style is the scale less 1, so that training
    starts around no change.
    """

    def __init__(self, channels: int, w_dim: int) -> None:
        super().__init__()
        self.affine = EqualizedLinear(w_dim, 2 * channels, gain=1.0)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        with torch.autocast(w.device.type, enabled=False):
            scale, shift = self.affine(at_least_fp32(w)).chunk(2, dim=1)
        return adain(x, scale + 1, shift)


class NoiseInjection(nn.Module):
    """Add one map of noise to all channels, each with a learned strength that starts at 0: the 'B' of figure 1.

    x [N, C, R, R] -> the same shape. noise: as in ``ganzoo.StyleGenerator.synthesis``.
    """

    def __init__(self, channels: int, resolution: int) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(channels))
        self.register_buffer("const", torch.randn(1, 1, resolution, resolution))

    def forward(self, x: Tensor, noise: Noise = "random") -> Tensor:
        if noise == "none":
            return x
        if noise == "const":
            drawn = self.const.to(x.dtype)
        else:
            drawn = whole_batch.randn(len(x), 1, *x.shape[2:], device=x.device, dtype=x.dtype)
        return torch.addcmul(x, drawn, self.strength.to(x.dtype)[:, None, None])


class ScaledLinear(nn.Module):
    """A dense layer with equalized learning rate that also learns `lr_multiplier` times as fast (appendix C).

    Weight and bias are stored 1 / lr_multiplier times larger than they are used, so that a step of Adam, which has
    the same size for all parameters, changes them less.
    """

    def __init__(
        self, in_features: int, out_features: int, *, gain: float = math.sqrt(2), lr_multiplier: float = 1.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.scale = gain / math.sqrt(in_features) * lr_multiplier
        self.lr_multiplier = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias * self.lr_multiplier)


class BlurredUpConv2d(EqualizedConv2d):
    """Nearest 2x upsampling, a 3x3 convolution, the blur, then the bias. [N, C, H, W] -> [N, C', 2H, 2W].

    Nearest upsampling and the blur make bilinear upsampling, with the convolution between them.
    """

    def forward(self, x: Tensor) -> Tensor:
        # As ganzoo_progan's UpConv2d: zero insertion and a 2x2 sum in place of nearest upsampling.
        kernel = self.weight.flip(2, 3).transpose(0, 1) * (4 * self.scale)
        x = F.avg_pool2d(F.conv_transpose2d(x, kernel, stride=2), 2, stride=1)
        return blur(x) + self.bias.to(x.dtype)[:, None, None]
