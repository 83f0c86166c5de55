"""The residual networks of SNGAN, SAGAN and BigGAN (Brock et al. 2019, appendix B; tables 4 to 7).

They do not grow. Labels reach the generator through its batch normalisation, and the discriminator by projection
(Miyato and Koyama 2018): its score is that of the image, plus the product of the image's features and the label's.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import GrowthState
from ganzoo_progan.layers import at_least_fp32

from .layers import (
    AffineBatchNorm2d,
    ConditionalBatchNorm2d,
    Conv2d,
    Embedding,
    Init,
    Linear,
    SelfAttention,
    initialise_all,
)

ZDim = Annotated[int, Field(ge=1, description="size of the latent vector")]
Channels = Annotated[int, Field(ge=1, description="width: layers have 1 to 16 times as many feature maps")]
Attention = Annotated[
    list[int] | None,
    Field(description="resolutions after whose blocks there is self-attention; null: 64 if there is such a block"),
]
InitField = Annotated[Init, Field(description="of weights: ortho (BigGAN), N02 (0.02 * normal) or xavier")]

# Feature maps of the blocks by image size, in units of ch. Below 32 px, where no paper goes: as at 32.
_G_WIDTHS = {
    8: [4, 4],
    16: [4, 4, 4],
    32: [4, 4, 4, 4],
    64: [16, 16, 8, 4, 2],
    128: [16, 16, 8, 4, 2, 1],
    256: [16, 16, 8, 8, 4, 2, 1],
}
_D_WIDTHS = {
    8: [4, 4, 4, 4],
    16: [4, 4, 4, 4],
    32: [4, 4, 4, 4],
    64: [1, 2, 4, 8, 16],
    128: [1, 2, 4, 8, 16, 16],
    256: [1, 2, 4, 8, 8, 16, 16],
}


def relu_(x: Tensor) -> Tensor:
    """In place: what comes before it here does not need its output again, and the shortcut does not see it."""
    return F.relu(x, inplace=True)


class GeneratorBlock(nn.Module):
    """Features of one resolution to features of twice that; y [N, y_dim] conditions both normalisations."""

    def __init__(self, in_channels: int, out_channels: int, *, bn1: nn.Module, bn2: nn.Module, sn: bool) -> None:
        super().__init__()
        self.bn1 = bn1
        self.bn2 = bn2
        self.conv1 = Conv2d(in_channels, out_channels, 3, scale="up", spectral_norm=sn)
        self.conv2 = Conv2d(out_channels, out_channels, 3, spectral_norm=sn)
        self.skip = Conv2d(in_channels, out_channels, 1, scale="up", spectral_norm=sn)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = self.conv1(relu_(self.bn1(x, y)))
        return self.conv2(relu_(self.bn2(h, y))) + self.skip(x)


class Generator(ganzoo.Generator):
    """Latents [N, z_dim] and labels [N, c_dim] to images [N, img_channels, R, R] in [-1, 1], R = img_resolution.

    Labels modulate every batch normalisation but the last. With ``hierarchical`` the latent is cut into equal parts:
    the first makes the 4x4 features, and each block gets one of the others together with the label.
    """

    def __init__(
        self,
        *,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        z_dim: ZDim = 120,
        ch: Channels = 96,
        attn_resolutions: Attention = None,
        shared_dim: Annotated[
            int | None, Field(ge=1, description="size of the class embedding that layers share; null: each its own")
        ] = 128,
        hierarchical: Annotated[bool, Field(description="give every block a part of the latent")] = True,
        spectral_norm: Annotated[bool, Field(description="normalise weights in the generator, too")] = True,
        init: InitField = "ortho",
    ) -> None:
        super().__init__(z_dim=z_dim, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        widths = [w * ch for w in _widths(_G_WIDTHS, img_resolution)]
        resolutions = [8 << i for i in range(len(widths) - 1)]
        attended = _attended(attn_resolutions, resolutions)
        parts = len(widths) if hierarchical else 1
        if z_dim % parts:
            raise ValueError(
                f"z_dim {z_dim} does not split into {parts} equal parts, one for the first layer and one for each "
                f"block: make it {z_dim // parts * parts or parts} or {(z_dim // parts + 1) * parts}, or set "
                "hierarchical: false"
            )
        self.part_dim = z_dim // parts
        self.hierarchical = hierarchical
        self.shared = Embedding(c_dim, shared_dim) if c_dim and shared_dim else None
        y_dim = (shared_dim or c_dim if c_dim else 0) + (self.part_dim if hierarchical else 0)

        def batch_norm(channels: int) -> nn.Module:
            if y_dim == 0:
                return AffineBatchNorm2d(channels)
            if (
                y_dim == c_dim and self.shared is None
            ):  # labels alone: a table of gains, as for any embedding not normed
                gain, bias = Embedding(c_dim, channels), Embedding(c_dim, channels)
            else:
                gain, bias = (Linear(y_dim, channels, bias=False, spectral_norm=spectral_norm) for _ in range(2))
            return ConditionalBatchNorm2d(channels, gain=gain, bias=bias)

        self.dense = Linear(self.part_dim, widths[0] * 16, spectral_norm=spectral_norm)
        self.blocks = nn.ModuleDict()
        self.attention = nn.ModuleDict()
        for r, before, after in zip(resolutions, widths, widths[1:], strict=False):
            self.blocks[str(r)] = GeneratorBlock(
                before, after, bn1=batch_norm(before), bn2=batch_norm(after), sn=spectral_norm
            )
            if r in attended:
                self.attention[str(r)] = SelfAttention(after, spectral_norm=spectral_norm)
        self.bn = AffineBatchNorm2d(widths[-1])
        self.to_rgb = Conv2d(widths[-1], img_channels, 3, spectral_norm=spectral_norm)
        initialise_all(self, init)

    def check_resolution(self, resolution: int) -> None:
        _check_resolution(resolution, self.img_resolution)

    def forward(self, z: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        y = _labels(c, self.c_dim)
        if y is not None and self.shared is not None:
            y = self.shared(y)
        z, *parts = z.split(self.part_dim, dim=1)

        x = self.dense(z).reshape(len(z), -1, 4, 4)
        for i, (resolution, block) in enumerate(self.blocks.items()):
            given = [t for t in (y, parts[i] if parts else None) if t is not None]
            x = ganzoo.recompute(int(resolution), block, x, torch.cat(given, dim=1) if given else None)
            if resolution in self.attention:
                x = ganzoo.recompute(int(resolution), self.attention[resolution], x)
        return torch.tanh(at_least_fp32(self.to_rgb(relu_(self.bn(x)))))


class DiscriminatorBlock(nn.Module):
    """Features to features of half the resolution, if ``down``, or of the same.

    The first block gets the image, which is not rectified.
    """

    def __init__(self, in_channels: int, out_channels: int, *, first: bool, down: bool, wide: bool) -> None:
        super().__init__()
        self.first = first
        hidden = out_channels if wide or first else in_channels
        scale = "down" if down else None
        self.conv1 = Conv2d(in_channels, hidden, 3)
        self.conv2 = Conv2d(hidden, out_channels, 3, scale=scale)
        self.skip = Conv2d(in_channels, out_channels, 1, scale=scale) if down or in_channels != out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(x if self.first else F.relu(x))
        h = self.conv2(relu_(h))
        return h + (x if self.skip is None else self.skip(x))


class Discriminator(ganzoo.Discriminator):
    """Images [N, img_channels, R, R] and labels [N, c_dim] to logits [N, 1], R = img_resolution.

    All weights are spectrally normalised. ``wide``: hidden layers of blocks are as wide as what comes out (BigGAN),
    not as what goes in (SNGAN).
    """

    has_features = True

    def __init__(
        self,
        *,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        ch: Channels = 96,
        attn_resolutions: Attention = None,
        wide: Annotated[bool, Field(description="hidden layers of blocks as wide as their output")] = True,
        init: InitField = "ortho",
    ) -> None:
        super().__init__(c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        widths = [w * ch for w in _widths(_D_WIDTHS, img_resolution)]
        small = img_resolution <= 32
        # At 32 px the reference calls all four blocks 16, so that self-attention at 16 stands behind each.
        resolutions = [img_resolution // 2 if small else max(img_resolution >> i, 4) for i in range(1, len(widths) + 1)]
        attended = _attended(attn_resolutions, resolutions)
        num_down = 2 if small else len(widths) - 1
        self.blocks = nn.ModuleList()
        self.attention = nn.ModuleDict()
        for i, (before, after) in enumerate(zip([img_channels, *widths], widths, strict=False)):
            self.blocks.append(DiscriminatorBlock(before, after, first=i == 0, down=i < num_down, wide=wide))
            if resolutions[i] in attended:
                self.attention[str(i)] = SelfAttention(after)
        self.dense = Linear(widths[-1], 1)
        self.embed = Embedding(c_dim, widths[-1], spectral_norm=True) if c_dim else None
        initialise_all(self, init)

    def check_resolution(self, resolution: int) -> None:
        _check_resolution(resolution, self.img_resolution)

    def forward(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        features = self.features(img, c, growth=growth)
        # Sums over pixels and the score they make: bfloat16 has too few digits for either.
        with torch.autocast(features.device.type, enabled=False):
            logits = self.dense(features)
            y = _labels(c, self.c_dim)
            if y is not None and self.embed is not None:
                logits = logits + (self.embed(y) * features).sum(dim=1, keepdim=True)
        return logits

    def features(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        """[N, maps of the last block], sums over pixels; labels have no part in them."""
        x = img
        for i, block in enumerate(self.blocks):
            x = ganzoo.recompute(x.shape[-1], block, x)
            if str(i) in self.attention:
                x = ganzoo.recompute(x.shape[-1], self.attention[str(i)], x)
        with torch.autocast(x.device.type, enabled=False):
            return F.relu(at_least_fp32(x)).sum(dim=(2, 3))


class SNGANGenerator(Generator):
    """SNGAN's (Miyato et al. 2018, appendix B.4; Miyato and Koyama 2018): no spectral normalisation, no attention."""

    def __init__(
        self,
        *,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        z_dim: ZDim = 128,
        ch: Channels = 64,
        init: InitField = "xavier",
    ) -> None:
        super().__init__(
            c_dim=c_dim,
            img_resolution=img_resolution,
            img_channels=img_channels,
            z_dim=z_dim,
            ch=ch,
            attn_resolutions=[],
            shared_dim=None,
            hierarchical=False,
            spectral_norm=False,
            init=init,
        )


