"""Batches of real images on the training device, at whatever resolution training has reached; and what to translate."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ganzoo import whole_batch
from ganzoo.data import Batches, TrainingData, batches
from ganzoo.data.images import uint8_to_float
from ganzoo.interfaces import Degradation, GrowthSchedule, GrowthState
from ganzoo.recipe import Recipe
from ganzoo.training.checkpoint import TrainingState
from ganzoo.training.distributed import Processes
from ganzoo.training.system import System

_OF_INPUTS = 0x6A09E667F3BCC909  # makes another seed of the run's, for an order that has nothing to do with the other


class RealImages:
    """Reads on from ``state.position``; opens a new reader when the resolution or the batch size changes.

    inputs: images to translate [n, in_channels, R, R] in [-1, 1] that came with the last batch, or None. paired:
    whether they belong to its real images; then they have their order and mirroring, and otherwise their own.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: TrainingData,
        schedule: GrowthSchedule,
        state: TrainingState,
        system: System,
        processes: Processes,
        degradation: Degradation | None = None,
    ) -> None:
        """degradation: makes the inputs of the real images, on their device."""
        self._recipe, self._data, self._schedule, self._state = recipe, data, schedule, state
        self._system, self._processes = system, processes
        self._degradation = degradation
        self._batches: Batches | None = None
        self._batches_of_inputs: Batches | None = None
        self.inputs: Tensor | None = None
        self.paired = data.paired
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
        pixels_of_inputs = next(self._batches_of_inputs)[0] if self._batches_of_inputs is not None else None
        self.seconds_waited += time.perf_counter() - started
        self._state.position += growth.batch_size

        real = self._on_device(pixels, growth)
        if pixels_of_inputs is not None:
            self.inputs = self._on_device(pixels_of_inputs, growth)
        elif self._degradation is not None:
            with torch.no_grad():
                self.inputs = self._degradation(real).contiguous(memory_format=self._system.memory_format)
        return real, None if c is None else self._moved(c)

    def _on_device(self, pixels: Tensor, growth: GrowthState) -> Tensor:
        """uint8 [n, C, R, R] -> [-1, 1] on the training device, as the schedule shows images."""
        images = uint8_to_float(self._moved(pixels))
        return self._schedule.process_reals(images, growth).contiguous(memory_format=self._system.memory_format)

    def _moved(self, x: Tensor) -> Tensor:
        """To the training device; nobody waits for it, which a GPU grants for pinned memory alone."""
        device = self._system.device
        return (x.pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True)

    def random_labels(self, n: int) -> Tensor | None:
        """Labels [n, c_dim] drawn from the label distribution of the data, or None."""
        if self._data.info.c_dim == 0:
            return None
        labels = self._data.labels(whole_batch.randint(0, self._data.info.num_images, (n,)).tolist())
        assert labels is not None
        return self._moved(labels)

    def close(self) -> None:
        """Stop reading ahead."""
        for reader in (self._batches, self._batches_of_inputs):
            if reader is not None:
                reader.close()
        self._batches = self._batches_of_inputs = None

    def _open(self, growth: GrowthState) -> None:
        self.close()
        seed = self._recipe.seed
        self._batches = self._read(self._data, growth, seed)
        if self._data.inputs is not None:
            seed_of_inputs = seed if self._data.paired else seed ^ _OF_INPUTS
            self._batches_of_inputs = self._read(self._data.inputs, growth, seed_of_inputs)

    def _read(self, data: TrainingData, growth: GrowthState, seed: int) -> Batches:
        return batches(
            data,
            resolution=growth.resolution,
            batch_size=growth.batch_size,
            start=self._state.position,
            seed=seed,
            mirror=self._recipe.data.mirror,
            workers=self._recipe.system.workers,
            rank=self._processes.rank,
            world_size=self._processes.world_size,
        )


def inputs_at(
    data: TrainingData,
    degradation: Degradation | None,
    indices: Sequence[int] | np.ndarray,
    resolution: int,
    *,
    seed: int,
    device: torch.device,
) -> Tensor:
    """Images to translate [n, in_channels, R, R] in [-1, 1], by index, on ``device``; for pictures and metrics.

    Indices are those of ``data.inputs``, or with a degradation of ``data``. What is random in it is fixed by ``seed``,
    and torch's generators are left as they were.
    """
    source = data if data.inputs is None else data.inputs
    images = uint8_to_float(torch.from_numpy(source.read(indices, resolution)).to(device))
    if degradation is None:
        return images
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
        torch.manual_seed(seed)
        return degradation(images)
