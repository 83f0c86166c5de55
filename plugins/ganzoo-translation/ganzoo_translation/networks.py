"""The two bodies of image-to-image generators: a residual network and a U-Net. Both are fully convolutional.

They are those of the papers' code (junyanz/pytorch-CycleGAN-and-pix2pix) number for number.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from .layers import Norm, at_least_fp32, check_size, initialised, leaky, make_norm

Body = Annotated[Literal["unet", "resnet"], Field(description="unet passes details by the narrow middle, resnet not")]
GeneratorWidth = Annotated[int, Field(ge=1, description="feature maps of the outermost layer")]
Blocks = Annotated[int, Field(ge=1, le=1000, description="residual blocks of a resnet: 6 for 128 px, 9 from 256 px on")]
Downs = Annotated[
    int | None,
    Field(ge=2, le=12, description="halvings of a unet; null = as many as the size allows, 8 at most"),
]
Dropout = Annotated[bool, Field(description="of one half, in training, in the inner blocks of either network")]


class ResNet(nn.Module):
    """Source [N, in_channels, H, W] to images [N, out_channels, H, W] in (-1, 1).

    Johnson et al. 2016 (arXiv:1603.08155) as Zhu et al. 2017 use it (arXiv:1703.10593, section 7.2): a 7x7
    convolution, two that halve the image, residual blocks, two transposed ones that double it, a 7x7 one with tanh.
    Borders are reflected.
    """

    size_multiple = 4

    def __init__(
        self, in_channels: int, out_channels: int, *, ngf: int, n_blocks: int, norm: Norm, dropout: bool
    ) -> None:
        super().__init__()
        bias = norm != "batch"  # batch norm has its own
        self.first = initialised(nn.Conv2d(in_channels, ngf, 7, bias=bias))
        self.first_norm = make_norm(norm, ngf)
        self.down, self.down_norm = nn.ModuleList(), nn.ModuleList()
        self.up, self.up_norm = nn.ModuleList(), nn.ModuleList()
        for i in range(2):
            self.down.append(initialised(nn.Conv2d(ngf << i, ngf << i + 1, 3, 2, 1, bias=bias)))
            self.down_norm.append(make_norm(norm, ngf << i + 1))
        self.blocks = nn.ModuleList(ResidualBlock(ngf * 4, norm, dropout) for _ in range(n_blocks))
        for i in (1, 0):
            up = nn.ConvTranspose2d(ngf << i + 1, ngf << i, 3, 2, 1, output_padding=1, bias=bias)
            self.up.append(initialised(up))
            self.up_norm.append(make_norm(norm, ngf << i))
        self.last = initialised(nn.Conv2d(ngf, out_channels, 7))

    def forward(self, source: Tensor) -> Tensor:
        check_size(source, self.size_multiple)
        x = F.relu(self.first_norm(self.first(reflect(source, 3))), inplace=True)
        for conv, norm in zip(self.down, self.down_norm, strict=True):
            x = F.relu(norm(conv(x)), inplace=True)
        for block in self.blocks:
            x = block(x)
        for conv, norm in zip(self.up, self.up_norm, strict=True):
            x = F.relu(norm(conv(x)), inplace=True)
        return torch.tanh(at_least_fp32(self.last(reflect(x, 3))))


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), each convolution with its norm; nothing after the sum (Gross, Wilber 2016)."""

    def __init__(self, channels: int, norm: Norm, dropout: bool) -> None:
        super().__init__()
        self.convs = nn.ModuleList(initialised(nn.Conv2d(channels, channels, 3, bias=norm != "batch")) for _ in (0, 1))
        self.norms = nn.ModuleList(make_norm(norm, channels) for _ in (0, 1))
        self.dropout = nn.Dropout(0.5 if dropout else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norms[0](self.convs[0](reflect(x, 1))), inplace=True)
        return x + self.norms[1](self.convs[1](reflect(self.dropout(h), 1)))


class UNet(nn.Module):
    """Source [N, in_channels, H, W] to images [N, out_channels, H, W] in (-1, 1).

    Ronneberger et al. 2015 as Isola et al. 2017 use it (arXiv:1611.07004, section 6.1.1): ``num_downs`` 4x4
    convolutions that halve the image, as many transposed ones that double it, and every map of the way down beside the
    one of its size on the way up. Widths double from ngf to 8 ngf. Dropout is in the blocks of 8 ngf in between.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, ngf: int, num_downs: int, norm: Norm, dropout: bool
    ) -> None:
        super().__init__()
        self.size_multiple = 2**num_downs
        bias = norm != "batch"
        widths = [ngf * min(2**i, 8) for i in range(num_downs)]
        ins, outs = [in_channels, *widths[:-1]], [out_channels, *widths[:-1]]
        innermost = num_downs - 1
        self.down, self.down_norm = nn.ModuleList(), nn.ModuleList()
        self.up, self.up_norm, self.dropout = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for i, width in enumerate(widths):  # from the outside in
            up_width = width if i == innermost else 2 * width  # of the way up, and of the way down beside it
            self.down.append(initialised(nn.Conv2d(ins[i], width, 4, 2, 1, bias=bias)))
            self.down_norm.append(make_norm(norm if 0 < i < innermost else "none", width))
            self.up.append(initialised(nn.ConvTranspose2d(up_width, outs[i], 4, 2, 1, bias=bias or i == 0)))
            self.up_norm.append(make_norm(norm if i > 0 else "none", outs[i]))
            self.dropout.append(nn.Dropout(0.5 if dropout and 4 <= i < innermost else 0.0))

    def forward(self, source: Tensor) -> Tensor:
        check_size(source, self.size_multiple)
        x, skips = source, []
        for i, (conv, norm) in enumerate(zip(self.down, self.down_norm, strict=True)):
            if i > 0:
                # In place in the reference, too, so that the way up gets what has been through it.
                x = leaky(x)
                skips.append(x)
            x = norm(conv(x))
        for i in reversed(range(len(self.up))):
            x = self.up[i](F.relu(x))
            if i > 0:
                x = torch.cat([skips.pop(), self.dropout[i](self.up_norm[i](x))], dim=1)
        return torch.tanh(at_least_fp32(x))


def reflect(x: Tensor, width: int) -> Tensor:
    return F.pad(x, (width,) * 4, mode="reflect")


def make_body(
    network: Literal["unet", "resnet"],
    in_channels: int,
    out_channels: int,
    *,
    img_resolution: int,
    n_blocks: int,
    num_downs: int | None,
    ngf: int,
    norm: Norm,
    dropout: bool,
) -> ResNet | UNet:
    """Raises ValueError, saying what would work, if images cannot be halved so often."""
    if network == "resnet":
        if img_resolution < 8:
            raise ValueError(f"images of {img_resolution} px are too small for a resnet: use at least 8 px")
        return ResNet(in_channels, out_channels, ngf=ngf, n_blocks=n_blocks, norm=norm, dropout=dropout)
    halvings = (img_resolution & -img_resolution).bit_length() - 1
    num_downs = min(halvings, 8) if num_downs is None else num_downs
    if not 2 <= num_downs <= halvings:
        raise ValueError(
            f"images of {img_resolution} px can be halved {halvings} times, and num_downs is {num_downs}: use 2 to "
            f"{halvings}"
            if halvings >= 2
            else f"images of {img_resolution} px are too small for a unet: use at least 4 px"
        )
    return UNet(in_channels, out_channels, ngf=ngf, num_downs=num_downs, norm=norm, dropout=dropout)
