"""PatchGAN (Isola et al. 2017, arXiv:1611.07004, section 3.2.2): a convolutional D that judges patches, not images."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import GrowthState

from .layers import Norm, append_labels, at_least_fp32, initialised, leaky, make_norm, refuse_growing

Layers = Annotated[
    int, Field(ge=0, le=8, description="convolutions that halve; 3 judges patches of 70 px, 0 single pixels")
]
Width = Annotated[int, Field(ge=1, description="feature maps of the first layer; they double, up to 8 times as many")]


class Patches(nn.Module):
    """Images [N, in_channels, H, W] to logits [N, 1, h, w], float32.

    4x4 convolutions, leaky ReLU: ``n_layers`` that halve the image, one more, and one to the logits, with a norm in
    all but the first and the last. With n_layers 0, 1x1 convolutions: a logit a pixel.
    """

    def __init__(self, in_channels: int, *, n_layers: int, ndf: int, norm: Norm) -> None:
        super().__init__()
        bias = norm != "batch"  # batch norm has its own
        strides = [2] * n_layers + [1]
        widths = [ndf * min(2**i, 8) for i in range(n_layers + 1)]
        if n_layers == 0:
            strides, widths = [1, 1], [ndf, 2 * ndf]
        kernel, padding = (1, 0) if n_layers == 0 else (4, 1)
        ins = [in_channels, *widths]
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for i, width in enumerate(widths):
            conv = nn.Conv2d(ins[i], width, kernel, strides[i], padding, bias=bias or i == 0)
            self.convs.append(initialised(conv))
            self.norms.append(make_norm(norm if i > 0 else "none", width))
        # In the reference the first and the last layer always have a bias, but for the last one of pixels.
        self.out = initialised(nn.Conv2d(widths[-1], 1, kernel, 1, padding, bias=bias or n_layers > 0))

    def forward(self, img: Tensor) -> Tensor:
        x = img
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = leaky(norm(conv(x)))
        # bfloat16 has three digits: too few for scores whose differences the loss is made of.
        with torch.autocast(x.device.type, enabled=False):
            return self.out(at_least_fp32(x))


def check_patches(n_layers: int, img_resolution: int) -> None:
    """Raise ValueError if images are too small for one patch."""

    def fits(layers: int) -> bool:
        return layers == 0 or img_resolution >> layers >= 3

    if not fits(n_layers):
        most = max(layers for layers in range(n_layers) if fits(layers))
        raise ValueError(
            f"n_layers {n_layers}: images of {img_resolution}x{img_resolution} are smaller than what is left after so "
            f"many halvings needs; set n_layers to {most} or less"
        )


class Discriminator(ganzoo.Discriminator):
    """Images [N, img_channels, R, R] and labels [N, c_dim] to logits [N, 1, h, w], one for each of many patches.

    With ``conditional`` it judges an image together with its source [N, in_channels, R, R], of which it was, or should
    have been, made. Labels are constant maps beside the channels of the image.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        n_layers: Layers = 3,
        ndf: Width = 64,
        norm: Norm = "batch",
        conditional: Annotated[
            bool, Field(description="judge pairs of source and image, as pix2pix does; needs data.inputs")
        ] = False,
    ) -> None:
        super().__init__(c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        check_patches(n_layers, img_resolution)
        if conditional and in_channels == 0:
            raise ValueError(
                "conditional judges images together with those that they are translated from, and there are none: set "
                "conditional to false, or give data.inputs"
            )
        self.sees_source = conditional
        self.in_channels = in_channels
        seen = img_channels + c_dim + (in_channels if conditional else 0)
        self.patches = Patches(seen, n_layers=n_layers, ndf=ndf, norm=norm)

    def check_resolution(self, resolution: int) -> None:
        refuse_growing("patchgan", self.img_resolution, resolution)

    def forward(
        self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState, source: Tensor | None = None
    ) -> Tensor:
        """source: needed if ``sees_source``, and not looked at otherwise."""
        self.check_resolution(growth.resolution)
        x = append_labels(img, c, self.c_dim)
        if self.sees_source:
            if source is None:
                raise ValueError("a conditional patchgan judges pairs: give the source as well")
            x = torch.cat([source.to(x.dtype), x], dim=1)
        return self.patches(x)
