"""Features of a set of images, kept on disk in chunks: an interrupted evaluation goes on where it stopped.

The key of the cache is everything that features depend on: pixels, network, weights, layer, kind of device, and the
version of this code. A data set or a file of weights that changes therefore gets a new key, and nothing goes stale.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ganzoo.data.ahead import available_cpus, map_ahead
from ganzoo.data.cache import cache_root
from ganzoo.data.packing import Bar, no_bar
from ganzoo.errors import CheckpointError, DataError
from ganzoo.evaluation.images import Images
from ganzoo.interfaces import Extractor
from ganzoo.weights import load_weights, save_weights

VERSION = 1  # raise it whenever the same images would give other features
CHUNK = 256
_MAX_DECODERS = 4
_CPU_BATCH = 16  # larger ones leave the processor's caches: slower, and more memory
_GPU_BYTES_PER_IMAGE = 2**26  # of activations: generous for networks of about 300 px


def never() -> bool:
    """Nobody asks to stop."""
    return False


class Features:
    """Features of ``images`` by one extractor, for some of its layers.

    Chunk k holds images 256 k to 256 k + 255. Processes that share a disk may compute chunks in turn
    (``compute(rank, world_size)``) and, after a barrier, ``load`` all of them.
    """

    def __init__(self, images: Images, extractor: Extractor, name: str, layers: Sequence[str]) -> None:
        """name: of the extractor, as registered."""
        self.images, self.extractor, self.layers = images, extractor, list(dict.fromkeys(layers))
        device = str(getattr(extractor, "device", "cpu")).partition(":")[0]
        self.folders = {layer: _folder(images, name, extractor.weights_hash, layer, device) for layer in self.layers}
        self._device = device

    def compute(
        self, *, rank: int = 0, world_size: int = 1, bar: Bar = no_bar, stop: Callable[[], bool] = never
    ) -> bool:
        """Make the chunks that are missing, or this process's share of them. False: ``stop()`` put an end to it."""
        mine = [start for k, start in enumerate(range(0, len(self.images), CHUNK)) if k % world_size == rank]
        missing = [start for start in mine if not all(self._file(layer, start).is_file() for layer in self.layers)]
        batches = [batch for start in missing for batch in self._batches(start)]
        workers = min(_MAX_DECODERS, available_cpus()) if self.images.decodes else 0
        found: dict[str, list[Tensor]] = {layer: [] for layer in self.layers}
        done = sum(self._size(start) for start in mine if start not in missing)
        with (bar if missing else no_bar)(sum(map(self._size, mine))) as advance:
            advance(done)
            pictures = map_ahead(self.images.read, batches, workers=workers)
            for batch, pixels in zip(batches, pictures, strict=True):
                if stop():
                    return False
                for layer, values in self._extract(to_rgb(pixels)).items():
                    self._check_finite(layer, values)
                    found[layer].append(values)
                if batch[-1] + 1 == min((batch[-1] // CHUNK + 1) * CHUNK, len(self.images)):
                    self._save(batch[-1] // CHUNK * CHUNK, found)
                    found = {layer: [] for layer in self.layers}
                advance(len(batch))
        return True

    def load(self) -> dict[str, Tensor]:
        """float32 [N, D] for each layer. Chunks that are missing or damaged are made first."""
        self.compute()
        try:
            return self._load()
        except CheckpointError:
            self._drop_damaged()
            self.compute()
            return self._load()

    def forget(self) -> None:
        """Delete the chunks."""
        for folder in self.folders.values():
            shutil.rmtree(folder, ignore_errors=True)

    def _extract(self, images: Tensor) -> dict[str, Tensor]:
        """As many images at once as the GPU's memory allows."""
        try:
            return self.extractor.features(images, self.layers)
        except torch.OutOfMemoryError:
            if len(images) == 1:
                raise
        halves = [self._extract(half) for half in images.tensor_split(2)]
        return {layer: torch.cat([half[layer] for half in halves]) for layer in self.layers}

    def _check_finite(self, layer: str, values: Tensor) -> None:
        if not bool(values.isfinite().all()):
            raise DataError(
                f"{self.images.name}: features of layer {layer} are not finite. Are these the right weights?"
            )

    def _batches(self, start: int) -> list[np.ndarray]:
        size = _CPU_BATCH
        if self._device == "cuda":
            size = int(np.clip(torch.cuda.mem_get_info()[0] // _GPU_BYTES_PER_IMAGE, 8, CHUNK))
        indices = np.arange(start, start + self._size(start))
        return [indices[i : i + size] for i in range(0, len(indices), size)]

    def _size(self, start: int) -> int:
        return min(CHUNK, len(self.images) - start)

    def _file(self, layer: str, start: int) -> Path:
        return self.folders[layer] / f"{start:09d}.safetensors"

    def _save(self, start: int, found: dict[str, list[Tensor]]) -> None:
        for layer, values in found.items():
            save_weights(self._file(layer, start), {"features": torch.cat(values)}, {"format": "ganzoo-features/1"})

    def _read(self, layer: str, start: int) -> Tensor:
        return load_weights(self._file(layer, start))[0]["features"]

    def _load(self) -> dict[str, Tensor]:
        starts = range(0, len(self.images), CHUNK)
        return {layer: torch.cat([self._read(layer, start) for start in starts]) for layer in self.layers}

    def _drop_damaged(self) -> None:
        for layer in self.layers:
            for start in range(0, len(self.images), CHUNK):
                try:
                    self._read(layer, start)
                except CheckpointError:
                    self._file(layer, start).unlink(missing_ok=True)


def to_rgb(pixels: np.ndarray) -> Tensor:
    """uint8 [n, 1 or 3, R, R] -> [n, 3, R, R]; grey is repeated, as every extractor wants colour."""
    return torch.from_numpy(pixels.repeat(3 // pixels.shape[1], axis=1))


def _folder(images: Images, name: str, weights_hash: str, layer: str, device: str) -> Path:
    key = json.dumps([VERSION, images.fingerprint, name, weights_hash, layer, device])
    return cache_root() / "features" / hashlib.sha256(key.encode()).hexdigest()[:32]
