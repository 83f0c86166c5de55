"""The check of growth schedules."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import torch

from ganzoo.interfaces import GrowthSchedule, GrowthState
from ganzoo.testing.contract import Contract, random_images, with_fixed_seed

_END_NIMG = 1_000_000_000  # far beyond any published training


@with_fixed_seed
def check_growth_schedule(
    cls: type[GrowthSchedule], args: Mapping[str, Any] | None = None, *, img_resolution: int = 16
) -> None:
    """Check a GrowthSchedule class. args: as a recipe would give them. Raises AssertionError."""
    contract = Contract(cls, GrowthSchedule)
    schedule = contract.construct(args, img_resolution=img_resolution, world_size=1)
    moments = _moments()
    states = [_at(contract, schedule, nimg) for nimg in moments]
    for nimg, state in zip(moments, states, strict=True):
        _check_state(contract, nimg, state, img_resolution)
    for nimg, before, state in zip(moments[1:], states, states[1:], strict=False):
        grows = state.resolution > before.resolution
        contract.require(
            grows or (state.resolution == before.resolution and state.alpha >= before.alpha),
            f"goes back from {_where(before)} to {_where(state)} at nimg={nimg}",
        )
    _check_pure(contract, args, schedule, dict(zip(moments, states, strict=True)), img_resolution)
    contract.require(
        (states[-1].resolution, states[-1].alpha) == (img_resolution, 1.0),
        f"ends at {_where(states[-1])} after {_END_NIMG:.0e} images and never reaches img_resolution={img_resolution}",
    )
    for state in {(s.resolution, s.alpha < 1): s for s in states}.values():
        _check_process_reals(contract, schedule, state)


def _moments() -> list[int]:
    """0 and about 2,000 numbers up to the end, one per cent apart, so that short and long schedules are both seen."""
    return sorted({0, 1, *(int(1.01**i) for i in range(2083)), _END_NIMG})


def _at(contract: Contract, schedule: GrowthSchedule, nimg: int) -> GrowthState:
    with contract.attempt(f"at({nimg})"):
        state = schedule.at(nimg)
    contract.require(isinstance(state, GrowthState), f"at({nimg}) returns {state!r}, not a GrowthState")
    return state


def _check_state(contract: Contract, nimg: int, state: GrowthState, img_resolution: int) -> None:
    at = f"at({nimg}): "
    contract.require(
        state.resolution >= 1 and img_resolution % state.resolution == 0,
        f"{at}resolution {state.resolution} does not divide img_resolution {img_resolution}",
    )
    contract.require(0 <= state.alpha <= 1, f"{at}alpha {state.alpha} is not between 0 and 1")
    contract.require(
        isinstance(state.batch_size, int) and state.batch_size >= 1, f"{at}batch_size {state.batch_size!r} is not >= 1"
    )
    rates = (state.g_lr, state.d_lr)  # 0 is where a decay ends
    contract.require(min(rates) >= 0 and (nimg > 0 or min(rates) > 0), f"{at}learning rates {rates} are not > 0")


def _check_pure(
    contract: Contract,
    args: Mapping[str, Any] | None,
    schedule: GrowthSchedule,
    answers: Mapping[int, GrowthState],
    img_resolution: int,
) -> None:
    """Resuming asks a new schedule for a later moment first: it must say what the old one would have said."""
    fresh = contract.construct(args, img_resolution=img_resolution, world_size=1)
    moments = random.Random(0).sample(sorted(answers), 200)
    for asked, name in ((schedule, "asked again, in another order"), (fresh, "of a new instance")):
        for nimg in moments:
            state = _at(contract, asked, nimg)
            contract.require(
                state == answers[nimg],
                f"at({nimg}) {name} is {state}, before it was {answers[nimg]}: it must depend on nimg alone",
            )


def _check_process_reals(contract: Contract, schedule: GrowthSchedule, state: GrowthState) -> None:
    real = random_images(2, 3, state.resolution)
    given = real.clone()
    with contract.attempt(f"process_reals at {_where(state)}"):
        seen = schedule.process_reals(given, state)
    name = f"process_reals at {_where(state)}"
    contract.require(seen.shape == real.shape, f"{name} turns shape {list(real.shape)} into {list(seen.shape)}")
    contract.require(float(seen.abs().max()) <= 1.0 + 1e-5, f"{name} leaves the range [-1, 1]")
    contract.require(torch.equal(given, real), f"{name} changes its input in place")


def _where(state: GrowthState) -> str:
    return f"{state.resolution} px, alpha={state.alpha:.3g}"
