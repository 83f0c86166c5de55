"""Multi-scale structural similarity between generated images: how alike they are (Odena et al. 2017, section 4.2)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ganzoo import ImageSet, Metric

from .image_sets import filter_separable, images_at_once

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # by scale, finest first (Wang et al. 2003)
SMALLEST = 8

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_SEED = 0
_HELD_BYTES = 2**29  # 10,000 RGB images of 128 px


class MultiScaleSSIM(Metric):
    """Mean MS-SSIM of random pairs of generated images: 1 if all are the same, lower the more they vary.

    It tells whether a generator collapses, not whether its images are good, and values compare only between images of
    one resolution and subject: hold them against the same number for real images. The pairs are the neighbours in one
    fixed random order of the set, ``num_pairs`` of them at most.

    As in the paper's code: SSIM by channel, averaged over places and channels at each scale; negative averages count
    as 0; the mean over pairs comes last; where an image is smaller than the 11 x 11 window, the window shrinks with
    it. Unlike there, halving stops at 8 px, so that images below 128 px have fewer scales (64 px: 4, 32 px: 3), whose
    weights are scaled to the sum of all five.
    """

    needs = "images"
    compares = False
    results: ClassVar = {"ms-ssim": True}

    def __init__(
        self, *, num_pairs: Annotated[int, Field(ge=1, description="pairs at most; the paper's number")] = 10_000
    ) -> None:
        self.max_samples: int = num_pairs + 1

    def compute(self, fake: ImageSet, real: ImageSet | None) -> dict[str, float]:
        order = np.random.RandomState(_SEED).permutation(len(fake))[: self.max_samples]
        similarities = [_of_neighbours(chunk) for chunk in _chunks_of_path(fake, order)]
        return {"ms-ssim": float(torch.cat(similarities).mean(dtype=torch.float64))}

    def settings_for(self, num_fake: int, num_real: int) -> dict[str, int]:
        """What the record should say beyond the arguments."""
        return {"num_pairs": min(num_fake, self.max_samples) - 1}


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """MS-SSIM of images x and y, [N, C, R, R] in [0, 255], pair by pair: [N], from 0 to 1."""
    return _of_neighbours(torch.stack([x, y], dim=1).flatten(0, 1))[::2]


def num_scales(resolution: int) -> int:
    """How many of the five scales images of that size have."""
    return min(len(WEIGHTS), max(1, (resolution // SMALLEST).bit_length()))


def _chunks_of_path(images: ImageSet, order: np.ndarray) -> Iterator[Tensor]:
    """The images in that order, float32 [n, C, R, R], each chunk beginning with the last image of the one before.

    They are read in ascending order, as many as can be held: a generator works in batches, and jumping about in it
    would run a whole batch for every image.
    """
    size = images.read(order[:1].tolist()).size
    held, step = max(2, _HELD_BYTES // size), images_at_once(size)
    for first in range(0, len(order) - 1, held - 1):
        part = order[first : first + held]
        ranks = part.argsort().argsort()
        pixels = torch.from_numpy(images.read(np.sort(part).tolist()))
        for start in range(0, len(part) - 1, step):
            yield pixels[ranks[start : start + step + 1]].float()


def _of_neighbours(images: Tensor) -> Tensor:
    """MS-SSIM of each image with the next: [N, C, R, R] -> [N - 1]."""
    scales = num_scales(images.shape[-1])
    weights = [weight * sum(WEIGHTS) / sum(WEIGHTS[:scales]) for weight in WEIGHTS[:scales]]
    similarity = images.new_ones(len(images) - 1)
    for scale, weight in enumerate(weights, start=1):
        luminance, structure = _ssim_terms(images)
        term = luminance * structure if scale == scales else structure
        similarity *= term.mean(dim=(1, 2, 3)).clamp_min(0) ** weight
        images = F.avg_pool2d(images, 2) if scale < scales else images
    return similarity


def _ssim_terms(images: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance, and contrast times structure, of each image with the next, at every place of the window."""
    window = _gaussian(min(_WINDOW, images.shape[-1]))
    mean = filter_separable(images, window)
    variance = filter_separable(images.square(), window) - mean.square()
    covariance = filter_separable(images[:-1] * images[1:], window) - mean[:-1] * mean[1:]
    luminance = (2 * mean[:-1] * mean[1:] + _C1) / (mean[:-1].square() + mean[1:].square() + _C1)
    structure = (2 * covariance + _C2) / (variance[:-1] + variance[1:] + _C2)
    return luminance, structure


def _gaussian(size: int) -> list[float]:
    sigma = _SIGMA * size / _WINDOW
    weights = [math.exp(-(((i - (size - 1) / 2) / sigma) ** 2) / 2) for i in range(size)]
    return [weight / sum(weights) for weight in weights]
