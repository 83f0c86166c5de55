"""Real images that are noise, where a step is to be measured and there are no data."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ganzoo import whole_batch
from ganzoo.data.images import uint8_to_float
from ganzoo.interfaces import Degradation, GrowthSchedule, GrowthState
from ganzoo.training.system import System


class NoiseImages:
    """The same batch again and again, as ``RealImages`` brings it to the device: converted and faded each time.

    sizes: img_channels, c_dim and in_channels, as networks are made for them.
    """

    def __init__(
        self,
        n: int,
        growth: GrowthState,
        sizes: dict[str, int],
        schedule: GrowthSchedule,
        system: System,
        *,
        paired: bool,
        degradation: Degradation | None,
    ) -> None:
        self.paired = paired
        self.inputs: Tensor | None = None
        self._schedule, self._system, self._degradation = schedule, system, degradation
        self._c_dim = sizes["c_dim"]
        shape = (growth.resolution, growth.resolution)
        self._pixels = self._noise(n, sizes["img_channels"], *shape)
        self._inputs: Tensor | None = None
        if degradation is None and sizes["in_channels"]:
            self._inputs = self._noise(n, sizes["in_channels"], *shape)
        self._c = self.random_labels(n)

    def next(self, growth: GrowthState) -> tuple[Tensor, Tensor | None]:
        """As ``RealImages.next``."""
        real = self._on_device(self._pixels, growth)
        self.inputs = None
        if self._inputs is not None:
            self.inputs = self._on_device(self._inputs, growth)
        elif self._degradation is not None:
            with torch.no_grad():
                self.inputs = self._degradation(real).contiguous(memory_format=self._system.memory_format)
        return real, self._c

    def random_labels(self, n: int) -> Tensor | None:
        """One-hot labels [n, c_dim], or None."""
        if self._c_dim == 0:
            return None
        classes = whole_batch.randint(0, self._c_dim, (n,)).to(self._system.device)
        return torch.nn.functional.one_hot(classes, self._c_dim).float()

    def held(self) -> Iterator[Tensor]:
        """What is there between steps."""
        yield from (x for x in (self._pixels, self._inputs, self._c, self.inputs) if x is not None)

    def close(self) -> None:
        """Nothing to close."""

    def _noise(self, *shape: int) -> Tensor:
        return torch.randint(0, 256, shape, dtype=torch.uint8, device=self._system.device)

    def _on_device(self, pixels: Tensor, growth: GrowthState) -> Tensor:
        images = uint8_to_float(pixels)
        return self._schedule.process_reals(images, growth).contiguous(memory_format=self._system.memory_format)
