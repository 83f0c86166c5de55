"""Some of the images of a data set."""

from __future__ import annotations

import hashlib

import numpy as np

from ganzoo.interfaces import Dataset


class Selected(Dataset):
    """Images of a data set by index, in the order of ``indices``."""

    def __init__(self, dataset: Dataset, indices: np.ndarray) -> None:
        self._dataset = dataset
        self.indices = indices
        self.name = dataset.name
        self.labels = None if dataset.labels is None else dataset.labels[self.indices]
        self.class_names = dataset.class_names

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        chosen = self.indices.astype(np.int64).tobytes().hex()
        return hashlib.sha256(f"{self._dataset.fingerprint} {chosen}".encode()).hexdigest()[:32]

    @property
    def whole(self) -> Dataset:
        """The data set that nothing was selected from."""
        return self._dataset.whole if isinstance(self._dataset, Selected) else self._dataset

    @property
    def origins(self) -> np.ndarray:
        """Indices in ``whole``."""
        return self._dataset.origins[self.indices] if isinstance(self._dataset, Selected) else self.indices

    def __len__(self) -> int:
        return len(self.indices)

    def filename(self, index: int) -> str:
        return self._dataset.filename(int(self.indices[index]))

    def image(self, index: int) -> np.ndarray:
        return self._dataset.image(int(self.indices[index]))


class Subset(Selected):
    """``num_images`` of a data set, spread evenly over it, so that every class keeps its share."""

    def __init__(self, dataset: Dataset, num_images: int) -> None:
        super().__init__(dataset, spread(len(dataset), num_images))

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        return hashlib.sha256(f"{self._dataset.fingerprint} {len(self)}".encode()).hexdigest()[:32]


def at_most(dataset: Dataset, max_images: int | None) -> Dataset:
    """The data set, or ``max_images`` of it if it has more."""
    return dataset if max_images is None or max_images >= len(dataset) else Subset(dataset, max_images)


def spread(total: int, n: int) -> np.ndarray:
    """``n`` different indices below ``total``, evenly spaced, in order; all of them if there are fewer."""
    n = min(n, total)
    return np.arange(n) * total // n
