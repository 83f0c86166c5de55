"""A step that runs out of memory in spite of all: it is undone, and the batch is cut into more parts."""

from __future__ import annotations

import gc
import time
from types import TracebackType
from typing import TYPE_CHECKING

import torch

from ganzoo.interfaces import GrowthState
from ganzoo.training import checkpoint, memory
from ganzoo.training.choices import left_open, name_of
from ganzoo.training.system import device_name

if TYPE_CHECKING:
    from ganzoo.training.session import Session


class Attempt:
    """Around a step: ``failed`` tells afterwards whether it ran out of memory where something can be done about it.

    That is so with ``train.accumulate: auto`` in one process; every other exception goes on its way.
    """

    def __init__(self, s: Session, growth: GrowthState) -> None:
        self._s, self._growth = s, growth
        self.failed = False

    def __enter__(self) -> Attempt:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        short = isinstance(error, (RuntimeError, MemoryError)) and is_out_of_memory(error)
        self.failed = short and can_be_undone(self._s) and _more_parts(self._s, self._growth) is not None
        return self.failed


def is_out_of_memory(error: Exception) -> bool:
    """Of a GPU, or of the CPU, for which torch has no class of its own."""
    return isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or "DefaultCPUAllocator" in str(error)


def can_be_undone(s: Session) -> bool:
    """Whether there is a checkpoint from before the phase's first step for this purpose, see ``choosing.enter``."""
    return "accumulate" in left_open(s.recipe) and s.processes.world_size == 1


def split_further(s: Session, growth: GrowthState) -> None:
    """Go back to the newest checkpoint, which is exact, and on from there with at least twice as many parts.

    What the failed step had changed (running statistics, random generators, perhaps D) is put back with it.
    """
    parts, before = _more_parts(s, growth), s.choice.accumulate
    assert parts is not None
    for player in (s.G, s.D):
        player.zero_grad(set_to_none=True)
    gc.collect()  # what the exception's frames held
    if s.system.device.type == "cuda":
        torch.cuda.empty_cache()
    s.choices.decide(name_of(growth), **{**s.choices.decided(name_of(growth)), "accumulate": parts})
    path = checkpoint.newest_valid_checkpoint(s.run_dir / "checkpoints", log=s.report.log)
    assert path is not None, "one is written before the first step"
    failed_at = s.state.nimg
    s.restore(path)
    s.report.attach(s.run_dir, s.state.nimg)
    s.tick_start = (s.state.nimg, time.perf_counter())
    s.report.log(
        f"warning: {device_name(s.system.device)} ran out of memory at kimg {failed_at / 1000:g}, {name_of(growth)} in "
        f"{before} part(s); on from {path} in {parts}"
    )


def _more_parts(s: Session, growth: GrowthState) -> int | None:
    splits = memory.possible_splits(s.recipe, s.D, growth.batch_size, s.processes.world_size)
    return next((k for k in splits if k >= 2 * s.choice.accumulate), None)
