"""ProGAN's generator and discriminator (Karras et al. 2018, appendix A; table 2).

Both hold every resolution from 4x4 to the final one and run only what ``growth`` asks for: images have the current
resolution, nothing is upsampled to the final one, and outside a fade (alpha = 1) the older branch is not computed.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import GrowthState

from .layers import (
    DownConv2d,
    EqualizedConv2d,
    EqualizedLinear,
    UpConv2d,
    at_least_fp32,
    check_groups,
    downsample,
    leaky,
    minibatch_stddev,
    pixel_norm,
    upsample,
)

ZDim = Annotated[int, Field(ge=1, description="size of the latent vector")]
FmapBase = Annotated[int, Field(ge=1, description="feature maps times resolution / 2: 8192 gives 16 maps at 1024x1024")]
FmapDecay = Annotated[float, Field(ge=0, description="maps fall by 2^fmap_decay when the resolution doubles")]
FmapMax = Annotated[int, Field(ge=1, description="the most feature maps a layer has")]


def resolutions_up_to(img_resolution: int, who: str = "progan grows by doubling") -> list[int]:
    """[4, 8, ..., img_resolution]. Raises ValueError, with what ``who`` does, if there is no such way to it."""
    if img_resolution < 4 or img_resolution & (img_resolution - 1):
        below = 1 << max(img_resolution.bit_length() - 1, 2)
        raise ValueError(
            f"{who} from 4x4 and cannot make {img_resolution}x{img_resolution} images: "
            f"set data.img_resolution to a power of two, for example {below} or {2 * below}"
        )
    return [1 << r for r in range(2, img_resolution.bit_length())]


def feature_maps(resolution: int, fmap_base: int, fmap_decay: float, fmap_max: int) -> int:
    """Width of the block of `resolution`; ``resolution=2`` gives the width of the discriminator's dense layer.

    Raises ValueError where the rule leaves no feature map.
    """
    maps = min(int(fmap_base / 2 ** ((math.log2(resolution) - 1) * fmap_decay)), fmap_max)
    if maps < 1:
        raise ValueError(f"fmap_base {fmap_base} leaves no feature map at {resolution}x{resolution}: raise fmap_base")
    return maps


class GeneratorInput(nn.Module):
    """Latent to 4x4 features. pixel_bias: a bias for each of them, not for each map."""

    def __init__(self, in_features: int, channels: int, *, pixel_bias: bool = False) -> None:
        super().__init__()
        self.channels = channels
        # The gain makes up for the 16 pixels a feature map; the bias is one a map, so it is added by hand.
        self.dense = EqualizedLinear(in_features, channels * 16, gain=math.sqrt(2) / 4, bias=False)
        self.bias_size = (4, 4) if pixel_bias else (1, 1)
        self.bias = nn.Parameter(torch.zeros(channels, 4, 4) if pixel_bias else torch.zeros(channels))
        self.conv = EqualizedConv2d(channels, channels, 3)

    def forward(self, z: Tensor) -> Tensor:
        x = self.dense(z).reshape(-1, self.channels, 4, 4) + self.bias.reshape(self.channels, *self.bias_size)
        x = pixel_norm(leaky(x))
        return pixel_norm(leaky(self.conv(x)))


class GeneratorBlock(nn.Module):
    """Features of one resolution to features of twice that."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv0 = UpConv2d(in_channels, out_channels, 3)
        self.conv1 = EqualizedConv2d(out_channels, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = pixel_norm(leaky(self.conv0(x)))
        return pixel_norm(leaky(self.conv1(x)))


class Generator(ganzoo.Generator):
    """Latents [N, z_dim] and labels [N, c_dim] to images [N, img_channels, R, R], R = growth.resolution.

    The last layer is linear: values may leave [-1, 1]. Labels are concatenated to the latents, before normalisation.
    """

    def __init__(
        self,
        *,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        z_dim: ZDim = 512,
        fmap_base: FmapBase = 8192,
        fmap_decay: FmapDecay = 1.0,
        fmap_max: FmapMax = 512,
        fmaps: Annotated[
            list[Annotated[int, Field(ge=1)]] | None,
            Field(description="feature maps at 4, 8, 16, ... px; null: by fmap_base, fmap_decay and fmap_max"),
        ] = None,
        normalize_latents: Annotated[bool, Field(description="scale every latent vector to unit mean square")] = True,
        pixel_bias: Annotated[
            bool,
            Field(description="a bias for every pixel of the 4x4 input, as pytorch_GAN_zoo has, not for every map"),
        ] = False,
    ) -> None:
        """Raises ValueError if ``fmaps`` has not one number for each resolution."""
        super().__init__(z_dim=z_dim, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.resolutions = resolutions_up_to(img_resolution)
        self.normalize_latents = normalize_latents
        if fmaps is None:
            width = {r: feature_maps(r, fmap_base, fmap_decay, fmap_max) for r in self.resolutions}
        elif len(fmaps) == len(self.resolutions):
            width = dict(zip(self.resolutions, fmaps, strict=True))
        else:
            raise ValueError(
                f"fmaps has {len(fmaps)} numbers, and there are {len(self.resolutions)} resolutions from 4 to "
                f"{img_resolution} px: give one for each, or leave it out"
            )
        self.blocks = nn.ModuleDict({"4": GeneratorInput(z_dim + c_dim, width[4], pixel_bias=pixel_bias)})
        for r in self.resolutions[1:]:
            self.blocks[str(r)] = GeneratorBlock(width[r // 2], width[r])
        self.to_rgb = nn.ModuleDict(
            {str(r): EqualizedConv2d(width[r], img_channels, 1, gain=1.0) for r in self.resolutions}
        )

    def forward(self, z: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        x = z if c is None or self.c_dim == 0 else torch.cat([z, c.to(z.dtype)], dim=1)
        if self.normalize_latents:
            x = pixel_norm(x)
        x = older = self.blocks["4"](x)
        resolution = 4
        while resolution < growth.resolution:
            resolution *= 2
            older, x = x, ganzoo.recompute(resolution, self.blocks[str(resolution)], x)

        img = at_least_fp32(self.to_rgb[str(resolution)](x))
        if growth.alpha < 1 and resolution > 4:
            older_img = at_least_fp32(self.to_rgb[str(resolution // 2)](older))
            img = torch.lerp(upsample(older_img), img, growth.alpha)
        return img


class DiscriminatorBlock(nn.Module):
    """Features of one resolution to features of half that.

    fused_scale=True averages before the bias and the activation of the second layer, False after them: the two are
    different functions (the official code has both).
    """

    def __init__(self, in_channels: int, out_channels: int, *, fused_scale: bool) -> None:
        super().__init__()
        self.fused_scale = fused_scale
        self.conv0 = EqualizedConv2d(in_channels, in_channels, 3)
        self.conv1: nn.Module = (DownConv2d if fused_scale else EqualizedConv2d)(in_channels, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = leaky(self.conv0(x))
        x = leaky(self.conv1(x))
        return x if self.fused_scale else downsample(x)


class DiscriminatorOutput(nn.Module):
    """4x4 features to logits [N, 1 + aux_dim]."""

    def __init__(self, channels: int, dense_channels: int, out_features: int, *, mbstd_group_size: int) -> None:
        super().__init__()
        self.mbstd_group_size = mbstd_group_size
        self.conv = EqualizedConv2d(channels + (mbstd_group_size > 1), channels, 3)
        self.dense0 = EqualizedLinear(channels * 16, dense_channels)
        self.dense1 = EqualizedLinear(dense_channels, out_features, gain=1.0)

    def features(self, x: Tensor, batches: int = 1) -> Tensor:
        """What the last layer gets, float32 [N, dense_channels]. batches: as in `minibatch_stddev`."""
        if self.mbstd_group_size > 1:
            x = minibatch_stddev(x, self.mbstd_group_size, batches)
        x = leaky(self.conv(x))
        return at_least_fp32(leaky(self.dense0(x.flatten(1))))

    def forward(self, x: Tensor, batches: int = 1) -> Tensor:
        x = self.features(x, batches)
        # bfloat16 has three digits: too few for scores whose differences the loss is made of.
        with torch.autocast(x.device.type, enabled=False):
            return self.dense1(x)


def shrink(img: Tensor, from_rgb: nn.ModuleDict, blocks: nn.ModuleDict, growth: GrowthState) -> Tensor:
    """Images [N, C, R, R], R = growth.resolution, through the blocks of R, R / 2, ..., 4; in a fade also the old way.

    from_rgb, blocks: by resolution.
    """
    return blocks["4"](shrink_to_4(img, from_rgb, blocks, growth))


def shrink_to_4(img: Tensor, from_rgb: nn.ModuleDict, blocks: nn.ModuleDict, growth: GrowthState) -> Tensor:
    """``shrink`` without its last block: features [N, C, 4, 4]."""
    resolution = growth.resolution
    x = leaky(from_rgb[str(resolution)](img))
    if growth.alpha < 1 and resolution > 4:
        x = ganzoo.recompute(resolution, blocks[str(resolution)], x)
        resolution //= 2
        older = leaky(from_rgb[str(resolution)](downsample(img)))
        x = torch.lerp(older, x, growth.alpha)
    while resolution > 4:
        x = ganzoo.recompute(resolution, blocks[str(resolution)], x)
        resolution //= 2
    return x


class Discriminator(ganzoo.Discriminator):
    """Images [N, img_channels, R, R] to logits [N, 1 + c_dim], R = growth.resolution.

    Column 0 is the critic's score; the others, present if the data have labels, classify the image (AC-GAN).
    The labels given as `c` are not looked at. Raises ValueError if minibatch-stddev groups do not divide the batch.
    """

    has_features = True

    def __init__(
        self,
        *,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        fmap_base: FmapBase = 8192,
        fmap_decay: FmapDecay = 1.0,
        fmap_max: FmapMax = 512,
        mbstd_group_size: Annotated[
            int, Field(ge=1, description="images compared with each other in minibatch stddev; 1 = off")
        ] = 4,
        fused_scale: Annotated[
            bool, Field(description="average before the bias and activation (official default) or after them")
        ] = True,
    ) -> None:
        super().__init__(c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.aux_dim = c_dim
        self.resolutions = resolutions_up_to(img_resolution)
        width = {r: feature_maps(r, fmap_base, fmap_decay, fmap_max) for r in [2, *self.resolutions]}
        self.from_rgb = nn.ModuleDict({str(r): EqualizedConv2d(img_channels, width[r], 1) for r in self.resolutions})
        self.blocks = nn.ModuleDict(
            {"4": DiscriminatorOutput(width[4], width[2], 1 + c_dim, mbstd_group_size=mbstd_group_size)}
        )
        for r in self.resolutions[1:]:
            self.blocks[str(r)] = DiscriminatorBlock(width[r], width[r // 2], fused_scale=fused_scale)
        self.mbstd_group_size = mbstd_group_size

    def check_batch_size(self, n: int) -> None:
        check_groups(n, self.mbstd_group_size)

    def forward(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        return shrink(img, self.from_rgb, self.blocks, growth)

    def score_both(
        self,
        fake: Tensor,
        real: Tensor,
        fake_c: Tensor | None = None,
        real_c: Tensor | None = None,
        *,
        growth: GrowthState,
    ) -> tuple[Tensor, Tensor]:
        """In one pass: half as many kernels, which is what few pixels cost."""
        features = shrink_to_4(torch.cat([fake, real]), self.from_rgb, self.blocks, growth)
        of_fake, of_real = self.blocks["4"](features, batches=2).chunk(2)
        return of_fake, of_real

    def features(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        """[N, feature maps of a dense layer], of the images of the present resolution."""
        last = self.blocks["4"]
        assert isinstance(last, DiscriminatorOutput)
        return last.features(shrink_to_4(img, self.from_rgb, self.blocks, growth))
