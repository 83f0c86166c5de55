"""ProGAN as pytorch_GAN_zoo (facebookresearch, commit b75dee4) trains and samples it, by its own conventions.

It computes what theirs computes, in the way theirs does: equalized layers multiply their output, so bias included;
every resolution is convolved at its full size; D averages after the activation; the fakes of the D step are generated
with a graph that is thrown away; the gradient penalty has a backward pass of its own, before that of the rest, and
keeps its graph; D is not frozen while G learns; gradients are searched for infinities and NaNs by two masks each;
Adam as torch.optim constructs it by default; the average of G parameter by parameter. float32 and contiguous,
as it knows nothing else. ``tests/benchmarks/test_peers.py`` compares images, scores, losses, gradients and a whole step
with recordings of the original.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Equalized(nn.Module):
    """A layer whose output, bias included, is multiplied by He's constant: sqrt(2 / fan_in), in every layer."""

    def __init__(self, module: nn.Conv2d | nn.Linear) -> None:
        super().__init__()
        self.module = module
        nn.init.normal_(module.weight)
        nn.init.zeros_(module.bias)
        self.factor = math.sqrt(2 / module.weight[0].numel())

    def forward(self, x: Tensor) -> Tensor:
        out = self.module(x)
        out *= self.factor
        return out


