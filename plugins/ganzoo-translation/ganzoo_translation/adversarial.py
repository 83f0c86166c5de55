"""What the losses of CycleGAN and pix2pix are made of; each term is the mean over an image, or its patches, [N]."""

from __future__ import annotations

from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ganzoo import Discriminator

from .layers import at_least_fp32

GANMode = Annotated[
    Literal["lsgan", "vanilla"],
    Field(description="least squares to 1 and 0 (Mao et al. 2017), or cross entropy (Goodfellow et al. 2014)"),
]


def d_real(logits: Tensor, mode: GANMode) -> Tensor:
    """What D minimises for real images, and G for its own: logits [N, 1] or [N, 1, h, w] -> [N]."""
    x = at_least_fp32(logits).flatten(1)
    return (F.softplus(-x) if mode == "vanilla" else (x - 1).square()).mean(1)


def d_fake(logits: Tensor, mode: GANMode) -> Tensor:
    """What D minimises for generated images."""
    x = at_least_fp32(logits).flatten(1)
    return (F.softplus(x) if mode == "vanilla" else x.square()).mean(1)


g_fake = d_real


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of images [N, C, H, W] -> [N], in fp32."""
    return (at_least_fp32(a) - at_least_fp32(b)).abs().flatten(1).mean(1)


def refuse_classes(D: Discriminator) -> None:
    """Raise ValueError if D classifies images: these losses have no terms of labels."""
    if D.aux_dim > 0:
        raise ValueError(
            f"the discriminator classifies images (AC-GAN, {D.aux_dim} class logits), and this loss has no terms for "
            "that: set the discriminator's aux to false"
        )
