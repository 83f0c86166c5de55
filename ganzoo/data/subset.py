"""Some of the images of a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from ganzoo.errors import DataError
from ganzoo.interfaces import Dataset
from ganzoo.registry import did_you_mean


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


class OfClasses(Selected):
    """The images of some classes, by index, which get the numbers 0, 1, ... in the order given; images keep theirs."""

    def __init__(self, dataset: Dataset, classes: Sequence[int]) -> None:
        assert dataset.labels is not None
        self.classes = list(classes)
        super().__init__(dataset, np.flatnonzero(np.isin(dataset.labels, self.classes)))
        numbers = np.zeros(max(self.classes) + 1, np.int64)
        numbers[self.classes] = range(len(self.classes))
        self.labels = numbers[dataset.labels[self.indices]]
        if dataset.class_names is not None:
            self.class_names = [dataset.class_names[i] for i in self.classes]

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        chosen = " ".join(map(str, self.classes))
        return hashlib.sha256(f"{self._dataset.fingerprint} classes {chosen}".encode()).hexdigest()[:32]


def of_classes(dataset: Dataset, classes: Sequence[str | int] | None) -> Dataset:
    """The images of ``classes``, names or numbers from 0; None = all.

    Raises DataError for classes that are not there, have no images or are named twice, and where there are none at all.
    """
    if classes is None:
        return dataset
    if dataset.labels is None or dataset.labels.ndim != 1:
        raise DataError(
            f"{dataset.name}: cannot take some classes of images whose labels are "
            f"{'missing' if dataset.labels is None else 'vectors'}. Put every image into a folder of its class or add "
            "a dataset.json, or take all images (--set data.classes=null)."
        )
    names, chosen = list(dataset.class_names or ()), []
    counts = np.bincount(dataset.labels, minlength=len(names))
    for one in classes:
        if isinstance(one, str) and one not in names:
            there = (
                f"there are: {', '.join(names[:20])}" if names else "classes have no names here, only numbers from 0"
            )
            raise DataError(f"{dataset.name}: no class {one!r}; {there}{did_you_mean(one, names)}")
        index = names.index(one) if isinstance(one, str) else one
        if index >= len(counts):
            raise DataError(f"{dataset.name}: no class {index}; there are {len(counts)}, counted from 0")
        if index in chosen:
            raise DataError(f"{dataset.name}: the class {one!r} is asked for twice")
        if counts[index] == 0:
            raise DataError(f"{dataset.name}: the class {one!r} has no images")
        chosen.append(index)
    return OfClasses(dataset, chosen)


def at_most(dataset: Dataset, max_images: int | None) -> Dataset:
    """The data set, or ``max_images`` of it if it has more."""
    return dataset if max_images is None or max_images >= len(dataset) else Subset(dataset, max_images)


def spread(total: int, n: int) -> np.ndarray:
    """``n`` different indices below ``total``, evenly spaced, in order; all of them if there are fewer."""
    n = min(n, total)
    return np.arange(n) * total // n
