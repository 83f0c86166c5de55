"""What each phase of a recipe costs, counted on fake tensors: neither data nor GPU nor memory are needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ganzoo import build
from ganzoo.errors import RecipeError
from ganzoo.interfaces import GrowthState, Phase
from ganzoo.profiling.fake import pretended_group
from ganzoo.profiling.roofline import Operations
from ganzoo.profiling.step import StepCase
from ganzoo.recipe import Recipe
from ganzoo.registry import Registry
from ganzoo.training.distributed import Processes
from ganzoo.training.system import System


@dataclass(frozen=True)
class Stretch:
    """All training of one resolution, its fade included, with a total ``batch_size``. scaled: not the recipe's."""

    resolution: int
    kimg: float
    fade_kimg: float
    batch_size: int
    scaled: bool = False


@dataclass(frozen=True)
class StepCost:
    """One step of training in the mean, on one of ``processes`` with a share of the batch of ``images``.

    flops, kernels, bytes_moved: as ``CountSteps`` has them, of all parts as often as they are done. peak_bytes: of
    the part that needs most, ``peak_part``. weights, gradients, slots, average: bytes of both players' parameters and
    buffers, their gradients, the optimisers' states, and G_ema. collectives: (name, bytes) -> how many in a step.
    """

    images: int
    processes: int
    flops: float
    kernels: float
    bytes_moved: float
    peak_bytes: int
    peak_part: str
    weights: int
    gradients: int
    slots: int
    average: int
    parts: dict[str, tuple[float, Operations]]
    collectives: dict[tuple[str, int], float]

    @property
    def bytes_sent(self) -> float:
        """Bytes that go into collectives in a step."""
        return sum(size * times for (_, size), times in self.collectives.items())


def stretches(recipe: Recipe, registry: Registry, processes: int, share: int = 4) -> list[Stretch]:
    """The recipe's phases by resolution and batch size.

    Where the recipe's batch cannot be shared by so many processes, each has ``share`` images, and the stretch says so.
    """
    try:
        schedule, scaled = build.build_growth(recipe, registry, world_size=processes), False
    except RecipeError:
        schedule, scaled = build.build_growth(recipe, registry), True
    found: dict[tuple[int, int], list[Phase]] = {}
    for phase in schedule.phases(round(recipe.train.total_kimg * 1000)):
        found.setdefault((phase.resolution, phase.batch_size), []).append(phase)
    result = []
    accumulate = 1 if recipe.train.accumulate == "auto" else recipe.train.accumulate
    for (resolution, batch_size), phases in found.items():
        own = batch_size % (processes * accumulate) != 0 or (scaled and batch_size < processes)
        kimg = sum(phase.end_nimg - phase.start_nimg for phase in phases) / 1000
        fading = sum(phase.end_nimg - phase.start_nimg for phase in phases if phase.fading) / 1000
        result.append(Stretch(resolution, kimg, fading, share * processes if own else batch_size, own))
    return result


def count_step(
    recipe: Recipe,
    registry: Registry,
    stretch: Stretch,
    *,
    precision: str,
    processes: int = 1,
    c_dim: int = 0,
) -> StepCost:
    """Count a step at full alpha, on the CPU's fake tensors. Raises RecipeError as building does."""
    system = System(torch.device("cpu"), precision, torch.channels_last, 1, "counted")
    growth = growth_of(recipe, registry, stretch)
    with pretended_group(processes, whole=recipe.system.whole_batch):
        case = StepCase.build(
            recipe, registry, growth, system=system, c_dim=c_dim, fake=True, processes=Processes(0, processes)
        )
        case.state.d_step = case.state.g_step = 1  # lazy ones are not due
        case.step()
        counted = [(part, case.count(part)) for part in case.parts()]
    collectives: Counter[tuple[str, int]] = Counter()
    for part, counts in counted:
        for call in counts.collectives:
            collectives[call] += part.per_step  # type: ignore[assignment]
    if processes > 1:
        collectives["allreduce_", 8] += 1  # whether one of them was told to stop
    peak_part, peak = max(((part.name, counts.peak_bytes) for part, counts in counted), key=lambda item: item[1])
    players = (case.G, case.D)
    return StepCost(
        images=stretch.batch_size // processes,
        processes=processes,
        flops=sum(part.per_step * counts.flops for part, counts in counted),
        kernels=sum(part.per_step * counts.kernels for part, counts in counted),
        bytes_moved=sum(part.per_step * counts.bytes_moved for part, counts in counted),
        peak_bytes=peak,
        peak_part=peak_part,
        weights=sum(_size(x) for player in players for x in (*player.parameters(), *player.buffers())),
        gradients=sum(_size(p.grad) for player in players for p in player.parameters() if p.grad is not None),
        slots=sum(
            _size(slot)
            for optimizer in (case.opt_G, case.opt_D)
            for slots in optimizer.state.values()
            for slot in slots.values()
            if isinstance(slot, Tensor)
        ),
        average=sum(_size(x) for x in (*case.G_ema.parameters(), *case.G_ema.buffers())),
        parts={part.name: (part.per_step, counts.operations) for part, counts in counted},
        collectives=dict(collectives),
    )


def count_all(
    recipe: Recipe,
    registry: Registry,
    found: list[Stretch],
    *,
    precision: str,
    processes: int = 1,
    c_dim: int = 0,
    progress: Callable[[str], None] = lambda what: None,
) -> list[StepCost]:
    """``count_step`` of each stretch. progress: is told what comes next."""
    costs = []
    for stretch in found:
        progress(f"{stretch.resolution} px, {processes} process{'es' * (processes > 1)}")
        costs.append(count_step(recipe, registry, stretch, precision=precision, processes=processes, c_dim=c_dim))
    return costs


def growth_of(recipe: Recipe, registry: Registry, stretch: Stretch) -> GrowthState:
    """Where training stands in this stretch, without fading."""
    schedule = build.build_growth(recipe, registry)
    for phase in schedule.phases(round(recipe.train.total_kimg * 1000)):
        if phase.resolution == stretch.resolution:
            return replace(schedule.at(phase.start_nimg), alpha=1.0, batch_size=stretch.batch_size)
    raise ValueError(f"{recipe.name} has no phase of {stretch.resolution} px")


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