class SNGANDiscriminator(Discriminator):
    """SNGAN's (Miyato et al. 2018, appendix B.4; Miyato and Koyama 2018). ``ch`` 32 gives the 128 maps of CIFAR-10."""

    def __init__(
        self, *, c_dim: int, img_resolution: int, img_channels: int, ch: Channels = 64, init: InitField = "xavier"
    ) -> None:
        super().__init__(
            c_dim=c_dim,
            img_resolution=img_resolution,
            img_channels=img_channels,
            ch=ch,
            attn_resolutions=[],
            wide=False,
            init=init,
        )


class SAGANGenerator(Generator):
    """SAGAN's (Zhang et al. 2019): spectral normalisation and self-attention, each layer its own class embedding."""

    def __init__(
        self,
        *,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        z_dim: ZDim = 128,
        ch: Channels = 64,
        attn_resolutions: Attention = None,
        init: InitField = "xavier",
    ) -> None:
        super().__init__(
            c_dim=c_dim,
            img_resolution=img_resolution,
            img_channels=img_channels,
            z_dim=z_dim,
            ch=ch,
            attn_resolutions=attn_resolutions,
            shared_dim=None,
            hierarchical=False,
            init=init,
        )


class SAGANDiscriminator(Discriminator):
    """SAGAN's (Zhang et al. 2019): the one of BigGAN, narrower."""

    def __init__(
        self,
        *,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        ch: Channels = 64,
        attn_resolutions: Attention = None,
        init: InitField = "xavier",
    ) -> None:
        super().__init__(
            c_dim=c_dim,
            img_resolution=img_resolution,
            img_channels=img_channels,
            ch=ch,
            attn_resolutions=attn_resolutions,
            init=init,
        )


