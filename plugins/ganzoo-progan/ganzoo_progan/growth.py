"""ProGAN's schedule: train at one resolution, fade the next one in, and so on (section 2)."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo import GrowthState

from .layers import downsample, upsample

BatchSize = Annotated[int, Field(ge=1)]
LearningRate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Kimg = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Resolution = int | Literal["default"]


class FadeSchedule(ganzoo.GrowthSchedule):
    """stable_kimg at start_resolution, then for every doubling fade_kimg of fading in and stable_kimg without.

    During a fade the resolution, batch size and learning rate are already those of the new resolution.
    """

    def __init__(
        self,
        *,
        img_resolution: int,
        world_size: int = 1,
        stable_kimg: Annotated[Kimg, Field(description="thousands of images without fading, per resolution")],
        fade_kimg: Annotated[Kimg, Field(description="thousands of images a new resolution takes to fade in")],
        batch_size: Annotated[
            BatchSize | dict[Resolution, BatchSize],
            Field(description="images a step over all processes: one number, or by resolution with a `default`"),
        ],
        lr: Annotated[
            LearningRate | dict[Resolution, LearningRate],
            Field(description="Adam's learning rate: one number, or by resolution with a `default`"),
        ] = 0.001,
        d_lr: Annotated[
            LearningRate | dict[Resolution, LearningRate] | None,
            Field(description="the discriminator's, if it differs from `lr`"),
        ] = None,
        max_batch_per_gpu: Annotated[
            dict[int, BatchSize] | None, Field(description="by resolution, the most images a process can hold")
        ] = None,
        start_resolution: Annotated[int, Field(ge=4, description="resolution that training starts with")] = 4,
    ) -> None:
        doublings = math.log2(img_resolution / start_resolution)
        if doublings < 0 or not doublings.is_integer():
            raise ValueError(
                f"start_resolution {start_resolution} does not become img_resolution {img_resolution} by doubling: "
                f"{_starts(img_resolution)}"
            )
        if doublings > 0 and stable_kimg + fade_kimg == 0:
            raise ValueError(
                f"stable_kimg and fade_kimg are both 0, so training would never leave {start_resolution}x"
                f"{start_resolution}: set one of them, or start_resolution: {img_resolution} for no growing"
            )
        self.img_resolution = img_resolution
        self.doublings = int(doublings)
        self.stable_kimg = stable_kimg
        self.fade_kimg = fade_kimg
        resolutions = [start_resolution << i for i in range(self.doublings + 1)]
        totals = _by_resolution("batch_size", batch_size, resolutions)
        limits = max_batch_per_gpu or {}
        self._batch_size = {r: _split_evenly(r, totals[r], limits.get(r), world_size) for r in resolutions}
        self._g_lr = _by_resolution("lr", lr, resolutions)
        self._d_lr = self._g_lr if d_lr is None else _by_resolution("d_lr", d_lr, resolutions)

    def lod(self, nimg: int) -> float:
        """Level of detail of the official code: doublings still to come, falling through fractions during a fade."""
        phase_kimg = self.stable_kimg + self.fade_kimg
        kimg = nimg / 1000
        phase = math.floor(kimg / phase_kimg) if phase_kimg > 0 else 0
        lod = float(self.doublings - phase)
        if self.fade_kimg > 0:
            lod -= max(kimg - phase * phase_kimg - self.stable_kimg, 0.0) / self.fade_kimg
        return max(lod, 0.0)

    def at(self, nimg: int) -> GrowthState:
        lod = self.lod(nimg)
        resolution = self.img_resolution >> math.floor(lod)
        return GrowthState(
            resolution=resolution,
            alpha=1.0 - lod % 1.0,
            batch_size=self._batch_size[resolution],
            g_lr=self._g_lr[resolution],
            d_lr=self._d_lr[resolution],
        )

    def process_reals(self, real: Tensor, growth: GrowthState) -> Tensor:
        """Fade the detail of real images in with the networks', so that D cannot tell them by it."""
        if growth.alpha >= 1:
            return real
        return real.lerp(upsample(downsample(real)), 1.0 - growth.alpha)


def _starts(img_resolution: int) -> str:
    starts = [img_resolution >> i for i in range(13) if img_resolution % (1 << i) == 0 and img_resolution >> i >= 4]
    if not starts:
        return "set data.img_resolution to at least 4"
    return "it can be " + ", ".join(map(str, sorted(starts)))


def _by_resolution(name: str, table: float | dict, resolutions: list[int]) -> dict:
    """The value for every resolution. Tables may be larger than the run needs, but not smaller."""
    if not isinstance(table, dict):
        return dict.fromkeys(resolutions, table)
    missing = [r for r in resolutions if r not in table and "default" not in table]
    if missing:
        raise ValueError(f"{name} has no value for resolution {', '.join(map(str, missing))}: add it or `default`")
    odd = [r for r in table if r != "default" and (r < 4 or r & (r - 1))]
    if odd:
        raise ValueError(f"{name} has a value for {odd[0]}, which is no resolution: they are 4, 8, 16, ...")
    return {r: table.get(r, table.get("default")) for r in resolutions}


def _split_evenly(resolution: int, total: int, limit: int | None, world_size: int) -> int:
    """The batch size, rounded down to whole shares and to at most `limit` a process, as in the official code."""
    total -= total % world_size
    if limit is not None:
        total = min(total, limit * world_size)
    if total == 0:
        raise ValueError(
            f"batch_size at resolution {resolution} is smaller than the number of processes, {world_size}: "
            f"make it at least {world_size}"
        )
    return total
