"""Fewer images of a data set."""

from __future__ import annotations

import hashlib

import numpy as np

from ganzoo.interfaces import Dataset


class Subset(Dataset):
    """``num_images`` of a data set, spread evenly over it, so that every class keeps its share."""

    def __init__(self, dataset: Dataset, num_images: int) -> None:
        self._dataset = dataset
        self.indices = spread(len(dataset), num_images)
        self.name = dataset.name
        self.labels = None if dataset.labels is None else dataset.labels[self.indices]
        self.class_names = dataset.class_names

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        return hashlib.sha256(f"{self._dataset.fingerprint} {len(self)}".encode()).hexdigest()[:32]

    def __len__(self) -> int:
        return len(self.indices)

    def filename(self, index: int) -> str:
        return self._dataset.filename(int(self.indices[index]))

    def image(self, index: int) -> np.ndarray:
        return self._dataset.image(int(self.indices[index]))


def at_most(dataset: Dataset, max_images: int | None) -> Dataset:
    """The data set, or ``max_images`` of it if it has more."""
    return dataset if max_images is None or max_images >= len(dataset) else Subset(dataset, max_images)


def spread(total: int, n: int) -> np.ndarray:
    """``n`` different indices below ``total``, evenly spaced, in order; all of them if there are fewer."""
    n = min(n, total)
    return np.arange(n) * total // n
