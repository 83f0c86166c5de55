"""Sliced Wasserstein distance between patches of two sets of images, scale by scale (Karras et al. 2018, section 5).

Each level of a Laplacian pyramid is a band of spatial frequencies: a distance at 16 px speaks of large shapes, one at
the final resolution of pixel-level detail, and noise or sharpness shows there first.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ganzoo import ImageSet, Metric
from ganzoo.errors import DataError

from .image_sets import filter_separable, image_shape, read_chunks

PATCH_SIZE = 7
PATCHES_PER_IMAGE = 128
DIRECTIONS = 4 * 128  # the paper's four rounds of 128: the mean of their means is the mean over all
RESOLUTIONS = (16, 32, 64, 128, 256, 512, 1024)

_SEED = 0
_BINOMIAL = [weight / 16 for weight in (1, 4, 6, 4, 1)]
_PATCH_BYTES = 2**33
_PROJECTIONS_AT_ONCE = 2**24  # numbers a set: 64 MB


class SlicedWasserstein(Metric):
    """SWD x 1000 by level, ``swd_<resolution>`` from 16 px to the images' own, and their mean, ``swd``.

    128 patches of 7 x 7 pixels are taken from each level of each image. Each set's patches are normalised by the
    mean and standard deviation of their colour channels, so that a shift in colour or contrast does not count, and
    projected on 512 random directions; SWD is the mean distance between the two sets' sorted projections. Places and
    directions are drawn once, the same for both sets: identical sets are at distance 0. Unrelated samples of one
    distribution are not: SWD falls with the number of patches, so compare values for equal numbers of images only.

    The larger set is thinned evenly to the size of the smaller, and both to ``max_samples``. Memory: 2.3 GiB a level
    for the paper's number of RGB images; levels that together take more than 8 GiB are computed in turn, and the images
    read again. Raises DataError for sets that differ in shape, and for images that are not 16, 32, ..., 1024 px.
    """

    needs = "images"
    results: ClassVar = dict.fromkeys(["swd", *(f"swd_{resolution}" for resolution in RESOLUTIONS)], True)

    def __init__(
        self,
        *,
        max_samples: Annotated[int, Field(ge=2, description="images of each set at most; the paper's number")] = 16384,
    ) -> None:
        self.max_samples: int = max_samples

    def compute(self, fake: ImageSet, real: ImageSet | None) -> dict[str, float]:
        assert real is not None  # compares is true
        channels, resolution = _common_shape(fake, real)
        num_images = self._num_images(len(fake), len(real))
        levels = [level for level in RESOLUTIONS if level <= resolution]
        bytes_per_level = 2 * num_images * PATCHES_PER_IMAGE * channels * PATCH_SIZE**2 * 4
        levels_at_once = max(1, _PATCH_BYTES // bytes_per_level)
        values: dict[int, float] = {}
        for start in range(0, len(levels), levels_at_once):
            some = levels[start : start + levels_at_once]
            fake_patches, real_patches = (extract_patches(images, num_images, some) for images in (fake, real))
            for level in some:
                values[level] = 1000 * sliced_wasserstein(fake_patches.pop(level), real_patches.pop(level))
        return {"swd": sum(values.values()) / len(values)} | {f"swd_{r}": values[r] for r in levels}

    def settings_for(self, num_fake: int, num_real: int) -> dict[str, int]:
        """What the record should say beyond the arguments."""
        return {"num_images": self._num_images(num_fake, num_real)}

    def _num_images(self, num_fake: int, num_real: int) -> int:
        return min(num_fake, num_real, self.max_samples)


def laplacian_pyramid(images: Tensor) -> Iterator[Tensor]:
    """Images [N, C, R, R] -> what each level adds to the next coarser image, finest first, and the 16 px image itself.

    ``expand(image) + level``, from the 16 px image upwards, gives the images back.
    """
    while images.shape[-1] > RESOLUTIONS[0]:
        smaller = _blur(images)[..., ::2, ::2]
        yield images - expand(smaller)
        images = smaller
    yield images


def expand(images: Tensor) -> Tensor:
    """Images [..., R, R] -> [..., 2R, 2R]: zeros in between, then the kernel of the reduction, times 4."""
    *rest, height, width = images.shape
    spread = images.new_zeros(*rest, 2 * height, 2 * width)
    spread[..., ::2, ::2] = images
    return _blur(spread) * 4


def _blur(images: Tensor) -> Tensor:
    return filter_separable(F.pad(images, (2, 2, 2, 2), mode="reflect"), _BINOMIAL)


def extract_patches(images: ImageSet, num_images: int, levels: list[int]) -> dict[int, Tensor]:
    """Patches of ``num_images`` images, evenly spaced in the set: float32 [num_images * 128, C, 49] for each level."""
    channels, _ = image_shape(images)
    shape = num_images, PATCHES_PER_IMAGE
    places = {level: _random(level).randint((level - PATCH_SIZE + 1) ** 2, size=shape) for level in levels}
    patches = {level: torch.empty(*shape, channels, PATCH_SIZE**2) for level in levels}
    start = 0
    for chunk in read_chunks(images, np.arange(num_images) * len(images) // num_images):
        rows = slice(start, start := start + len(chunk))
        for band in laplacian_pyramid(chunk):
            level = band.shape[-1]
            if level in places:
                patches[level][rows] = patches_at(band, torch.from_numpy(places[level][rows]))
    return {level: values.flatten(0, 1) for level, values in patches.items()}


def patches_at(images: Tensor, places: Tensor) -> Tensor:
    """The patches of images [N, C, R, R] whose top left corners are at ``places`` [N, P] -> [N, P, C, 49].

    Places count row by row over the (R - 6)^2 corners that there are.
    """
    windows = images.unfold(2, PATCH_SIZE, 1).unfold(3, PATCH_SIZE, 1)
    width = windows.shape[3]
    return windows[torch.arange(len(images))[:, None], :, places // width, places % width].flatten(3)


def sliced_wasserstein(a: Tensor, b: Tensor) -> float:
    """Mean distance of two sets of patches [N, C, 49] over random directions, after normalising each in place."""
    for patches in (a, b):
        std, mean = torch.std_mean(patches, dim=(0, 2), correction=0, keepdim=True)
        patches.sub_(mean).div_(std.clamp_min(1e-6))  # a band without any detail stays 0
    a, b = a.flatten(1), b.flatten(1)
    directions = torch.from_numpy(_random(0).standard_normal((DIRECTIONS, a.shape[1]))).float()
    directions /= directions.norm(dim=1, keepdim=True)
    at_once = max(1, _PROJECTIONS_AT_ONCE // len(a))
    distances = [
        (_sorted(some @ a.T) - _sorted(some @ b.T)).abs().mean(dim=1, dtype=torch.float64)
        for some in directions.split(at_once)
    ]
    return float(torch.cat(distances).mean())


def _sorted(rows: Tensor) -> Tensor:
    # numpy's sort of floats is several times faster than torch's on CPUs, which also returns where each number was.
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        list(threads.map(np.ndarray.sort, rows.numpy()))
    return rows


def _random(stream: int) -> np.random.RandomState:
    return np.random.RandomState([_SEED, stream])


def _common_shape(fake: ImageSet, real: ImageSet) -> tuple[int, int]:
    (channels, resolution), (real_channels, real_resolution) = image_shape(fake), image_shape(real)
    if (channels, resolution) != (real_channels, real_resolution):
        raise DataError(
            f"swd: the images to judge are {resolution} px with {channels} channels, the real ones {real_resolution} "
            f"px with {real_channels}: bring both to one size and colour"
        )
    if resolution not in RESOLUTIONS:
        raise DataError(
            f"swd: the images are {resolution} px, and its pyramid needs one of {', '.join(map(str, RESOLUTIONS))} px: "
            "resize both sets"
        )
    return channels, resolution
