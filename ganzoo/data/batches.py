"""The order of the images, and reading them ahead of the step."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import count
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ganzoo.data.ahead import available_cpus, map_ahead
from ganzoo.data.training_data import TrainingData

Pair = tuple[Tensor, Tensor | None]


class Batches(Iterator[Pair]):
    """An endless iterator of (images uint8 [n, C, R, R], labels float32 [n, c_dim] or None)."""

    def __init__(self, pairs: Generator[Pair, None, None]) -> None:
        self._pairs = pairs

    def __next__(self) -> Pair:
        return next(self._pairs)

    def close(self) -> None:
        """Stop reading ahead. Waits for nothing."""
        self._pairs.close()


def batches(
    data: TrainingData,
    *,
    resolution: int,
    batch_size: int,
    start: int,
    seed: int,
    mirror: bool,
    workers: int | Literal["auto"],
    rank: int = 0,
    world_size: int = 1,
) -> Batches:
    """This process's share of every batch, from the image after ``start`` on.

    batch_size: over all processes, a multiple of ``world_size``; batch k covers the positions from
    ``start + k * batch_size`` on, and each rank takes its contiguous part. Which image stands at a position and
    whether it is mirrored depends on ``seed`` and the position alone: not on batch sizes, ranks, workers, or where
    reading started. Every epoch shows every image once, shards one after the other. workers: threads that read ahead,
    0 = none, "auto" = one to copy from a pack, one a processor to decode files. Errors of a worker are raised here.
    """
    order: ImageOrder | ShardOrder
    order = ImageOrder(data.info.num_images, seed) if data.shards is None else ShardOrder(data.shards, seed)
    share = batch_size // world_size
    offsets = np.arange(rank * share, (rank + 1) * share, dtype=np.int64)

    def read(k: int) -> Pair:
        positions = start + k * batch_size + offsets
        indices = order.at(positions)
        images = data.read(indices, resolution)
        if mirror:
            flipped = mirrored(positions, seed)
            images[flipped] = images[flipped, :, :, ::-1]
        return torch.from_numpy(images), data.labels(indices)

    if workers == "auto":
        workers = min(8, available_cpus()) if data.images.decodes else 1
    return Batches(map_ahead(read, count(), workers=int(workers)))


class ImageOrder:
    """A new permutation of the images every epoch, a pure function of seed and epoch."""

    def __init__(self, num_images: int, seed: int) -> None:
        self._num_images, self._seed = num_images, seed
        self._permutations: dict[int, np.ndarray] = {}

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Image indices [n] at positions [n], which count on over all epochs."""
        epochs, rests = np.divmod(positions, self._num_images)
        indices = np.empty_like(positions)
        for epoch in np.unique(epochs).tolist():
            chosen = epochs == epoch
            indices[chosen] = self._permutation(epoch)[rests[chosen]]
        return indices

    def _permutation(self, epoch: int) -> np.ndarray:
        # Threads that work ahead ask for different epochs at a time: the dict is replaced, never changed.
        permutation = self._permutations.get(epoch)
        if permutation is None:
            # RandomState, because numpy guarantees its stream for ever: a resumed run must go on in the same order.
            random = np.random.RandomState([self._seed & 0xFFFFFFFF, self._seed >> 32 & 0xFFFFFFFF, epoch])
            permutation = random.permutation(self._num_images)
            recent = dict(list(self._permutations.items())[-2:])
            self._permutations = {**recent, epoch: permutation}
        return permutation


class ShardOrder:
    """A new order every epoch, a pure function of seed and epoch, in which neighbours lie in few shards.

    Shards are shuffled, and the images of every ``mixed`` that follow each other are shuffled among themselves. What
    is kept grows with the number of shards and with the images of ``mixed`` of them, not with all.
    """

    def __init__(self, shards: Sequence[int], seed: int, *, mixed: int = 8) -> None:
        self._sizes = np.asarray(shards, np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self._sizes)])
        self._num_images, self._seed, self._mixed = int(self._starts[-1]), seed, mixed
        self._epochs: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._windows: dict[tuple[int, int], np.ndarray] = {}

    def at(self, positions: np.ndarray) -> np.ndarray:
        """As ``ImageOrder.at``."""
        indices = np.empty_like(positions)
        for i, position in enumerate(positions.tolist()):
            epoch, rest = divmod(position, self._num_images)
            starts, _ = self._epoch(epoch)
            window = int(np.searchsorted(starts, rest, side="right")) - 1
            indices[i] = self._window(epoch, window)[rest - int(starts[window])]
        return indices

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """(positions at which windows start, order of the shards). Empty shards are left out."""
        found = self._epochs.get(epoch)
        if found is None:
            order = self._random(epoch, 0).permutation(np.flatnonzero(self._sizes))
            sizes = np.add.reduceat(self._sizes[order], np.arange(0, len(order), self._mixed))
            found = np.concatenate([[0], np.cumsum(sizes)]), order
            recent = dict(list(self._epochs.items())[-1:])
            self._epochs = {**recent, epoch: found}  # replaced, never changed: threads read it
        return found

    def _window(self, epoch: int, window: int) -> np.ndarray:
        """Indices of the images of a window, in the order in which they come."""
        found = self._windows.get((epoch, window))
        if found is None:
            _, order = self._epoch(epoch)
            chosen = order[window * self._mixed : (window + 1) * self._mixed]
            images = np.concatenate([np.arange(self._starts[s], self._starts[s + 1]) for s in chosen])
            found = self._random(epoch, window + 1).permutation(images)
            recent = dict(list(self._windows.items())[-2:])
            self._windows = {**recent, (epoch, window): found}
        return found

    def _random(self, epoch: int, stream: int) -> np.random.RandomState:
        return np.random.RandomState([self._seed & 0xFFFFFFFF, self._seed >> 32 & 0xFFFFFFFF, epoch, stream])


def mirrored(positions: np.ndarray, seed: int) -> np.ndarray:
    """bool [n]: a fair coin for each position (splitmix64 of seed and position)."""
    key = np.uint64((seed * 0xD1342543DE82EF95 + 1) & 0xFFFFFFFFFFFFFFFF)
    x = (positions.astype(np.uint64) + key) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x >> np.uint64(63)).astype(bool)
