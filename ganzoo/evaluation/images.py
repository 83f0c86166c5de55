"""Sets of images to measure: files, the data of a run, and what a generator makes. All uint8, all of one size.

A set has 1 (grey) or 3 (RGB) channels. Transparent images are put on a stated background. Pixels are exactly those of
the files unless a resolution is asked for.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import ImageColor
from torch import Tensor

from ganzoo.data.fit import Fit, on_background, to_8bit, to_channels
from ganzoo.data.images import float_to_uint8
from ganzoo.data.labels import label_size, to_vectors
from ganzoo.data.opening import channels_of
from ganzoo.data.subset import at_most, spread
from ganzoo.data.training_data import TrainingData
from ganzoo.errors import DataError
from ganzoo.interfaces import Dataset

Indices = Sequence[int] | np.ndarray
Generate = Callable[[Tensor, Tensor | None], Tensor]


class Images(ABC):
    """An ImageSet that knows what it is.

    name: for messages. resolution, channels: of every image. resize: what was done to bring images to size, in words.
    fingerprint: changes when any pixel does. decodes: whether reading is work that threads can
    share. shuffled: whether neighbours are no more alike than others.
    """

    name: str
    resolution: int
    channels: int
    fingerprint: str
    resize: str = "none"
    decodes: bool = False
    shuffled: bool = False

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, indices: Indices) -> np.ndarray:
        """uint8 [n, channels, resolution, resolution]."""


class Chosen(Images):
    """Some images of an ImageSet, by index."""

    def __init__(self, images: Images, indices: np.ndarray) -> None:
        self._images, self._indices = images, indices
        self.name, self.resolution, self.channels = images.name, images.resolution, images.channels
        self.resize, self.decodes, self.shuffled = images.resize, images.decodes, images.shuffled
        self.fingerprint = _digest(images.fingerprint, indices.astype(np.int64).tobytes().hex())

    def __len__(self) -> int:
        return len(self._indices)

    def read(self, indices: Indices) -> np.ndarray:
        return self._images.read(self._indices[np.asarray(indices, np.int64)])


class FileImages(Images):
    """The images of a data set."""

    decodes = True

    def __init__(
        self, dataset: Dataset, *, resolution: int | None = None, background: str = "white", num: int | None = None
    ) -> None:
        """resolution: a power of two to bring all images to (centre square, Lanczos), None = as they are.

        num: at most so many, spread evenly over the set. Raises DataError if the first image is not square and no
        resolution is asked for; for any other that differs from the first, while reading.
        """
        self.labels, self.class_names = dataset.labels, dataset.class_names
        self._dataset = at_most(dataset, num)
        self.name = dataset.name
        self.channels = 1 if channels_of(self._dataset, _silent) == 1 else 3
        self._fit = None if resolution is None else Fit(resolution, self.channels, "crop", "lanczos", background)
        self._colour = rgb(background)
        if self._fit is None:
            height, width = self._dataset.image(0).shape[:2]
            if height != width:
                raise DataError(
                    f"{dataset.filename(0)}: is {width} x {height} px, and metrics need squares of one size; add "
                    "--resolution R to cut out and resize the centre of each"
                )
            self.resolution = height
        else:
            self.resolution = self._fit.resolution
            self.resize = f"centre square, lanczos to {self.resolution} x {self.resolution}"
        self.fingerprint = _digest(dataset.fingerprint, num or "all", self.channels, background, resolution or "as is")

    def __len__(self) -> int:
        return len(self._dataset)

    def read(self, indices: Indices) -> np.ndarray:
        return np.stack([self._one(int(index)) for index in indices])

    def _one(self, index: int) -> np.ndarray:
        image, filename = self._dataset.image(index), self._dataset.filename(index)
        if self.channels == 1 and image.ndim == 3 and image.shape[2] >= 3:
            raise DataError(
                f"{filename}: is in colour, and {self._dataset.filename(0)} and others are grey; measure them apart or "
                "convert all to one kind with `ganzoo data pack`"
            )
        if self._fit is not None:
            return self._fit(image, filename)
        if image.shape[:2] != (self.resolution, self.resolution):
            raise DataError(
                f"{filename}: is {image.shape[1]} x {image.shape[0]} px, and {self._dataset.filename(0)} is "
                f"{self.resolution} x {self.resolution}; add --resolution R to bring all to one size"
            )
        return np.moveaxis(to_channels(to_8bit(image, filename), self.channels, self._colour), -1, 0)


class TrainingImages(Images):
    """The images that a run trains on, as its generator is meant to make them; without mirroring."""

    def __init__(self, data: TrainingData, resolution: int, *, background: str, num: int | None = None) -> None:
        self._data, self._colour = data, rgb(background)
        total = data.info.num_images
        self._indices = spread(total, total if num is None else num)
        self.name, self.resolution = data.info.name, resolution
        self.channels = 1 if data.info.img_channels == 1 else 3
        self.resize = "as the recipe's data section says"
        if resolution < data.info.img_resolution:
            self.resize += f", then box to {resolution} x {resolution}"
        self.fingerprint = _digest(data.info.fingerprint, resolution, len(self), self._colour)
        self.decodes = data.images.decodes

    def __len__(self) -> int:
        return len(self._indices)

    def read(self, indices: Indices) -> np.ndarray:
        images = self._data.read(self._indices[np.asarray(indices, np.int64)], self.resolution)
        return _without_alpha(images, self._colour)


@dataclass(frozen=True)
class Source:
    """A generator and what it is fed.

    generate: z [N, z_dim], c [N, c_dim] or None -> images [N, channels, resolution, resolution], about [-1, 1].
    labels: [M, c_dim] of the data, to draw from; None without labels. fingerprint: of weights and labels.
    """

    name: str
    generate: Generate
    z_dim: int
    c_dim: int
    resolution: int
    channels: int
    fingerprint: str
    labels: Tensor | None = None

    def __call__(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return self.generate(z, c)

    def draw_labels(self, random: np.random.RandomState, n: int) -> Tensor | None:
        """Labels of ``n`` random images of the data, so that they are distributed as there."""
        return None if self.labels is None else self.labels[random.randint(len(self.labels), size=n)]


class GeneratedImages(Images):
    """What a generator makes of the seeds ``seed``, ``seed + 1``, ...: the pictures of ``ganzoo sample --seeds``.

    With labels, each seed also draws the label of a random image of the data. An image depends on its seed alone and
    not on how many are asked for at a time: generation works in blocks that begin at fixed indices.
    """

    shuffled = True

    def __init__(
        self, source: Source, num: int, *, seed: int = 0, resolution: int | None = None, background: str = "white"
    ) -> None:
        """resolution: a power of two to bring images to (Lanczos), None = as they come."""
        self._source, self._num, self._seed = source, num, seed
        self._colour = rgb(background)
        self.name = source.name
        self.channels = 1 if source.channels == 1 else 3
        self.resolution = resolution or source.resolution
        self._fit = None
        if self.resolution != source.resolution:
            self._fit = Fit(self.resolution, self.channels, "crop", "lanczos", background)
            self.resize = f"lanczos to {self.resolution} x {self.resolution}"
        self.fingerprint = _digest(source.fingerprint, num, seed, self.resolution, self._colour)
        self._block_size = max(1, min(64, 2**22 // source.resolution**2))  # about what 1 GB of activations allows
        self._block: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self._num

    def read(self, indices: Indices) -> np.ndarray:
        return np.stack([self._one(int(index)) for index in indices])

    def _one(self, index: int) -> np.ndarray:
        number, place = divmod(index, self._block_size)
        if self._block is None or self._block[0] != number:
            self._block = number, self._generate(number * self._block_size)
        return self._block[1][place]

    def _fed(self, numbers: range) -> tuple[Tensor, Tensor | None]:
        """What the generator gets to make the images ``numbers``: latents and labels."""
        randoms = [np.random.RandomState(self._seed + i) for i in numbers]
        z = torch.from_numpy(np.concatenate([random.randn(1, self._source.z_dim) for random in randoms])).float()
        c = None
        if self._source.labels is not None:
            c = self._source.labels[[random.randint(len(self._source.labels)) for random in randoms]]
        return z, c

    @torch.no_grad()
    def _generate(self, start: int) -> np.ndarray:
        images = self._source(*self._fed(range(start, min(start + self._block_size, self._num))))
        if not bool(images.isfinite().all()):
            bad = int((~images.flatten(1).isfinite().all(1)).nonzero()[0])
            raise DataError(
                f"{self.name}: the image of seed {self._seed + start + bad} has values that are no numbers (NaN or "
                "infinite); this generator has diverged, so measure an earlier snapshot"
            )
        pixels = _without_alpha(float_to_uint8(images.float()).cpu().numpy(), self._colour)
        if self._fit is None:
            return pixels
        return np.stack([self._fit(np.moveaxis(image, 0, -1), self.name) for image in pixels])


class TranslatedImages(GeneratedImages):
    """What a translator makes of images that are spread evenly over those that it is trained with; no seeds."""

    shuffled = False

    def __init__(
        self,
        source: Source,
        num: int,
        *,
        inputs: Callable[[np.ndarray, int], Tensor],
        total: int,
        data_fingerprint: str,
        resolution: int | None = None,
        background: str = "white",
    ) -> None:
        """inputs: (indices below ``total``, a seed for what is random in them) -> images to translate [n, C, R, R].

        ``source.labels``: one for each of those indices, or None. num: at most so many images.
        """
        super().__init__(source, min(num, total), resolution=resolution, background=background)
        self._inputs, self._indices = inputs, spread(total, num)
        self.fingerprint = _digest(self.fingerprint, "translated from", data_fingerprint)

    def _fed(self, numbers: range) -> tuple[Tensor, Tensor | None]:
        indices = self._indices[numbers.start : numbers.stop]
        labels = self._source.labels
        return self._inputs(indices, numbers.start), None if labels is None else labels[indices]


def check_comparable(fake: Images, real: Images) -> None:
    """Raise DataError if comparing these sets would say more about their format than their contents."""
    if fake.channels != real.channels:
        kinds = {1: "grey", 3: "RGB"}
        raise DataError(
            f"{fake.name} is {kinds[fake.channels]} and {real.name} is {kinds[real.channels]}: a metric would measure "
            "that. Convert one with `ganzoo data pack --channels`"
        )
    if fake.resolution != real.resolution:
        raise DataError(
            f"{fake.name} has {fake.resolution} x {fake.resolution} px and {real.name} {real.resolution} x "
            f"{real.resolution}: a metric would measure that. Bring both to one size with --resolution "
            f"{min(fake.resolution, real.resolution)}"
        )


def label_vectors(labels: np.ndarray | None, class_names: Sequence[str] | None, c_dim: int, name: str) -> Tensor | None:
    """Labels of the data set ``name`` for a generator that takes c_dim numbers. Raises DataError if they do not fit."""
    if c_dim == 0:
        return None
    check_labels(0 if labels is None else label_size(labels, class_names), c_dim, name)
    assert labels is not None
    return to_vectors(labels, c_dim)


def check_labels(found: int, c_dim: int, name: str) -> None:
    """Raise DataError unless the labels of the data set ``name``, of size ``found``, are of size ``c_dim``."""
    if found != c_dim:
        raise DataError(
            f"{name}: the generator wants labels of size {c_dim}, drawn as they are distributed in its data, and here "
            + (f"they have size {found}" if found else "are none")
            + "; give the labelled images that it was trained on"
        )


def rgb(background: str) -> tuple[int, ...]:
    """A colour's name or #rrggbb as numbers. Raises DataError for anything else."""
    try:
        return ImageColor.getrgb(background)[:3]
    except ValueError as problem:
        raise DataError(f"background: {background!r} is no colour; use a name such as white, or #rrggbb") from problem


def _without_alpha(images: np.ndarray, colour: tuple[int, ...]) -> np.ndarray:
    """uint8 [n, C, R, R] -> C = 1 or 3; RGBA is premultiplied by alpha."""
    if images.shape[1] != 4:
        return images
    return np.moveaxis(on_background(np.moveaxis(images, 1, -1), colour), -1, 1)


def _digest(*parts: object) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:32]


def _silent(message: str) -> None:
    pass
