"""Images that ``ganzoo data pack`` has already brought to size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from ganzoo.data.images import unpremultiply
from ganzoo.data.pack import Pack
from ganzoo.interfaces import Dataset


class PackedDataset(Dataset):
    """A pack folder. Training reads its arrays directly; ``image`` is for everybody else."""

    def __init__(self, *, path: Annotated[str, Field(description="the pack folder")]) -> None:
        """Raises DataError if it is missing or damaged."""
        self.pack = Pack(Path(path))
        self.path = Path(path)
        self.name = self.path.resolve().name
        self.fingerprint = self.pack.fingerprint
        self.labels, self.class_names = self.pack.labels, self.pack.class_names

    def __len__(self) -> int:
        return self.pack.num_images

    def filename(self, index: int) -> str:
        return f"{self.path}: image {index}"

    def image(self, index: int) -> np.ndarray:
        pixels = np.moveaxis(self.pack.levels[self.pack.fit.resolution][index], 0, -1)
        return unpremultiply(pixels) if pixels.shape[-1] == 4 else pixels
