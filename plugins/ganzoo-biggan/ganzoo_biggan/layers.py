"""The building blocks of SNGAN, SAGAN and BigGAN, each a few lines and usable on its own.

All are differentiable twice and keep the memory format they are given. Statistics and spectral norms are float32 even
under autocast.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganzoo import whole_batch
from ganzoo_progan.layers import downsample, upsample

Init = Literal["ortho", "N02", "xavier"]


class SpectralNorm(nn.Module):
    """A weight [rows, ...] -> itself over its largest singular value (Miyato et al. 2018, algorithm 1).

    For any convolution, dense layer or embedding. One power iteration a call, from the left singular vector of the
    call before; in eval mode the vector is not replaced, so that outputs stay the same. Gradients flow through the
    singular value, but not through the iteration. rows: of the weight. eps: smallest norm of a vector.
    """

    u: Tensor

    def __init__(self, rows: int, *, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("u", torch.randn(rows))

    def forward(self, weight: Tensor) -> Tensor:
        # Three digits of bfloat16 are too few for a vector that is to converge.
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.flatten(1)
            with torch.no_grad():
                v = F.normalize(matrix.T @ self.u, dim=0, eps=self.eps)
                u = F.normalize(matrix @ v, dim=0, eps=self.eps)
                if self.training:
                    self.u.copy_(u)
            return weight / torch.dot(u, matrix @ v)


class _Weighted(nn.Module):
    """A layer with a weight [rows, ...], spectrally normalised or not, and perhaps a bias."""

    def __init__(self, *shape: int, bias: int, spectral_norm: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.zeros(bias)) if bias else None
        self.norm = SpectralNorm(shape[0]) if spectral_norm else nn.Identity()
        initialise(self.weight, "xavier")


class Linear(_Weighted):
    """A dense layer. [N, in_features] -> [N, out_features]."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True, spectral_norm: bool = True) -> None:
        super().__init__(out_features, in_features, bias=out_features * bias, spectral_norm=spectral_norm)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.norm(self.weight), self.bias)


class Embedding(_Weighted):
    """Labels [N, classes], one-hot or any other weights of classes, to vectors [N, features]."""

    def __init__(self, classes: int, features: int, *, spectral_norm: bool = False) -> None:
        super().__init__(classes, features, bias=0, spectral_norm=spectral_norm)

    def forward(self, c: Tensor) -> Tensor:
        return c.to(self.weight.dtype) @ self.norm(self.weight)


class Conv2d(_Weighted):
    """A convolution with zero padding that keeps the size, after enlarging or before averaging if ``scale`` says so.

    scale 'up': nearest 2x upsampling first, 'down': 2x2 averaging last. A box filter commutes with the convolution,
    which can therefore run where it meets the fewest pixels; see ganzoo_progan.layers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Literal[1, 3],
        *,
        bias: bool = True,
        scale: Literal["up", "down"] | None = None,
        spectral_norm: bool = True,
    ) -> None:
        super().__init__(
            out_channels,
            in_channels,
            kernel_size,
            kernel_size,
            bias=out_channels * bias,
            spectral_norm=spectral_norm,
        )
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        weight = self.norm(self.weight)
        if weight.shape[2] == 1:  # commutes with both
            x = F.conv2d(downsample(x) if self.scale == "down" else x, weight, self.bias)
            return upsample(x) if self.scale == "up" else x
        if self.scale == "up":
            x = F.conv_transpose2d(x, weight.flip(2, 3).transpose(0, 1) * 4, stride=2)
            x = F.avg_pool2d(x, 2, stride=1)
            return x if self.bias is None else x + self.bias.to(x.dtype)[:, None, None]
        if self.scale == "down":
            return F.conv2d(F.avg_pool2d(x, 2, stride=1, padding=1), weight, self.bias, stride=2)
        return F.conv2d(x, weight, self.bias, padding=1)


class BatchNorm2d(nn.Module):
    """Batch normalisation without gain and bias. x [N, C, H, W] -> same shape; eval mode takes the running statistics.

    As `torch.nn.BatchNorm2d` without its counter of batches.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return whole_batch.batch_norm(
            x, self.running_mean, self.running_var, training=self.training, momentum=self.momentum, eps=self.eps
        )


class AffineBatchNorm2d(BatchNorm2d):
    """Batch normalisation with a gain and a bias a channel. What it is given as condition is not looked at."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return whole_batch.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.gain,
            self.bias,
            training=self.training,
            momentum=self.momentum,
            eps=self.eps,
        )


class ConditionalBatchNorm2d(BatchNorm2d):
    """Batch normalisation whose gain and bias are functions of a condition y [N, y_dim] (Dumoulin et al. 2017).

    gain, bias: modules from y to [N, C]; 1 is added to the gain.
    """

    def __init__(self, channels: int, *, gain: nn.Module, bias: nn.Module) -> None:
        super().__init__(channels)
        self.gain = gain
        self.bias = bias

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x = super().forward(x)
        gain, bias = (1 + self.gain(y)).to(x.dtype), self.bias(y).to(x.dtype)
        return torch.addcmul(bias[:, :, None, None], x, gain[:, :, None, None])


class SelfAttention(nn.Module):
    """Every pixel looks at every 2x2 square (Zhang et al. 2019, section 3). x [N, C, H, W] -> same shape.

    C must be at least 8. What it adds is weighted by a learned gate that starts at 0.
    """

    def __init__(self, channels: int, *, spectral_norm: bool = True) -> None:
        super().__init__()
        if channels < 8:
            raise ValueError(f"self-attention needs at least 8 channels and has {channels}: raise ch")
        self.theta = Conv2d(channels, channels // 8, 1, bias=False, spectral_norm=spectral_norm)
        self.phi = Conv2d(channels, channels // 8, 1, bias=False, spectral_norm=spectral_norm)
        self.g = Conv2d(channels, channels // 2, 1, bias=False, spectral_norm=spectral_norm)
        self.o = Conv2d(channels // 2, channels, 1, bias=False, spectral_norm=spectral_norm)
        self.gamma = nn.Parameter(torch.zeros([]))

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        query = self.theta(x).flatten(2)  # [N, C/8, HW]
        key = F.max_pool2d(self.phi(x), 2).flatten(2)  # [N, C/8, HW/4]
        value = F.max_pool2d(self.g(x), 2).flatten(2)  # [N, C/2, HW/4]
        weights = torch.softmax(query.transpose(1, 2) @ key, dim=2)  # [N, HW, HW/4], without 1 / sqrt(C)
        out = (value @ weights.transpose(1, 2)).reshape(n, -1, h, w)
        return x + self.gamma.to(x.dtype) * self.o(out)


@torch.no_grad()
def initialise(weight: Tensor, init: Init) -> None:
    """ortho: orthogonal rows or columns (BigGAN); N02: N(0, 0.02); xavier: uniform, by fan-in and fan-out."""
    if init == "ortho":
        nn.init.orthogonal_(weight)
    elif init == "N02":
        nn.init.normal_(weight, std=0.02)
    else:
        nn.init.xavier_uniform_(weight)


def initialise_all(module: nn.Module, init: Init) -> None:
    """Draw the weights of all layers of this file anew. Biases and gates keep their zeros."""
    for layer in module.modules():
        if isinstance(layer, _Weighted):
            initialise(layer.weight, init)
