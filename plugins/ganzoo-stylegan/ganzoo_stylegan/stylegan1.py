"""StyleGAN's generator and discriminator (Karras et al. 2019, arXiv:1812.04948, section 2 and appendix C).

As in ganzoo_progan, on which they are built, both hold every resolution from 4x4 to the final one and run only what
``growth`` asks for. The constructor's switches take the generator apart as table 1 of the paper does.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import GrowthState
from ganzoo_progan.layers import (
    DownConv2d,
    EqualizedConv2d,
    EqualizedLinear,
    UpConv2d,
    at_least_fp32,
    check_groups,
    leaky,
    pixel_norm,
    upsample,
)
from ganzoo_progan.networks import (
    DiscriminatorOutput,
    FmapBase,
    FmapDecay,
    FmapMax,
    ZDim,
    feature_maps,
    resolutions_up_to,
    shrink,
)

from .layers import AdaIN, BlurredUpConv2d, MappingLr, NoiseInjection, ScaledLinear, blur
from .styles import MixingGenerator

if TYPE_CHECKING:
    from ganzoo.interfaces import Noise

Blur = Annotated[bool, Field(description="blur when the resolution changes: bilinear instead of nearest (config B)")]


class MappingNetwork(nn.Module):
    """Latents z [N, z_dim] and labels c [N, c_dim] to w [N, w_dim].

    A label becomes a vector of z_dim, appended to z before both are normalised together. With no layers at all w is
    that normalised vector.
    """

    def __init__(
        self, z_dim: int, c_dim: int, w_dim: int, *, num_layers: int, fmaps: int, lr_multiplier: float
    ) -> None:
        super().__init__()
        self.label_weight = nn.Parameter(torch.randn(c_dim, z_dim)) if c_dim > 0 else None
        widths = [z_dim if c_dim == 0 else 2 * z_dim, *[fmaps] * (num_layers - 1), w_dim]
        self.layers = nn.ModuleList(
            ScaledLinear(widths[i], widths[i + 1], lr_multiplier=lr_multiplier) for i in range(num_layers)
        )

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        # Always float32: it is small, and truncation, interpolation and projection compute with w.
        with torch.autocast(z.device.type, enabled=False):
            x = at_least_fp32(z)
            if self.label_weight is not None:
                if c is None:
                    raise ValueError(f"this network was made for labels: give c [N, {len(self.label_weight)}]")
                x = torch.cat([x, c.to(x.dtype) @ self.label_weight], dim=1)
            x = pixel_norm(x)
            for layer in self.layers:
                x = leaky(layer(x))
            return x


class Epilogue(nn.Module):
    """What follows every convolution: noise, leaky ReLU and a style; pixel norm where there are no styles.

    x [N, C, R, R], which it changes, w [N, w_dim] -> [N, C, R, R].
    """

    def __init__(self, channels: int, resolution: int, w_dim: int, *, use_noise: bool, use_styles: bool) -> None:
        super().__init__()
        self.noise = NoiseInjection(channels, resolution) if use_noise else None
        self.style = AdaIN(channels, w_dim) if use_styles else None

    def forward(self, x: Tensor, w: Tensor, noise: Noise) -> Tensor:
        if self.noise is not None:
            x = self.noise(x, noise)
        x = leaky(x)
        return pixel_norm(x) if self.style is None else self.style(x, w)


class SynthesisInput(nn.Module):
    """ws [N, 2, w_dim] to 4x4 features, from a learned constant or, as in a traditional generator, from w."""

    def __init__(self, channels: int, w_dim: int, *, const_input: bool, use_noise: bool, use_styles: bool) -> None:
        super().__init__()
        self.channels = channels
        # The gain makes up for the 16 pixels a feature map; the bias is one a map, so it is added by hand.
        self.dense = None if const_input else EqualizedLinear(w_dim, channels * 16, gain=math.sqrt(2) / 4, bias=False)
        self.const = nn.Parameter(torch.ones(1, channels, 4, 4)) if const_input else None
        self.bias = nn.Parameter(torch.zeros(channels))
        self.epilogue0 = Epilogue(channels, 4, w_dim, use_noise=use_noise, use_styles=use_styles)
        self.conv = EqualizedConv2d(channels, channels, 3)
        self.epilogue1 = Epilogue(channels, 4, w_dim, use_noise=use_noise, use_styles=use_styles)

    def forward(self, ws: Tensor, noise: Noise) -> Tensor:
        if self.const is not None:
            x = self.const.repeat(len(ws), 1, 1, 1)
        else:
            x = self.dense(ws[:, 0]).reshape(-1, self.channels, 4, 4)
        x = self.epilogue0(x + self.bias[:, None, None], ws[:, 0], noise)
        return self.epilogue1(self.conv(x), ws[:, 1], noise)


class SynthesisBlock(nn.Module):
    """Features of half the resolution and ws [N, 2, w_dim] to features of `resolution`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        resolution: int,
        w_dim: int,
        *,
        use_noise: bool,
        use_styles: bool,
        blur: bool,
    ) -> None:
        super().__init__()
        self.conv0: nn.Module = (BlurredUpConv2d if blur else UpConv2d)(in_channels, out_channels, 3)
        self.epilogue0 = Epilogue(out_channels, resolution, w_dim, use_noise=use_noise, use_styles=use_styles)
        self.conv1 = EqualizedConv2d(out_channels, out_channels, 3)
        self.epilogue1 = Epilogue(out_channels, resolution, w_dim, use_noise=use_noise, use_styles=use_styles)

    def forward(self, x: Tensor, ws: Tensor, noise: Noise) -> Tensor:
        x = self.epilogue0(self.conv0(x), ws[:, 0], noise)
        return self.epilogue1(self.conv1(x), ws[:, 1], noise)