def _widths(table: dict[int, list[int]], img_resolution: int) -> list[int]:
    if img_resolution not in table:
        raise ValueError(
            f"there is no such network for {img_resolution}x{img_resolution} images: "
            f"set data.img_resolution to one of {', '.join(map(str, table))}"
        )
    return table[img_resolution]


def _attended(wanted: list[int] | None, resolutions: list[int]) -> set[int]:
    """Resolutions with self-attention, of those that blocks have."""
    if wanted is None:
        return {64} & set(resolutions)
    unknown = [r for r in wanted if r not in resolutions]
    if unknown:
        there_are = ", ".join(map(str, sorted(set(resolutions))))
        raise ValueError(f"attn_resolutions: no block ends at {unknown[0]} px, they end at {there_are} px")
    return set(wanted)


def _labels(c: Tensor | None, c_dim: int) -> Tensor | None:
    """The labels, if the network uses any."""
    if c_dim == 0:
        return None
    if c is None:
        raise ValueError(f"this network was made for labels of {c_dim} classes: give c [N, {c_dim}]")
    return c


def _check_resolution(resolution: int, img_resolution: int) -> None:
    if resolution != img_resolution:
        raise ValueError(
            f"this network works at {img_resolution} px only and does not grow, and growth wants {resolution} px: "
            "take the growth schedule fixed"
        )
