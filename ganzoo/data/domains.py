"""The two domains of image-to-image translation, out of one source of images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

import numpy as np

from ganzoo.data.sources import PackedDataset
from ganzoo.data.sources.files import ImageFiles
from ganzoo.data.subset import Selected
from ganzoo.errors import DataError
from ganzoo.interfaces import Dataset
from ganzoo.registry import did_you_mean

if TYPE_CHECKING:
    from ganzoo.recipe import InputsConfig


def two_domains(dataset: Dataset, config: InputsConfig) -> tuple[Dataset, Dataset]:
    """(images to translate, real images), as ``data.inputs`` says; of equal length and order where they are pairs.

    Raises DataError for folders that are not there, names without a partner, or a source that cannot be divided so.
    """
    if config.kind == "side-by-side":
        if isinstance(dataset, PackedDataset):
            raise DataError(
                f"{dataset.path}: packed images are square, so their halves are gone; give the original images, and "
                "core packs each half by itself"
            )
        left, right = Half(dataset, "left"), Half(dataset, "right")
        return (left, right) if config.left == "a" else (right, left)
    assert config.a is not None and config.b is not None
    a, b = in_folder(dataset, config.a), in_folder(dataset, config.b)
    return (a, b) if config.kind == "unpaired" else matched(a, b)


def in_folder(dataset: Dataset, folder: str) -> Dataset:
    """The images of one folder; where a source keeps no names of files, as a pack, those of the class of that name.

    Raises DataError, with the folders that are there, if it has none.
    """
    if isinstance(dataset, ImageFiles):
        return dataset.below(folder)
    classes = list(dataset.class_names or ())
    if dataset.labels is None or dataset.labels.ndim != 1 or folder not in classes:
        raise DataError(
            f"{dataset.name}: has no folder and no class {folder!r}; there are: {', '.join(classes[:20]) or 'none'}"
            f"{did_you_mean(folder, classes)}"
        )
    indices = np.flatnonzero(dataset.labels == classes.index(folder))
    if not len(indices):
        raise DataError(f"{dataset.name}: the class {folder!r} has no images")
    chosen = Selected(dataset, indices)
    chosen.labels = chosen.class_names = None  # all alike: they said which folder it is
    return chosen


def matched(a: Dataset, b: Dataset) -> tuple[Dataset, Dataset]:
    """Both in the order of their names without suffixes, which must be the same ones. Raises DataError otherwise."""
    if not (isinstance(a, ImageFiles) and isinstance(b, ImageFiles)):
        raise DataError(f"{a.name}: pairs by name need files with names; give a folder or a zip of images")
    by_stem = [_stems(a), _stems(b)]
    for (own, files), (other, others) in (((by_stem[0], a), (by_stem[1], b)), ((by_stem[1], b), (by_stem[0], a))):
        alone = sorted(own.keys() - other.keys())
        if alone:
            raise DataError(
                f"{files.path}: {len(alone):,} of {len(files):,} images have no partner of that name in {others.path}, "
                f"{files.names[own[alone[0]]]} for one; the two of a pair differ in their suffix at most"
            )
    stems = sorted(by_stem[0])
    orders = [np.array([indices[stem] for stem in stems], np.int64) for indices in by_stem]
    return Selected(a, orders[0]), Selected(b, orders[1])


def _stems(files: ImageFiles) -> dict[str, int]:
    """Index by name without suffix. Raises DataError if two images have one."""
    stems: dict[str, int] = {}
    for index, name in enumerate(files.names):
        stem = str(PurePosixPath(name).with_suffix(""))
        if stem in stems:
            raise DataError(
                f"{files.path}: {files.names[stems[stem]]} and {name} differ in their suffix alone, so neither has one "
                "partner; remove one of them"
            )
        stems[stem] = index
    return stems


class Half(Dataset):
    """The left or the right half of every image of a data set."""

    def __init__(self, dataset: Dataset, side: Literal["left", "right"]) -> None:
        self._dataset, self.side = dataset, side
        self.name = dataset.name
        self.labels: np.ndarray | None = dataset.labels
        self.class_names: Sequence[str] | None = dataset.class_names

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        return hashlib.sha256(f"{self._dataset.fingerprint} {self.side}".encode()).hexdigest()[:32]

    def __len__(self) -> int:
        return len(self._dataset)

    def filename(self, index: int) -> str:
        return self._dataset.filename(index)

    def image(self, index: int) -> np.ndarray:
        """Raises DataError, naming the file, for an odd width."""
        image = self._dataset.image(index)
        height, width = image.shape[:2]
        if width % 2:
            raise DataError(
                f"{self.filename(index)}: is {width} x {height} px, and an odd width has no two halves of one size"
            )
        return image[:, : width // 2] if self.side == "left" else image[:, width // 2 :]
