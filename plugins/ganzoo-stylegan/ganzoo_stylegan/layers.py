"""The building blocks of StyleGAN, each a few lines and usable on its own.

Every function is differentiable twice, as R1 and path length regularisation need, and keeps the memory format it is
given.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganzoo_progan.layers import EqualizedConv2d, EqualizedLinear, at_least_fp32

if TYPE_CHECKING:
    from ganzoo.interfaces import Noise


def blur(x: Tensor) -> Tensor:
    """[1, 2, 1] x [1, 2, 1] / 16 on every map, zero outside (Karras et al. 2019, section 2). Keeps the shape.

    Two 2x2 means, which are the same filter and faster than a convolution with one kernel a channel.
    """
    return F.avg_pool2d(F.avg_pool2d(x, 2, stride=1, padding=1), 2, stride=1)


def adain(x: Tensor, scale: Tensor, shift: Tensor, eps: float = 1e-8) -> Tensor:
    """Adaptive instance normalisation (equation 1): every map of every sample gets mean `shift` and deviation `scale`.

    x [N, C, H, W]; scale, shift [N, C] -> same shape as x. The variance is the biased one. The statistics are float32
    even under autocast.
    """
    variance, mean = torch.var_mean(at_least_fp32(x), dim=(2, 3), correction=0, keepdim=True)
    scale = scale[:, :, None, None] * torch.rsqrt(variance + eps)
    shift = shift[:, :, None, None] - mean * scale
    return torch.addcmul(shift.to(x.dtype), x, scale.to(x.dtype))


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
            drawn = torch.randn(len(x), 1, *x.shape[2:], device=x.device, dtype=x.dtype)
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
