"""What the metrics on images share: reading a set bit by bit, and separable filters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ganzoo import ImageSet

_NUMBERS_AT_ONCE = 2**22  # 16 MB as float32, times the few copies that filters make
_IMAGES_AT_ONCE = 256


def read_chunks(images: ImageSet, indices: np.ndarray) -> Iterator[Tensor]:
    """The images at ``indices``, in order, as float32 [n, C, R, R] in [0, 255]; n is what suits the memory."""
    step = images_at_once(images.read(indices[:1].tolist()).size)
    for start in range(0, len(indices), step):
        yield torch.from_numpy(images.read(indices[start : start + step].tolist())).float()


def images_at_once(size: int) -> int:
    """How many images of ``size`` numbers to work on together."""
    return max(1, min(_IMAGES_AT_ONCE, _NUMBERS_AT_ONCE // size))


def image_shape(images: ImageSet) -> tuple[int, int]:
    """Channels and resolution."""
    _, channels, resolution, _ = images.read([0]).shape
    return channels, resolution


def filter_separable(x: Tensor, kernel: Sequence[float]) -> Tensor:
    """x [..., H, W] filtered with the outer product of a symmetric ``kernel`` of k taps -> [..., H - k + 1, W - k + 1].

    A sum of shifted copies: on CPUs several times faster than a convolution of one channel.
    """
    for dim in (-2, -1):
        size = x.shape[dim] - len(kernel) + 1
        out = x.narrow(dim, 0, size) * kernel[0]
        for offset, weight in enumerate(kernel[1:], start=1):
            out.add_(x.narrow(dim, offset, size), alpha=weight)
        x = out
    return x
