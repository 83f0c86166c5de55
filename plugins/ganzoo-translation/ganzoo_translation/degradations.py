"""What a translator can learn to undo: lost detail, lost colour, lost pieces, lost everything but the edges."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo import whole_batch

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's conversion to grey


def luma(img: Tensor) -> Tensor:
    """Images [N, C, H, W] in [-1, 1] -> their brightness [N, 1, H, W]; RGBA is premultiplied, so on black."""
    if img.shape[1] < 3:
        return img[:, :1]
    weights = torch.tensor(_LUMA, dtype=img.dtype, device=img.device)
    return (img[:, :3] * weights[:, None, None]).sum(1, keepdim=True)


class SuperResolution(ganzoo.Degradation):
    """Averaged down by ``factor`` and enlarged again, so that sizes stay."""

    def __init__(
        self,
        *,
        factor: Annotated[int, Field(ge=2, le=64, description="pixels that become one, in width and in height")] = 4,
        enlarge: Annotated[
            Literal["nearest", "bilinear", "bicubic"], Field(description="how they become as many again")
        ] = "bicubic",
    ) -> None:
        super().__init__()
        self.factor = factor
        self.enlarge = enlarge

    def forward(self, img: Tensor) -> Tensor:
        size = img.shape[2:]
        small = F.interpolate(img, size=[max(1, n // self.factor) for n in size], mode="area")
        if self.enlarge == "nearest":
            return F.interpolate(small, size=size, mode="nearest")
        return F.interpolate(small, size=size, mode=self.enlarge, align_corners=False).clamp(-1, 1)


class Grey(ganzoo.Degradation):
    """Brightness alone, one channel: a translator learns to colour."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, img: Tensor) -> Tensor:
        return luma(img)

    def out_channels(self, img_channels: int) -> int:
        if img_channels == 1:
            raise ValueError("the images are grey already: set data.img_channels to 3, or take another degradation")
        return 1


class Inpaint(ganzoo.Degradation):
    """Rectangles at random places, of random sizes, filled with the mean of what is left of the image.

    mask: one channel more, 1 within them and -1 outside.
    """

    def __init__(
        self,
        *,
        holes: Annotated[int, Field(ge=1, le=64, description="rectangles an image")] = 1,
        min_size: Annotated[float, Field(gt=0, le=1, description="of a side, as a share of the image's")] = 0.25,
        max_size: Annotated[float, Field(gt=0, le=1, description="of a side, as a share of the image's")] = 0.5,
        mask: Annotated[bool, Field(description="tell the holes from the rest by one channel more")] = False,
    ) -> None:
        super().__init__()
        if min_size > max_size:
            raise ValueError(f"min_size {min_size} is larger than max_size {max_size}: give the smaller one first")
        self.holes = holes
        self.min_size = min_size
        self.max_size = max_size
        self.mask = mask

    def forward(self, img: Tensor) -> Tensor:
        hole = self._draw(img)
        kept = (~hole).to(img.dtype)
        mean = (img * kept).sum(dim=(2, 3), keepdim=True) / kept.sum(dim=(2, 3), keepdim=True).clamp_min(1)
        out = torch.where(hole, mean, img)
        return torch.cat([out, 1 - 2 * kept], dim=1) if self.mask else out

    def out_channels(self, img_channels: int) -> int:
        return img_channels + self.mask

    def _draw(self, img: Tensor) -> Tensor:
        """Where holes are, [N, 1, H, W]."""
        hole = torch.zeros(len(img), 1, *img.shape[2:], dtype=torch.bool, device=img.device)
        for _ in range(self.holes):
            random = whole_batch.rand(4, len(img), 1, batch_dim=1, device=img.device)
            inside = []
            for size, place, n in ((random[0], random[1], img.shape[2]), (random[2], random[3], img.shape[3])):
                length = ((self.min_size + (self.max_size - self.min_size) * size) * n).round().clamp(1, n)
                start = (place * (n - length + 1)).floor()
                at = torch.arange(n, device=img.device)
                inside.append((at >= start) & (at < start + length))
            hole |= (inside[0][:, :, None] & inside[1][:, None, :])[:, None]
        return hole


class Sketch(ganzoo.Degradation):
    """Edges alone, dark on white, one channel.

    sobel: the length of the gradient. dog: the difference of two Gaussians of sigma and 1.6 sigma (Marr and Hildreth
    1980), which lies a line on the dark side of an edge. The strongest edge of all channels counts, so that colours of
    one brightness, and shapes that only alpha has, keep their outlines.
    """

    def __init__(
        self,
        *,
        method: Annotated[Literal["sobel", "dog"], Field(description="how edges are found")] = "sobel",
        strength: Annotated[
            float, Field(gt=0, le=100, description="how dark they are; 1 draws an edge from black to white in black")
        ] = 1.0,
        sigma: Annotated[float, Field(ge=0.3, le=16, description="of dog's smaller Gaussian, in pixels")] = 0.8,
    ) -> None:
        super().__init__()
        self.method = method
        self.strength = strength
        self.sigma = sigma

    def forward(self, img: Tensor) -> Tensor:
        edges = _sobel(img) if self.method == "sobel" else _dog(img, self.sigma)
        return 1 - 2 * (edges.amax(dim=1, keepdim=True) * self.strength).clamp(0, 1)

    def out_channels(self, img_channels: int) -> int:
        return 1


def _sobel(img: Tensor) -> Tensor:
    """Length of the gradient of each channel, 1 at a straight edge from -1 to 1. [N, C, H, W] -> the same."""
    smooth, slope = [0.25, 0.5, 0.25], [-0.5, 0.0, 0.5]
    across = _separable(img, smooth, slope)
    down = _separable(img, slope, smooth)
    return (across.square() + down.square()).sqrt()


def _dog(img: Tensor, sigma: float) -> Tensor:
    """How much darker a pixel is than what surrounds it, 0 to 1 at a straight edge from -1 to 1."""
    near, far = _gaussian(sigma), _gaussian(1.6 * sigma)
    return (_separable(img, far, far) - _separable(img, near, near)) * 4.5


def _gaussian(sigma: float) -> list[float]:
    radius = math.ceil(3 * sigma)
    values = [math.exp(-((x / sigma) ** 2) / 2) for x in range(-radius, radius + 1)]
    return [v / sum(values) for v in values]


def _separable(img: Tensor, vertical: list[float], horizontal: list[float]) -> Tensor:
    """Each channel filtered, with its border pixels repeated outwards. [N, C, H, W] -> the same."""
    n, c, h, w = img.shape
    x = img.reshape(n * c, 1, h, w)
    x = F.pad(x, (len(horizontal) // 2,) * 2 + (len(vertical) // 2,) * 2, mode="replicate")
    x = F.conv2d(x, x.new_tensor(vertical)[None, None, :, None])
    x = F.conv2d(x, x.new_tensor(horizontal)[None, None, None, :])
    return x.reshape(n, c, h, w)
