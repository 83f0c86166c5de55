"""The schedule of every GAN that does not grow."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from ganzoo.interfaces import GrowthSchedule, GrowthState, Phase


class FixedSchedule(GrowthSchedule):
    """One resolution and batch size from the first image to the last.

    The learning rates are constant, or fall linearly to 0 at the end (as in CycleGAN and SNGAN), and stay there.
    """

    def __init__(
        self,
        *,
        img_resolution: int,
        batch_size: Annotated[int, Field(ge=1, description="images a step, over all processes")],
        lr: Annotated[float, Field(gt=0, allow_inf_nan=False, description="learning rate of both players")] = 0.0002,
        d_lr: Annotated[
            float | None, Field(gt=0, allow_inf_nan=False, description="the discriminator's, if it differs from `lr`")
        ] = None,
        decay_from_kimg: Annotated[
            float | None,
            Field(ge=0, allow_inf_nan=False, description="where learning rates begin to fall"),
        ] = None,
        decay_to_kimg: Annotated[
            float | None, Field(gt=0, allow_inf_nan=False, description="where they reach 0, as a rule train.total_kimg")
        ] = None,
    ) -> None:
        """Raises ValueError if only one end of the decay is given, or the second is not after the first."""
        self._state = GrowthState(img_resolution, 1.0, batch_size, lr, lr if d_lr is None else d_lr)
        self._decay: tuple[int, int] | None = None
        if (decay_from_kimg is None) != (decay_to_kimg is None):
            raise ValueError("decay_from_kimg and decay_to_kimg: give both, or neither")
        if decay_from_kimg is not None and decay_to_kimg is not None:
            self._decay = round(decay_from_kimg * 1000), round(decay_to_kimg * 1000)
            if self._decay[0] >= self._decay[1]:
                raise ValueError(
                    f"decay_to_kimg: {decay_to_kimg:g} is not after decay_from_kimg, which is {decay_from_kimg:g}"
                )

    def at(self, nimg: int) -> GrowthState:
        if self._decay is None or nimg <= self._decay[0]:
            return self._state
        start, end = self._decay
        share = max(0.0, (end - nimg) / (end - start))
        return replace(self._state, g_lr=self._state.g_lr * share, d_lr=self._state.d_lr * share)

    def phases(self, total_nimg: int) -> list[Phase]:
        """At most three: constant, falling, and at 0."""
        ends = [end for end in (*(self._decay or ()), total_nimg) if 0 < end <= total_nimg]
        phases, start = [], 0
        for end in dict.fromkeys(ends):
            s = self.at(start)
            falling = self._decay is not None and self._decay[0] <= start < self._decay[1]
            phases.append(Phase(start, end, s.resolution, False, s.batch_size, s.g_lr, s.d_lr, falling))
            start = end
        return phases
