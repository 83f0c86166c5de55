"""Growth of images while training: where a run stands, and the schedule that says so."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class GrowthState:
    """Where training stands.

    resolution: current image size in pixels. alpha: weight of the NEWEST block, 0 -> 1; 1 outside a fade.
    In ProGAN's terms ``lod = log2(img_resolution / resolution) + (1 - alpha)``.
    batch_size: real images a step, over all processes. g_lr, d_lr: learning rates.
    """

    resolution: int
    alpha: float
    batch_size: int
    g_lr: float
    d_lr: float


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one resolution and one batch size, for tables: ``fading`` while alpha < 1.

    g_lr, d_lr: where it starts; decaying: they fall from there.
    """

    start_nimg: int
    end_nimg: int
    resolution: int
    fading: bool
    batch_size: int
    g_lr: float
    d_lr: float
    decaying: bool = False


class GrowthSchedule(ABC):
    """A pure function of the number of real images shown: no state, so nothing to save, and resuming is exact."""

    @abstractmethod
    def at(self, nimg: int) -> GrowthState:
        """The state for the step that starts after ``nimg`` real images."""

    def process_reals(self, real: Tensor, growth: GrowthState) -> Tensor:
        """real [N, C, R, R] in [-1, 1] -> what D sees instead, same shape. The default changes nothing."""
        return real

    def phases(self, total_nimg: int) -> list[Phase]:
        """The table of phases up to ``total_nimg``, found by asking ``at`` here and there and closing in on changes."""

        def kind(nimg: int) -> tuple[int, bool, int, float, float]:
            s = self.at(nimg)
            return s.resolution, s.alpha < 1, s.batch_size, s.g_lr, s.d_lr

        phases: list[Phase] = []
        # Small enough to step over no phase; for a run without end, large enough to come to an end here.
        stride = max(min(max(total_nimg // 1000, 1), 1000), total_nimg // 100_000)
        start = 0
        while start < total_nimg:
            low, high = start, min(start + stride, total_nimg)
            while high < total_nimg and kind(high) == kind(start):
                low, high = high, min(high + stride, total_nimg)
            while high - low > 1:  # the phase ends in (low, high]
                middle = (low + high) // 2
                low, high = (middle, high) if kind(middle) == kind(start) else (low, middle)
            phases.append(Phase(start, high, *kind(start)))
            start = high
        return phases