def conv(in_channels: int, out_channels: int, size: int) -> Equalized:
    return Equalized(nn.Conv2d(in_channels, out_channels, size, padding=size // 2))


def leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


def normalize(x: Tensor) -> Tensor:
    return x * ((x**2).mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def upscale(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.reshape(n, c, h, 1, w, 1).expand(n, c, h, 2, w, 2).reshape(n, c, 2 * h, 2 * w)


def minibatch_stddev(x: Tensor) -> Tensor:
    """Groups are runs of four samples, or the batch if those do not divide it; the variance is unbiased."""
    n, c, h, w = x.shape
    size = 4 if n % 4 == 0 else n
    if n == 1:
        return torch.cat([x, x.new_zeros(1, 1, h, w)], dim=1)
    stddev = (x.reshape(-1, size, c, h, w).var(dim=1) + 1e-8).sqrt().flatten(1).mean(dim=1)
    channel = stddev.reshape(-1, 1, 1, 1, 1).expand(-1, size, 1, h, w).reshape(n, 1, h, w)
    return torch.cat([x, channel], dim=1)


class Generator(nn.Module):
    """Latents [N, z_dim] -> images [N, 3, R, R]. depths: feature maps at 4, 8, ..., R px. alpha: of the OLD images."""

    def __init__(self, z_dim: int, depths: Sequence[int], img_channels: int = 3) -> None:
        super().__init__()
        self.alpha = 0.0
        self.formatLayer = Equalized(nn.Linear(z_dim, 16 * depths[0]))
        self.groupScale0 = nn.ModuleList([conv(depths[0], depths[0], 3)])
        self.scaleLayers = nn.ModuleList(
            nn.ModuleList([conv(old, new, 3), conv(new, new, 3)]) for old, new in itertools.pairwise(depths)
        )
        self.toRGBLayers = nn.ModuleList(conv(depth, img_channels, 1) for depth in depths)

    def forward(self, z: Tensor) -> Tensor:
        x = leaky(self.formatLayer(normalize(z)))
        x = normalize(x.reshape(len(x), -1, 4, 4))
        x = older = normalize(leaky(self.groupScale0[0](x)))
        for scale in self.scaleLayers:
            older, x = x, upscale(x)
            for layer in scale:
                x = normalize(leaky(layer(x)))
        img = self.toRGBLayers[-1](x)
        if self.alpha > 0:
            img = self.alpha * upscale(self.toRGBLayers[-2](older)) + (1 - self.alpha) * img
        return img


class Discriminator(nn.Module):
    """Images [N, 3, R, R] -> scores [N, 1]. Blends two resolutions while alpha > 0, but not at 8 px, as theirs."""

    def __init__(self, depths: Sequence[int], img_channels: int = 3) -> None:
        super().__init__()
        self.alpha = 0.0
        self.scaleLayers = nn.ModuleList(
            nn.ModuleList([conv(new, new, 3), conv(new, old, 3)]) for old, new in itertools.pairwise(depths)
        )
        self.fromRGBLayers = nn.ModuleList(conv(img_channels, depth, 1) for depth in depths)
        first = depths[0]
        self.groupScaleZero = nn.ModuleList([conv(first + 1, first, 3), Equalized(nn.Linear(first * 16, first))])
        self.decisionLayer = Equalized(nn.Linear(first, 1))

    def forward(self, img: Tensor) -> Tensor:
        blending = self.alpha > 0 and len(self.scaleLayers) > 1
        if blending:
            older = leaky(self.fromRGBLayers[-2](F.avg_pool2d(img, 2)))
        x = leaky(self.fromRGBLayers[-1](img))
        for scale in reversed(self.scaleLayers):
            for layer in scale:
                x = leaky(layer(x))
            x = F.avg_pool2d(x, 2)
            if blending:
                x, blending = self.alpha * older + (1 - self.alpha) * x, False
        x = leaky(self.groupScaleZero[0](minibatch_stddev(x)))
        return self.decisionLayer(leaky(self.groupScaleZero[1](x.flatten(1))))


class Trainer:
    """The networks, their optimisers and the average of G; ``step`` is one update of each, ``sample`` its images."""

    def __init__(self, z_dim: int, depths: Sequence[int], img_channels: int = 3) -> None:
        self.z_dim = z_dim
        self.G, self.D = Generator(z_dim, depths, img_channels), Discriminator(depths, img_channels)
        self.G_avg = copy.deepcopy(self.G).requires_grad_(False)
        self.opt_G, self.opt_D = (
            torch.optim.Adam(net.parameters(), lr=0.001, betas=(0.0, 0.99)) for net in (self.G, self.D)
        )

    def step(self, real: Tensor) -> None:
        """real [N, 3, R, R] in [-1, 1]: D learns, then G, then the average follows."""
        self.d_step(real)
        self.g_step(len(real))
        self.average()

    def d_step(self, real: Tensor, z: Tensor | None = None, mixing: Tensor | None = None) -> float:
        """Returns the loss, a sum over the batch. z, mixing [N, 1], the weight of the real images: None draws them."""
        self.opt_D.zero_grad()
        real_score = self.D(real)
        loss = -real_score[:, 0].sum()
        fake = self.G(torch.randn(len(real), self.z_dim) if z is None else z).detach()
        loss = loss + self.D(fake)[:, 0].sum()
        penalty = self._penalty(real, fake, torch.rand(len(real), 1) if mixing is None else mixing)
        loss = loss + (real_score[:, 0] ** 2).sum() * 0.001
        loss.backward()
        drop_what_is_not_finite(self.D.parameters())
        self.opt_D.step()
        return loss.item() + penalty

    def _penalty(self, real: Tensor, fake: Tensor, mixing: Tensor) -> float:
        mixing = mixing.expand(len(real), real[0].numel()).contiguous().reshape(real.shape)
        mixed = (mixing * real + (1 - mixing) * fake).requires_grad_()
        (gradient,) = torch.autograd.grad(self.D(mixed)[:, 0].sum(), mixed, create_graph=True, retain_graph=True)
        flat = gradient.reshape(len(real), -1)
        penalty = (((flat * flat).sum(dim=1).sqrt() - 1) ** 2).sum() * 10
        penalty.backward(retain_graph=True)
        return penalty.item()

    def g_step(self, n: int, z: Tensor | None = None) -> float:
        """Returns the loss, a sum over the batch of n images."""
        self.opt_G.zero_grad()
        self.opt_D.zero_grad()
        loss = -self.D(self.G(torch.randn(n, self.z_dim) if z is None else z))[:, 0].sum()
        loss.backward()
        drop_what_is_not_finite(self.G.parameters())
        self.opt_G.step()
        return loss.item()

    def average(self) -> None:
        for p, average in zip(self.G.parameters(), self.G_avg.parameters(), strict=True):
            average.mul_(0.999).add_(p.data, alpha=0.001)

    def sample(self, z: Tensor) -> Tensor:
        """Images of the average. Its parameters need no gradients; that is all that is saved."""
        return self.G_avg(z).cpu()


def drop_what_is_not_finite(parameters: Iterable[nn.Parameter]) -> None:
    for p in parameters:
        if p.grad is not None:
            p.grad[p.grad.abs() == math.inf] = 0
            p.grad[p.grad != p.grad] = 0