class Generator(MixingGenerator):
    """Latents [N, z_dim] and labels [N, c_dim] to images [N, img_channels, R, R], R = growth.resolution.

    In training mode noise is drawn anew, styles of two latents are mixed, and w_avg follows the mean of w; in eval mode
    the stored noise is used, so that a latent always gives the same image. The last layer is linear: values may leave
    [-1, 1].

    Table 1 of the paper: B is mapping_layers 0 and all of use_styles, const_input, use_noise and mixing_prob off;
    C turns on mapping_layers and use_styles, D const_input, E use_noise, F mixing_prob. (A is ganzoo_progan's
    generator.) Traditional generators, without styles, have one w, for the input.
    """

    def __init__(
        self,
        *,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        z_dim: ZDim = 512,
        w_dim: Annotated[
            int | None, Field(ge=1, description="size of w; null: 512, or that of its input without mapping layers")
        ] = None,
        mapping_layers: Annotated[
            int, Field(ge=0, le=1000, description="layers from z to w; 0: w is z, normalised")
        ] = 8,
        mapping_fmaps: Annotated[int, Field(ge=1, description="width of the mapping network's hidden layers")] = 512,
        mapping_lr: MappingLr = 0.01,
        fmap_base: FmapBase = 8192,
        fmap_decay: FmapDecay = 1.0,
        fmap_max: FmapMax = 512,
        use_styles: Annotated[bool, Field(description="AdaIN after each convolution; else pixel norm (C)")] = True,
        const_input: Annotated[bool, Field(description="start from a learned constant, not from w (config D)")] = True,
        use_noise: Annotated[bool, Field(description="noise before each activation (config E)")] = True,
        mixing_prob: Annotated[
            float, Field(ge=0, le=1, description="how often a training batch has styles of two latents (config F)")
        ] = 0.9,
        blur: Blur = True,
        w_avg_beta: Annotated[float, Field(ge=0, lt=1, description="weight of the past in the mean of w")] = 0.995,
    ) -> None:
        resolutions = resolutions_up_to(img_resolution, "stylegan grows by doubling")
        _check_switches(use_styles=use_styles, const_input=const_input, mixing_prob=mixing_prob)
        super().__init__(
            z_dim=z_dim,
            w_dim=_size_of_w(w_dim, mapping_layers, z_dim if c_dim == 0 else 2 * z_dim),
            num_ws=2 * len(resolutions) if use_styles else 1,
            c_dim=c_dim,
            img_resolution=img_resolution,
            img_channels=img_channels,
        )
        self.use_styles = use_styles
        self.mixing_prob = mixing_prob
        self.w_avg_beta = w_avg_beta
        self.mapping_network = MappingNetwork(
            z_dim, c_dim, self.w_dim, num_layers=mapping_layers, fmaps=mapping_fmaps, lr_multiplier=mapping_lr
        )
        width = {r: feature_maps(r, fmap_base, fmap_decay, fmap_max) for r in resolutions}
        switches = {"use_noise": use_noise, "use_styles": use_styles}
        self.blocks = nn.ModuleDict({"4": SynthesisInput(width[4], self.w_dim, const_input=const_input, **switches)})
        for r in resolutions[1:]:
            self.blocks[str(r)] = SynthesisBlock(width[r // 2], width[r], r, self.w_dim, blur=blur, **switches)
        self.to_rgb = nn.ModuleDict({str(r): EqualizedConv2d(width[r], img_channels, 1, gain=1.0) for r in resolutions})

    def num_ws_at(self, resolution: int) -> int:
        return 2 * (resolution.bit_length() - 2) if self.use_styles else 1

    def mapping(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return self.mapping_network(z, c)

    def synthesis(self, ws: Tensor, *, growth: GrowthState, noise: Noise = "random") -> Tensor:
        if not self.use_styles:
            ws = ws.expand(-1, 2 * len(self.blocks), -1)
        x = older = self.blocks["4"](ws[:, :2], noise)
        resolution, layer = 4, 2
        while resolution < growth.resolution:
            resolution *= 2
            block, styles = self.blocks[str(resolution)], ws[:, layer : layer + 2]
            older, x = x, ganzoo.recompute(resolution, block, x, styles, noise)
            layer += 2

        img = at_least_fp32(self.to_rgb[str(resolution)](x))
        if growth.alpha < 1 and resolution > 4:
            older_img = at_least_fp32(self.to_rgb[str(resolution // 2)](older))
            img = torch.lerp(upsample(older_img), img, growth.alpha)
        return img


def _check_switches(*, use_styles: bool, const_input: bool, mixing_prob: float) -> None:
    if not use_styles and const_input:
        raise ValueError(
            "without styles a constant input would make all images alike: "
            "set const_input to false, or use_styles to true"
        )
    if not use_styles and mixing_prob > 0:
        raise ValueError("without styles there is nothing to mix: set mixing_prob to 0, or use_styles to true")


def _size_of_w(w_dim: int | None, mapping_layers: int, in_features: int) -> int:
    if mapping_layers > 0:
        return w_dim or 512
    if w_dim not in (None, in_features):
        raise ValueError(
            f"without mapping layers w is what comes in and has {in_features} numbers, not w_dim {w_dim}: "
            "leave w_dim out, or set mapping_layers to 1 or more"
        )
    return in_features


class DiscriminatorBlock(nn.Module):
    """Features of one resolution to features of half that: convolution, blur, convolution, average.

    The average comes before the bias and the activation of the second layer.
    """

    def __init__(self, in_channels: int, out_channels: int, *, blur: bool) -> None:
        super().__init__()
        self.blur = blur
        self.conv0 = EqualizedConv2d(in_channels, in_channels, 3)
        self.conv1 = DownConv2d(in_channels, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = leaky(self.conv0(x))
        if self.blur:
            x = blur(x)
        return leaky(self.conv1(x))


class Discriminator(ganzoo.Discriminator):
    """Images [N, img_channels, R, R] and labels [N, c_dim] to logits [N, 1], R = growth.resolution.

    With labels there is one score a class, and the logit is the sum of scores times label: for one-hot labels, the
    score of the image's class. Raises ValueError if minibatch-stddev groups do not divide the batch.
    """

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
        blur: Blur = True,
    ) -> None:
        super().__init__(c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        resolutions = resolutions_up_to(img_resolution, "stylegan grows by doubling")
        width = {r: feature_maps(r, fmap_base, fmap_decay, fmap_max) for r in [2, *resolutions]}
        self.from_rgb = nn.ModuleDict({str(r): EqualizedConv2d(img_channels, width[r], 1) for r in resolutions})
        self.blocks = nn.ModuleDict(
            {"4": DiscriminatorOutput(width[4], width[2], max(c_dim, 1), mbstd_group_size=mbstd_group_size)}
        )
        for r in resolutions[1:]:
            self.blocks[str(r)] = DiscriminatorBlock(width[r], width[r // 2], blur=blur)
        self.mbstd_group_size = mbstd_group_size

    def check_batch_size(self, n: int) -> None:
        check_groups(n, self.mbstd_group_size)

    def forward(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        scores = shrink(img, self.from_rgb, self.blocks, growth)
        if self.c_dim == 0:
            return scores
        if c is None:
            raise ValueError(f"this network was made for labels: give c [N, {self.c_dim}]")
        return (scores * c.to(scores.dtype)).sum(dim=1, keepdim=True)
