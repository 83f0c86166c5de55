"""The players of a recipe at one resolution, ready to take the steps that training takes, without a run.

    case = StepCase.build(recipe, plugins.registry, growth, system=system)         # on the system's device, on noise
    case = StepCase.build(recipe, plugins.registry, growth, system=system, data=data)        # on images of a data set
    case = StepCase.build(recipe, plugins.registry, growth, system=system, fake=True)        # shapes, no numbers
    case.step()
    for part in case.parts():
        counts = case.count(part)

Weights, updates, lazy regularizers and augmentation are made by ``training.players`` and ``training.loop`` themselves.
A fake case needs neither memory nor a GPU, whatever its size: it tells what a step of that shape consists of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ganzoo import build
from ganzoo.data import TrainingData
from ganzoo.interfaces import GrowthState
from ganzoo.profiling.counting import CountSteps
from ganzoo.profiling.fake import FakeMode, fake_players
from ganzoo.profiling.noise import NoiseImages
from ganzoo.recipe import Recipe
from ganzoo.registry import Registry
from ganzoo.training import loop, rng
from ganzoo.training.checkpoint import TrainingState
from ganzoo.training.distributed import Processes
from ganzoo.training.extras import AugmentedDiscriminator
from ganzoo.training.plan import assumed_sizes
from ganzoo.training.players import Players, build_players
from ganzoo.training.reals import RealImages
from ganzoo.training.system import System

TOGETHER = "D and G"  # the name of the part that is both updates


@dataclass(frozen=True)
class StepPart:
    """A piece of a step of training that can be had alone. per_step: how often it is done in one step, in the mean."""

    name: str
    per_step: float
    run: Callable[[], None]


@dataclass(frozen=True)
class Counts:
    """Of one call of a part, as ``CountSteps`` has them. peak_bytes on CUDA: as its allocator says."""

    flops: int
    kernels: int
    waits: int
    bytes_moved: int
    peak_bytes: int
    held_bytes: int
    operations: dict[tuple[int, int, torch.dtype | None], int]
    collectives: list[tuple[str, int]]


@dataclass
class StepCase(Players):
    """``Players`` at one growth state. Has taken no step yet: the first one also makes the optimisers' states."""

    growth: GrowthState
    state: TrainingState
    reals: Any
    mode: Any = field(default_factory=nullcontext)  # of torch, in which fake tensors live
    last: tuple[Tensor, Tensor | None] | None = None  # the images of the step that parts belong to

    @classmethod
    def build(
        cls,
        recipe: Recipe,
        registry: Registry,
        growth: GrowthState,
        *,
        system: System,
        data: TrainingData | None = None,
        c_dim: int = 0,
        processes: Processes | None = None,
        fake: bool = False,
    ) -> StepCase:
        """growth.batch_size: over all ``processes`` (default: one), of which this one has its share.

        data: what to train on; None makes images of noise, for networks as the recipe alone describes them, with labels
        of size ``c_dim``. fake: without memory and numbers, for a CPU. Draws the weights that a run would draw, and
        starts torch's generators as a run does. Raises RecipeError as the functions of ``ganzoo.build`` do.
        """
        processes = processes or Processes()
        degradation, in_channels = build.build_degradation(
            recipe, registry, img_channels=recipe.data.img_channels or 3 if data is None else data.info.img_channels
        )
        sizes = assumed_sizes(recipe, registry, c_dim=c_dim)
        if data is not None:
            in_channels = in_channels if data.inputs is None else data.inputs.info.img_channels
            sizes = {"img_channels": data.info.img_channels, "c_dim": data.info.c_dim, "in_channels": in_channels}
        mode: Any = FakeMode() if fake else nullcontext()
        rng.seed_all(recipe.seed)
        if fake:
            players = fake_players(mode, recipe, registry, system, sizes)
        else:
            players = build_players(recipe, registry, system, **sizes)  # its schedule is asked for no state
        rng.seed_own(recipe.seed, processes.rank, processes.world_size)
        state = TrainingState()
        if degradation is not None:
            degradation = degradation.to(system.device)
        with mode:
            reals: Any
            if data is not None:
                reals = RealImages(recipe, data, players.schedule, state, system, processes, degradation)
            else:
                n = growth.batch_size // processes.world_size
                paired = recipe.data.inputs is not None and recipe.data.inputs.paired
                reals = NoiseImages(n, growth, sizes, players.schedule, system, paired=paired, degradation=degradation)
        return cls(**vars(players), growth=growth, state=state, reals=reals, mode=mode)

    def step(self) -> None:
        """One whole step as the loop takes it: D, G, G_ema, and what is due beside them."""
        with self.mode:
            loop.train_G(self, loop.train_D(self, self.growth))
            loop.follow_G(self, self.growth)
            self.state.nimg += self.growth.batch_size

    def parts(self) -> list[StepPart]:
        """What steps consist of: updates of D and G, those of each lazy regularizer, the augmentation's look, G_ema.

        Where G learns by the images of D's step (``train.reuse_fakes``), that update of D and G's are one part.
        """
        d_steps = self.recipe.train.d_steps
        parts: list[StepPart] = []
        players: tuple[tuple[loop.Player, float], ...] = (("D", d_steps), ("G", 1))
        together = loop.reuses_fakes(self)
        if together:
            parts.append(StepPart(TOGETHER, 1, self._update_both))
        for player, steps in players:
            if steps > together:
                parts.append(StepPart(player, steps - together, partial(self._update, player)))
            for regularizer, component in zip(self.regularizers.all, self.recipe.regularizers, strict=True):
                if regularizer.player == player and regularizer.every > 1:
                    run = partial(self._update_lazily, regularizer)
                    parts.append(StepPart(f"{player}, {component.name}", steps / regularizer.every, run))
        if isinstance(self.D_seen, AugmentedDiscriminator) and (every := self.D_seen.augmentation.adapts_every):
            parts.append(StepPart("D, augmentation", d_steps / every, self._adapt))
        return [*parts, StepPart("G_ema", 1, self._follow)]

    def count(self, part: StepPart) -> Counts:
        """Run a part, and count. Before it, updates of both players must have been made once."""
        cuda = self.system.device.type == "cuda"
        if cuda:
            torch.cuda.synchronize(self.system.device)
            torch.cuda.reset_peak_memory_stats(self.system.device)
        with self.mode, CountSteps(self.held()) as counted:
            part.run()
        peak = torch.cuda.max_memory_allocated(self.system.device) if cuda else counted.peak_bytes
        return Counts(
            counted.flops,
            counted.kernels,
            counted.waits,
            counted.bytes_moved,
            peak,
            counted.held_bytes,
            dict(counted.operations),
            counted.collectives,
        )

    def held(self) -> Iterator[Tensor]:
        """The tensors that are there between steps: weights, buffers, gradients, optimisers' states, images."""
        for module in self.trainee.modules.values():
            yield from module.buffers()
            for parameter in module.parameters():
                yield parameter
                if parameter.grad is not None:
                    yield parameter.grad
        for optimizer in (self.opt_G, self.opt_D):
            for slots in optimizer.state.values():
                yield from (slot for slot in slots.values() if isinstance(slot, Tensor))
        if isinstance(self.reals, NoiseImages):
            yield from self.reals.held()
        yield from (x for x in self.last or () if x is not None)

    def close(self) -> None:
        """Stop reading ahead."""
        self.reals.close()

    def synchronize(self) -> None:
        """Wait for the device to have done what it was given."""
        if self.system.device.type == "cuda":
            torch.cuda.synchronize(self.system.device)
        elif self.system.device.type == "mps":
            torch.mps.synchronize()

    @contextmanager
    def _only(self, player: str) -> Iterator[None]:
        self.G.requires_grad_(player == "G")
        self.D.requires_grad_(player == "D")
        with self.mode:
            yield

    def _reals(self, *, anew: bool = False) -> tuple[Tensor, Tensor | None]:
        """The images of this step, as D's update gets them from the data and the others from D's."""
        if anew or self.last is None:
            self.last = self.reals.next(self.growth)
        return self.last

    def _update(self, player: loop.Player) -> None:
        with self._only(player):
            loop.update(self, player, loop.make_batch(self, *self._reals(anew=player == "D"), self.growth))

    def _update_both(self) -> None:
        with self._only("D"), self.fakes.of("D"):
            batch = loop.make_batch(self, *self._reals(anew=True), self.growth)
            loop.update(self, "D", batch)
        with self._only("G"), self.fakes.of("G"):
            loop.update(self, "G", batch)

    def _update_lazily(self, part: Any) -> None:
        with self._only(part.player):
            real, c = self._reals()
            batch = loop.make_batch(self, real, c, self.growth)
            loop.take_step(self, part.player, batch, [part.terms], strength=part.every)

    def _adapt(self) -> None:
        with self._only("D"):
            real, c = self._reals()
            self.D_seen.adapt(real, c, self.growth, 0, parts=self.choice.accumulate)  # type: ignore[operator]

    def _follow(self) -> None:
        with self.mode:
            loop.follow_G(self, self.growth)
