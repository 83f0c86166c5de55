"""What the networks of this package share: norms, initial weights, fp32 where it counts."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ganzoo import whole_batch

Norm = Annotated[
    Literal["batch", "instance", "none"],
    Field(description="instance has neither gain nor running mean; a batch of one is normalised alike by both"),
]


def at_least_fp32(x: Tensor) -> Tensor:
    """Half-precision tensors as float32; others unchanged."""
    return x if x.dtype.itemsize >= 4 else x.float()


def make_norm(name: Literal["batch", "instance", "none"], channels: int) -> nn.Module:
    """Normalisation of [N, channels, H, W]. Gains of batch norm start as N(1, 0.02)."""
    if name == "none":
        return nn.Identity()
    if name == "instance":
        return nn.InstanceNorm2d(channels)  # no gain, no running mean
    norm = whole_batch.BatchNorm2d(channels)
    nn.init.normal_(norm.weight, 1.0, 0.02)
    return norm


def initialised(conv: nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    """Weights from N(0, 0.02), as in DCGAN; biases, where there are any, 0."""
    nn.init.normal_(conv.weight, 0.0, 0.02)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU with slope 0.2, in place: the layers before it do not need their output again."""
    return F.leaky_relu(x, 0.2, inplace=True)


def append_labels(x: Tensor, c: Tensor | None, c_dim: int) -> Tensor:
    """x [N, C, H, W] with labels c [N, c_dim] as constant maps behind its channels; x itself where c_dim is 0.

    Raises ValueError if labels are missing.
    """
    if c_dim == 0:
        return x
    if c is None:
        raise ValueError(f"a network made for labels of size {c_dim} needs them: give c [{len(x)}, {c_dim}]")
    return torch.cat([x, c.to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])], dim=1)


def refuse_growing(name: str, img_resolution: int, resolution: int) -> None:
    """Raise ValueError unless images have the final resolution."""
    if resolution != img_resolution:
        raise ValueError(
            f"{name} does not grow: it is trained at {img_resolution}x{img_resolution} only, and the schedule asks for "
            f"{resolution}x{resolution}. Set growth.name to fixed"
        )


def refuse_labels(name: str, c_dim: int) -> None:
    """Raise ValueError if the data have labels."""
    if c_dim > 0:
        raise ValueError(f"{name} looks at images alone and takes no labels: set data.labels to false")


def check_size(source: Tensor, multiple: int) -> None:
    """Raise ValueError unless height and width of source [N, C, H, W] are multiples of ``multiple``."""
    height, width = source.shape[2:]
    if height % multiple or width % multiple:
        raise ValueError(f"an image of {width}x{height} cannot be translated: both must be multiples of {multiple}")
