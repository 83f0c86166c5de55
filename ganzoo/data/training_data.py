"""The images of a run, by index and resolution."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from torch import Tensor

from ganzoo.data.fit import Fit, mip_levels
from ganzoo.data.labels import to_vectors
from ganzoo.interfaces import Dataset


@dataclass(frozen=True)
class DataInfo:
    """What a run needs to know of its data.

    name: short, for the run folder. c_dim: size of the label vectors, 0 = none. class_names: by class, or None.
    fingerprint: changes when any image, any label or the fitting does; empty if the data were opened unprepared.
    """

    name: str
    num_images: int
    img_resolution: int
    img_channels: int
    c_dim: int
    class_names: list[str] | None
    fingerprint: str


class ImageStore(Protocol):
    """Fitted images with random access. decodes: whether reading costs more than copying."""

    decodes: bool

    def read(self, indices: np.ndarray, resolution: int) -> np.ndarray:
        """uint8 [n, C, resolution, resolution]."""
        ...


class LevelArrays:
    """Images held as one array a resolution: uint8 [N, C, R, R], in memory or memory-mapped."""

    decodes = False

    def __init__(self, levels: dict[int, np.ndarray], chosen: np.ndarray | None = None) -> None:
        """chosen: the only images to count, by index; None = all."""
        self._levels, self._chosen = levels, chosen

    def read(self, indices: np.ndarray, resolution: int) -> np.ndarray:
        return self._levels[resolution][indices if self._chosen is None else self._chosen[indices]]


class LiveImages:
    """Images decoded and fitted each time they are read; the same numbers as a pack of them."""

    decodes = True

    def __init__(self, dataset: Dataset, fit: Fit, log: Callable[[str], None]) -> None:
        self._dataset, self._fit, self._log = dataset, fit, log
        self._warned = False

    def read(self, indices: np.ndarray, resolution: int) -> np.ndarray:
        return mip_levels(np.stack([self._one(int(index)) for index in indices]))[resolution]

    def _one(self, index: int) -> np.ndarray:
        image, filename = self._dataset.image(index), self._dataset.filename(index)
        if self._fit.enlarges(image) and not self._warned:
            self._warned = True
            size = f"{self._fit.resolution} x {self._fit.resolution}"
            self._log(f"warning: {filename} is smaller than {size} and gets enlarged; others may be, too")
        return self._fit(image, filename)


class TrainingData:
    """Images and labels with random access, safe to read from several threads.

    inputs: images to translate into these; None where there are none, or where a degradation makes them of these.
    paired: whether an input belongs to the image of the same index (or is made of it).
    shards: as in ``Dataset``, if images are read from there one by one.
    """

    def __init__(
        self,
        info: DataInfo,
        images: ImageStore,
        labels: np.ndarray | None,
        *,
        inputs: TrainingData | None = None,
        paired: bool = False,
        shards: Sequence[int] | None = None,
    ) -> None:
        """labels: int64 [N] or float32 [N, c_dim]; not looked at where ``info.c_dim`` is 0."""
        self.info = info
        self.images = images
        self._labels = labels
        self.inputs, self.paired, self.shards = inputs, paired, shards

    def with_inputs(self, inputs: TrainingData, *, paired: bool) -> TrainingData:
        """The same, to be translated into from ``inputs``; the fingerprint is of both."""
        both = f"{self.info.fingerprint} {inputs.info.fingerprint} {'paired' if paired else 'unpaired'}"
        fingerprint = hashlib.sha256(both.encode()).hexdigest()[:32] if self.info.fingerprint else ""
        info = replace(self.info, fingerprint=fingerprint)
        return TrainingData(info, self.images, self._labels, inputs=inputs, paired=paired)

    def read(self, indices: Sequence[int] | np.ndarray, resolution: int) -> np.ndarray:
        """uint8 [n, C, resolution, resolution], RGBA premultiplied by alpha.

        resolution: any power of two up to ``info.img_resolution``; lower ones are 2x2 means of the highest.
        """
        return self.images.read(np.asarray(indices, np.int64), resolution)

    def labels(self, indices: Sequence[int] | np.ndarray) -> Tensor | None:
        """float32 [n, c_dim], one-hot for classes; None if the run takes no labels."""
        if self.info.c_dim == 0:
            return None
        assert self._labels is not None
        return to_vectors(self._labels[np.asarray(indices, np.int64)], self.info.c_dim)

    @property
    def classes(self) -> np.ndarray | None:
        """The class of every image, int64 [N]; None if the run takes no labels, or vectors that are no classes."""
        if self.info.c_dim == 0 or self._labels is None or self._labels.ndim == 2:
            return None
        return self._labels
