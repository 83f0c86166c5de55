"""Differentiable augmentation (Zhao et al. 2020, arXiv:2006.10738)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo import whole_batch
from ganzoo_progan.layers import at_least_fp32

from .ada import empty_value, keep_layout

Policy = Literal["color", "translation", "cutout"]


class DiffAugment(ganzoo.Augmentation):
    """Every image, real or generated, gets every transform of the policy, in its order, with random strength.

    RGBA images (premultiplied by alpha, empty where all channels are -1) keep their alpha when colours change, and are
    empty where others are grey: in what a translation uncovers and in what cutout cuts.
    """

    def __init__(
        self,
        *,
        policy: Annotated[
            tuple[Policy, ...],
            Field(
                min_length=1,
                description="brightness, saturation and contrast (`color`); shifts by up to 1/8 of the size "
                "(`translation`); a square of half the size cut out (`cutout`)",
            ),
        ] = ("color", "translation", "cutout"),
    ) -> None:
        super().__init__()
        self.policy = tuple(policy)

    def forward(self, img: Tensor) -> Tensor:
        transforms = {"color": jitter, "translation": translate, "cutout": cut_out}
        out = at_least_fp32(img)
        for name in self.policy:
            out = transforms[name](out)
        return keep_layout(out.to(img.dtype), img)


def jitter(img: Tensor) -> Tensor:
    """Add to the brightness, then scale the saturation, then the contrast; [N, C, R, R], C = 1, 3 or 4."""
    brightness, saturation, contrast = whole_batch.rand(
        3, len(img), 1, 1, 1, batch_dim=1, device=img.device, dtype=img.dtype
    )
    x, alpha = img[:, :3], img[:, 3:]
    # Premultiplied colours x + 1 = opacity * (s + 1) carry what is added to straight ones, s, times the opacity.
    opacity = (alpha + 1) / 2 if alpha.shape[1] else 1.0
    x = x + (brightness - 0.5) * opacity
    x = torch.lerp(x.mean(dim=1, keepdim=True), x, 2 * saturation)
    mean = (x + 1).mean(dim=(1, 2, 3), keepdim=True)
    x = (x + 1) * (contrast + 0.5) + mean * (0.5 - contrast) * opacity - 1
    return torch.cat([x, alpha], dim=1)


def translate(img: Tensor, ratio: float = 0.125) -> Tensor:
    """Shift by whole pixels, at most by ``ratio`` of the size; what was outside is empty."""
    n, channels, size, _ = img.shape
    most = int(size * ratio + 0.5)
    shift = whole_batch.randint(-most, most + 1, (n, 2, 1), device=img.device)
    source = torch.arange(size, device=img.device) - shift  # [N, 2, R]: columns, rows
    visible = (source >= 0) & (source < size)
    columns, rows = source.clamp(0, size - 1).unbind(dim=1)
    index = (rows[:, :, None] * size + columns[:, None, :]).flatten(1)[:, None].expand(-1, channels, -1)
    moved = img.flatten(2).gather(2, index).unflatten(2, (size, size))
    return torch.where((visible[:, 0, None, :] & visible[:, 1, :, None])[:, None], moved, empty_value(img))


def cut_out(img: Tensor, ratio: float = 0.5) -> Tensor:
    """Empty a square of ``ratio`` of the size, anywhere: parts of it may lie outside."""
    n, _, size, _ = img.shape
    side = int(size * ratio + 0.5)
    start = whole_batch.randint(0, size + 1 - side % 2, (n, 2, 1), device=img.device) - side // 2
    offset = torch.arange(size, device=img.device) - start  # [N, 2, R]
    inside = (offset >= 0) & (offset < side)
    return torch.where((inside[:, 0, None, :] & inside[:, 1, :, None])[:, None], empty_value(img), img)
