"""LAPGAN (Denton et al. 2015, arXiv:1506.05751): a GAN for each level of a Laplacian pyramid.

An image is the enlarged image of half its size, which is its low-pass, plus a band. The coarsest level is a GAN of
small images; each finer one makes bands for low-passes. The levels are trained apart, on pyramids of real images, and
meet only when images are made: each level's image, enlarged, is the low-pass of the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import Batch, GrowthState
from ganzoo_progan.layers import at_least_fp32, downsample, leaky

from .layers import append_labels, refuse_growing
from .mlp import Generator as DenseGenerator

BaseResolution = Annotated[int, Field(ge=2, description="size of the coarsest level, in pixels")]


def level_resolutions(base_resolution: int, img_resolution: int) -> list[int]:
    """[base_resolution, ..., img_resolution], doubling. Raises ValueError if there is no such way."""
    resolutions = [base_resolution]
    while resolutions[-1] < img_resolution:
        resolutions.append(2 * resolutions[-1])
    if resolutions[-1] != img_resolution:
        raise ValueError(
            f"base_resolution {base_resolution} does not double to {img_resolution}: use "
            f"{' or '.join(str(img_resolution >> i) for i in range(3, 0, -1) if img_resolution >> i >= 2)}"
        )
    return resolutions


def enlarge(img: Tensor) -> Tensor:
    """[N, C, R, R] -> [N, C, 2R, 2R], smoothly: u of the paper, its section 2.2."""
    return F.interpolate(img, scale_factor=2, mode="bilinear", align_corners=False)


def gaussian_pyramid(img: Tensor, levels: int) -> list[Tensor]:
    """``img`` and its 2x2 means, coarsest first: d of the paper, which leaves its blur open."""
    images = [img]
    for _ in range(levels - 1):
        images.insert(0, downsample(images[0]))
    return images


class LabelPlane(nn.Module):
    """Labels [N, c_dim] to one map of R x R pixels (section 4.1), or to nothing where c_dim is 0."""

    def __init__(self, c_dim: int, resolution: int) -> None:
        super().__init__()
        self.c_dim, self.resolution = c_dim, resolution
        self.dense = nn.Linear(c_dim, resolution**2) if c_dim else None

    @property
    def channels(self) -> int:
        return 1 if self.c_dim else 0

    def forward(self, x: Tensor, c: Tensor | None) -> Tensor:
        """x [N, C, R, R] -> with the map behind its channels."""
        if self.dense is None:
            return x
        if c is None:
            raise ValueError(f"a network made for labels of size {self.c_dim} needs them: give c [N, {self.c_dim}]")
        plane = self.dense(c.to(x.dtype)).reshape(-1, 1, self.resolution, self.resolution)
        return torch.cat([x, plane.to(x.dtype)], dim=1)


class BandGenerator(nn.Module):
    """Three convolutions: a low-pass and a plane of noise [N, R^2] to the band that is to be added to it."""

    def __init__(self, c_dim: int, resolution: int, img_channels: int, width: int) -> None:
        super().__init__()
        self.resolution = resolution
        self.label = LabelPlane(c_dim, resolution)
        self.conv0 = nn.Conv2d(img_channels + 1 + self.label.channels, width, 5, padding=2)
        self.conv1 = nn.Conv2d(width, width, 5, padding=2)
        self.conv2 = nn.Conv2d(width, img_channels, 5, padding=2)

    def forward(self, z: Tensor, lowpass: Tensor, c: Tensor | None) -> Tensor:
        noise = z.reshape(-1, 1, self.resolution, self.resolution)
        x = self.label(torch.cat([lowpass, noise], dim=1), c)
        x = F.relu(self.conv1(F.relu(self.conv0(x))))
        return at_least_fp32(self.conv2(x))


class Generator(ganzoo.Generator):
    """Latents [N, z_dim] and labels [N, c_dim] to images [N, img_channels, R, R].

    z_dim is base_z_dim for the coarsest level, a perceptron with tanh, and R^2 for each finer one, of R x R pixels.
    Bands are not bounded, so values may leave [-1, 1].
    """

    def __init__(
        self,
        *,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        base_resolution: BaseResolution = 8,
        base_z_dim: Annotated[int, Field(ge=1, description="size of the coarsest level's latent")] = 100,
        hidden_dim: Annotated[int, Field(ge=1, description="width of the coarsest level's two layers")] = 1200,
        ngf: Annotated[int, Field(ge=1, description="feature maps of the finer levels")] = 64,
    ) -> None:
        resolutions = level_resolutions(base_resolution, img_resolution)
        sizes = [base_z_dim, *(r**2 for r in resolutions[1:])]
        super().__init__(z_dim=sum(sizes), c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.resolutions, self.z_sizes = resolutions, sizes
        self.base = DenseGenerator(
            c_dim=c_dim,
            img_resolution=base_resolution,
            img_channels=img_channels,
            z_dim=base_z_dim,
            hidden_dim=hidden_dim,
        )
        self.finer = nn.ModuleDict({str(r): BandGenerator(c_dim, r, img_channels, ngf) for r in resolutions[1:]})

    def check_resolution(self, resolution: int) -> None:
        refuse_growing("lapgan", self.img_resolution, resolution)

    def forward(self, z: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        self.check_resolution(growth.resolution)
        img = None
        for level, part in enumerate(self.split(z)):
            img = self.level_image(level, part, None if img is None else enlarge(img), c, growth=growth)
        assert img is not None
        return img

    def split(self, z: Tensor) -> tuple[Tensor, ...]:
        """Latents [N, z_dim] to those of each level, coarsest first."""
        return z.split(self.z_sizes, dim=1)

    def level_image(
        self, level: int, z: Tensor, lowpass: Tensor | None, c: Tensor | None, *, growth: GrowthState
    ) -> Tensor:
        """The image of one level: of the coarsest, 0, from latents alone; of others ``lowpass`` and a band for it."""
        if lowpass is None:
            img: Tensor = self.base(z, c, growth=replace(growth, resolution=self.resolutions[0]))
            return img
        band: Tensor = self.finer[str(self.resolutions[level])](z, lowpass, c)
        return lowpass + band


class DenseScore(nn.Module):
    """Two layers with ReLU and dropout: images [N, C, R, R] to scores [N, 1]."""

    def __init__(self, c_dim: int, resolution: int, img_channels: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.c_dim, self.dropout = c_dim, dropout
        self.hidden0 = nn.Linear(img_channels * resolution**2 + c_dim, hidden_dim)
        self.hidden1 = nn.Linear(hidden_dim, hidden_dim)
        self.out = nn.Linear(hidden_dim, 1)

    def forward(self, img: Tensor, c: Tensor | None) -> Tensor:
        x = append_labels(img.flatten(1), c, self.c_dim)
        for layer in (self.hidden0, self.hidden1):
            x = F.dropout(leaky(layer(x)), self.dropout, self.training)
        with torch.autocast(x.device.type, enabled=False):
            return at_least_fp32(self.out(at_least_fp32(x)))


class ConvScore(nn.Module):
    """Two strided convolutions and a dense layer: images [N, C, R, R] to scores [N, 1]."""

    def __init__(self, c_dim: int, resolution: int, img_channels: int, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.label = LabelPlane(c_dim, resolution)
        self.conv0 = nn.Conv2d(img_channels + self.label.channels, width, 5, stride=2, padding=2)
        self.conv1 = nn.Conv2d(width, width, 5, stride=2, padding=2)
        self.out = nn.Linear(width * ((resolution + 3) // 4) ** 2, 1)

    def forward(self, img: Tensor, c: Tensor | None) -> Tensor:
        x = leaky(self.conv1(leaky(self.conv0(self.label(img, c)))))
        x = F.dropout(x.flatten(1), self.dropout, self.training)
        with torch.autocast(x.device.type, enabled=False):
            return self.out(at_least_fp32(x))


class Discriminator(ganzoo.Discriminator):
    """Images [N, img_channels, R, R] and labels [N, c_dim] to logits [N, 1]: the sum of the scores of all levels.

    A level's score is of low-pass and band added up, as in section 3.1: of the image at that size. The probabilities
    of the levels multiply (appendix A), so logarithms of their ratios add.
    """

    def __init__(
        self,
        *,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        base_resolution: BaseResolution = 8,
        hidden_dim: Annotated[int, Field(ge=1, description="width of the coarsest level's two layers")] = 600,
        ndf: Annotated[int, Field(ge=1, description="feature maps of the finer levels")] = 64,
        dropout: Annotated[float, Field(ge=0, lt=1, description="share of features set to 0 while training")] = 0.5,
    ) -> None:
        super().__init__(c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.resolutions = level_resolutions(base_resolution, img_resolution)
        self.base = DenseScore(c_dim, base_resolution, img_channels, hidden_dim, dropout)
        self.finer = nn.ModuleDict(
            {str(r): ConvScore(c_dim, r, img_channels, ndf, dropout) for r in self.resolutions[1:]}
        )

    def check_resolution(self, resolution: int) -> None:
        refuse_growing("lapgan", self.img_resolution, resolution)

    def forward(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState, level: int | None = None) -> Tensor:
        """level: give the score of that level alone, 0 being the coarsest, for images of its size."""
        self.check_resolution(growth.resolution)
        if level is None:
            images = gaussian_pyramid(img, len(self.resolutions))
            return torch.stack([self(image, c, growth=growth, level=i) for i, image in enumerate(images)]).sum(0)
        score: Tensor = self.base(img, c) if level == 0 else self.finer[str(self.resolutions[level])](img, c)
        return score


class LAPGANLoss(ganzoo.Loss):
    """Equations 1 and 2 of the paper for each level on its own, with the non-saturating loss for G.

    Finer levels get the low-pass of real images and their labels. Terms are named after the sizes of the levels.
    """

    def check(self, G: ganzoo.Generator, D: ganzoo.Discriminator) -> None:
        if not isinstance(G, Generator) or not isinstance(D, Discriminator):
            raise ValueError(
                "it trains the levels of a pyramid, which only the networks lapgan have: take both, or another loss"
            )
        if G.resolutions != D.resolutions:
            raise ValueError(
                f"levels are of {G.resolutions} px in G and of {D.resolutions} px in D: give both one base_resolution"
            )

    def d_loss(self, G: ganzoo.Generator, D: ganzoo.Discriminator, batch: Batch) -> dict[str, Tensor]:
        assert isinstance(G, Generator)
        terms = {}
        for level, (size, real, z, lowpass) in enumerate(_levels(G, batch)):
            with torch.no_grad():
                fake = G.level_image(level, z, lowpass, batch.c, growth=batch.growth)
            terms[f"real{size}"] = F.softplus(-D(real, batch.c, growth=batch.growth, level=level))
            terms[f"fake{size}"] = F.softplus(D(fake, batch.c, growth=batch.growth, level=level))
        return terms

    def g_loss(self, G: ganzoo.Generator, D: ganzoo.Discriminator, batch: Batch) -> dict[str, Tensor]:
        assert isinstance(G, Generator)
        terms = {}
        for level, (size, _, z, lowpass) in enumerate(_levels(G, batch)):
            fake = G.level_image(level, z, lowpass, batch.c, growth=batch.growth)
            terms[f"fake{size}"] = F.softplus(-D(fake, batch.c, growth=batch.growth, level=level))
        return terms


def _levels(G: Generator, batch: Batch) -> Iterator[tuple[int, Tensor, Tensor, Tensor | None]]:
    """Size, real images, latents, and the low-pass of the real images (None: the coarsest) of each level."""
    reals = gaussian_pyramid(batch.real, len(G.resolutions))
    lowpasses = [None, *map(enlarge, reals[:-1])]
    return zip(G.resolutions, reals, G.split(batch.z), lowpasses, strict=True)
