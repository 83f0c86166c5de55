"""Batches of real images on the training device, at whatever resolution training has reached."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from ganzoo.data import Batches, TrainingData, batches
from ganzoo.interfaces import GrowthSchedule, GrowthState
from ganzoo.recipe import Recipe
from ganzoo.training.checkpoint import TrainingState
from ganzoo.training.distributed import Processes
from ganzoo.training.system import System


class RealImages:
    """Reads on from ``state.position``; opens a new reader when the resolution or the batch size changes."""

    def __init__(
        self,
        recipe: Recipe,
        data: TrainingData,
        schedule: GrowthSchedule,
        state: TrainingState,
        system: System,
        processes: Processes,
    ) -> None:
        self._recipe, self._data, self._schedule, self._state = recipe, data, schedule, state
        self._system, self._processes = system, processes
        self._batches: Batches | None = None
        self._kind: tuple[int, int] | None = None
        self.seconds_waited = 0.0  # since it was last set to zero: how long training stood still for want of images

    def next(self, growth: GrowthState) -> tuple[Tensor, Tensor | None]:
        """This process's share of the next batch: images [n, C, R, R] in [-1, 1], and labels or None."""
        kind = (growth.resolution, growth.batch_size)
        if self._batches is None or kind != self._kind:
            self._open(growth)
            self._kind = kind
        assert self._batches is not None
        started = time.perf_counter()
        pixels, c = next(self._batches)
        self.seconds_waited += time.perf_counter() - started
        self._state.position += growth.batch_size

        device = self._system.device
        if device.type == "cuda":
            pixels = pixels.pin_memory()
        real = pixels.to(device, non_blocking=True).float() / 127.5 - 1
        real = self._schedule.process_reals(real, growth).contiguous(memory_format=self._system.memory_format)
        return real, None if c is None else c.to(device, non_blocking=True)

    def random_labels(self, n: int) -> Tensor | None:
        """Labels [n, c_dim] drawn from the label distribution of the data, or None."""
        if self._data.info.c_dim == 0:
            return None
        labels = self._data.labels(torch.randint(self._data.info.num_images, (n,)).tolist())
        assert labels is not None
        return labels.to(self._system.device, non_blocking=True)

    def close(self) -> None:
        """Stop reading ahead."""
        if self._batches is not None:
            self._batches.close()
            self._batches = None

    def _open(self, growth: GrowthState) -> None:
        self.close()
        self._batches = batches(
            self._data,
            resolution=growth.resolution,
            batch_size=growth.batch_size,
            start=self._state.position,
            seed=self._recipe.seed,
            mirror=self._recipe.data.mirror,
            workers=self._recipe.system.workers,
            rank=self._processes.rank,
            world_size=self._processes.world_size,
        )
