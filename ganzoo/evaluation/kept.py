"""Generated images on disk: each is made once, by one of the processes, however many metrics look at it."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import numpy as np

from ganzoo.data.cache import cache_root
from ganzoo.data.packing import Bar, no_bar
from ganzoo.evaluation.features import CHUNK, never
from ganzoo.evaluation.images import Images, Indices
from ganzoo.files import atomic

_MAX_BYTES = 2**33


class KeptImages(Images):
    """Another set's images, written down in chunks of 256 as they are first read."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self.name, self.resolution, self.channels = images.name, images.resolution, images.channels
        self.resize, self.decodes, self.shuffled = images.resize, images.decodes, images.shuffled
        self.fingerprint = images.fingerprint
        self._folder = cache_root() / "generated" / images.fingerprint
        self._open: tuple[int, np.ndarray] | None = None

    @staticmethod
    def fits(images: Images) -> bool:
        """Whether ``images`` are few enough to be kept: 8 GiB are."""
        return len(images) * images.channels * images.resolution**2 <= _MAX_BYTES

    def __len__(self) -> int:
        return len(self._images)

    def read(self, indices: Indices) -> np.ndarray:
        indices = np.asarray(indices, np.int64)
        shape = (len(indices), self.channels, self.resolution, self.resolution)
        found = np.empty(shape, np.uint8)
        for number in np.unique(indices // CHUNK):
            wanted = indices // CHUNK == number
            found[wanted] = self._chunk(int(number))[indices[wanted] % CHUNK]
        return found

    def compute(
        self, num: int, *, rank: int = 0, world_size: int = 1, bar: Bar = no_bar, stop: Callable[[], bool] = never
    ) -> bool:
        """Make those of the first ``num`` that are missing, or this process's share. False: ``stop()`` ended it."""
        numbers = range(rank, -(-num // CHUNK), world_size)
        with bar(len(numbers) * CHUNK) as advance:
            for number in numbers:
                if stop():
                    return False
                self._chunk(number)
                advance(CHUNK)
        return True

    def forget(self) -> None:
        """Delete them."""
        self._open = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _chunk(self, number: int) -> np.ndarray:
        if self._open is None or self._open[0] != number:
            path = self._folder / f"{number:06d}.npy"
            if not path.is_file():
                start = number * CHUNK
                pixels = self._images.read(range(start, min(start + CHUNK, len(self))))
                with atomic(path, durable=True) as temporary, open(temporary, "wb") as file:
                    np.save(file, pixels)
            self._open = number, np.load(path, mmap_mode="r")
        return self._open[1]
