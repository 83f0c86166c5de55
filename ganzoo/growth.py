"""The schedule of every GAN that does not grow."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ganzoo.interfaces import GrowthSchedule, GrowthState


class FixedSchedule(GrowthSchedule):
    """One resolution, batch size and learning rate from the first image to the last."""

    def __init__(
        self,
        *,
        img_resolution: int,
        batch_size: Annotated[int, Field(ge=1, description="images a step, over all processes")],
        lr: Annotated[float, Field(gt=0, allow_inf_nan=False, description="learning rate of both players")] = 0.0002,
        d_lr: Annotated[
            float | None, Field(gt=0, allow_inf_nan=False, description="the discriminator's, if it differs from `lr`")
        ] = None,
    ) -> None:
        self._state = GrowthState(img_resolution, 1.0, batch_size, lr, lr if d_lr is None else d_lr)

    def at(self, nimg: int) -> GrowthState:
        return self._state
