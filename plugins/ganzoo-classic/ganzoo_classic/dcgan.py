"""DCGAN (Radford et al. 2016, arXiv:1511.06434), for any power of two from 8 px on.

At 64 px the networks are those of pytorch/examples number for number, which are those of the paper's code. Other sizes
have more or fewer of the same layers.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import GrowthState, whole_batch
from ganzoo_progan.layers import at_least_fp32, leaky

from .layers import MinibatchDiscrimination, append_labels, logits_dim, refuse_growing

FmapMax = Annotated[int, Field(ge=1, description="the most feature maps a layer has: 512 is 8 * 64, as at 64 px")]


def resolutions_from_4(img_resolution: int) -> list[int]:
    """[4, 8, ..., img_resolution / 2]. Raises ValueError if img_resolution is not a power of two of at least 8."""
    if img_resolution < 8 or img_resolution & (img_resolution - 1):
        below = 1 << max(img_resolution.bit_length() - 1, 3)
        raise ValueError(
            f"dcgan doubles or halves images from or to 4x4 and cannot work at {img_resolution}x{img_resolution}: "
            f"set data.img_resolution to a power of two, for example {below} or {2 * below}"
        )
    return [1 << r for r in range(2, img_resolution.bit_length() - 1)]


def feature_maps(resolution: int, img_resolution: int, base: int, fmap_max: int) -> int:
    """`base` at half the final resolution, twice as many whenever it halves, and fmap_max at most."""
    return min(base * img_resolution // (2 * resolution), fmap_max)


def make_norm(name: Literal["batch", "layer", "none"], channels: int) -> nn.Module:
    """Normalisation of [N, channels, H, W]. 'layer' is that of each image on its own, with a gain for each channel."""
    if name == "none":
        return nn.Identity()
    norm: nn.BatchNorm2d | nn.GroupNorm = (
        whole_batch.BatchNorm2d(channels) if name == "batch" else nn.GroupNorm(1, channels)
    )
    nn.init.normal_(norm.weight, 1.0, 0.02)
    return norm


def initialised(conv: nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    """Weights from N(0, 0.02), section 4 of the paper; biases, where there are any, 0."""
    nn.init.normal_(conv.weight, 0.0, 0.02)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


class Generator(ganzoo.Generator):
    """Latents [N, z_dim] and labels [N, c_dim] to images [N, img_channels, R, R] in (-1, 1).

    Transposed convolutions from 1x1 to 4x4 and on by doubling, each with batch norm and ReLU; the last one with tanh.
    Labels are concatenated to the latents.
    """

    def __init__(
        self,
        *,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        z_dim: Annotated[int, Field(ge=1, description="size of the latent vector")] = 100,
        ngf: Annotated[int, Field(ge=1, description="feature maps at half the final resolution")] = 64,
        fmap_max: FmapMax = 512,
    ) -> None:
        super().__init__(z_dim=z_dim, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        widths = [feature_maps(r, img_resolution, ngf, fmap_max) for r in resolutions_from_4(img_resolution)]
        ins = [z_dim + c_dim, *widths]
        self.convs = nn.ModuleList()
        self.norms = nn.ModuleList()
        for i, width in enumerate(widths):
            stride, padding = (2, 1) if i > 0 else (1, 0)
            self.convs.append(initialised(nn.ConvTranspose2d(ins[i], width, 4, stride, padding, bias=False)))
            self.norms.append(make_norm("batch", width))
        self.to_rgb = initialised(nn.ConvTranspose2d(widths[-1], img_channels, 4, 2, 1, bias=False))

    def check_resolution(self, resolution: int) -> None:
        refuse_growing("dcgan", self.img_resolution, resolution)

    def forward(self, z: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        self.check_resolution(growth.resolution)
        x = append_labels(z, c, self.c_dim)[:, :, None, None]
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)), inplace=True)
        return torch.tanh(at_least_fp32(self.to_rgb(x)))


class Discriminator(ganzoo.Discriminator):
    """Images [N, img_channels, R, R] and labels [N, c_dim] to logits [N, 1], or with ``aux`` [N, 1 + c_dim].

    Strided convolutions down to 4x4, leaky ReLU, a norm in all but the first, and a 4x4 convolution to the logits.
    Labels are constant maps beside the channels of the image. With ``aux`` they are not looked at: columns 1 and on
    classify the image (Odena et al. 2017).
    """

    has_features = True

    def __init__(
        self,
        *,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        ndf: Annotated[int, Field(ge=1, description="feature maps at half the final resolution")] = 64,
        fmap_max: FmapMax = 512,
        norm: Annotated[
            Literal["batch", "layer", "none"],
            Field(description="gradient penalties of each image need layer or none: batch norm mixes images"),
        ] = "batch",
        mbdisc_kernels: Annotated[
            int, Field(ge=0, description="kernels of minibatch discrimination (Salimans et al. 2016); 0 = off")
        ] = 0,
        mbdisc_dim: Annotated[int, Field(ge=1, description="size of each of these kernels")] = 8,
        aux: Annotated[bool, Field(description="classify images (AC-GAN) in place of looking at labels")] = False,
    ) -> None:
        super().__init__(c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        out_features = logits_dim(c_dim, aux)
        self.aux_dim = out_features - 1
        self.seen_c_dim = 0 if aux else c_dim
        widths = [feature_maps(r, img_resolution, ndf, fmap_max) for r in resolutions_from_4(img_resolution)[::-1]]
        ins = [img_channels + self.seen_c_dim, *widths]
        self.convs = nn.ModuleList()
        self.norms = nn.ModuleList()
        for i, width in enumerate(widths):
            self.convs.append(initialised(nn.Conv2d(ins[i], width, 4, 2, 1, bias=norm == "none")))
            self.norms.append(make_norm(norm if i > 0 else "none", width))
        self.out = initialised(nn.Conv2d(widths[-1], out_features, 4, bias=False))
        self.mbdisc: MinibatchDiscrimination | None = None
        if mbdisc_kernels > 0:
            self.mbdisc = MinibatchDiscrimination(widths[-1] * 16, mbdisc_kernels, mbdisc_dim)
            # One dense layer on features and closeness together would be the sum of two, of which `out` is the first.
            self.mbdisc_out = nn.Linear(mbdisc_kernels, out_features)
            nn.init.normal_(self.mbdisc_out.weight, 0.0, 0.02)

    def check_resolution(self, resolution: int) -> None:
        refuse_growing("dcgan", self.img_resolution, resolution)

    def forward(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        x = self._maps(img, c, growth)
        # bfloat16 has three digits: too few for scores whose differences the loss is made of.
        with torch.autocast(x.device.type, enabled=False):
            logits = self.out(x).flatten(1)
            if self.mbdisc is not None:
                logits = logits + self.mbdisc_out(self.mbdisc(x.flatten(1)))
            return logits

    def features(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        """[N, 16 * maps at 4x4], and closeness behind them where there is minibatch discrimination."""
        x = self._maps(img, c, growth).flatten(1)
        with torch.autocast(x.device.type, enabled=False):
            return x if self.mbdisc is None else torch.cat([x, self.mbdisc(x)], dim=1)

    def _maps(self, img: Tensor, c: Tensor | None, growth: GrowthState) -> Tensor:
        """float32 [N, maps, 4, 4]."""
        self.check_resolution(growth.resolution)
        x = append_labels(img, c, self.seen_c_dim)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = leaky(norm(conv(x)))
        return at_least_fp32(x)
