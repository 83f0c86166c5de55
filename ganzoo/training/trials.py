"""Steps that leave no trace: on copies of the players, with images that nobody has seen."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from ganzoo import whole_batch
from ganzoo.interfaces import Batch, GrowthState, Translator
from ganzoo.training import rng
from ganzoo.training.arithmetic import Candidate
from ganzoo.training.checkpoint import TrainingState
from ganzoo.training.choices import Choice, rearrange
from ganzoo.training.compiling import without_compiler
from ganzoo.training.extras import Regularizers
from ganzoo.training.players import Players
from ganzoo.training.remembering import RememberedFakes
from ganzoo.training.system import System, format_called


class TrialImages:
    """Fresh random images, labels and images to translate in every step, in place of those of the data."""

    def __init__(self, players: Players, n: int) -> None:
        self._players, self._n = players, n
        self.inputs: Tensor | None = None
        self.paired = players.recipe.data.inputs is not None and players.recipe.data.inputs.paired

    def next(self, growth: GrowthState) -> tuple[Tensor, Tensor | None]:
        G, n = self._players.G, self._n
        if isinstance(G, Translator):
            self.inputs = self._images(n, G.in_channels, growth.resolution)
        return self._images(n, G.img_channels, growth.resolution), self.random_labels(n)

    def random_labels(self, n: int) -> Tensor | None:
        c_dim, device = self._players.G.c_dim, self._players.system.device
        return torch.eye(c_dim, device=device)[torch.arange(n, device=device) % c_dim] if c_dim else None

    def _images(self, n: int, channels: int, resolution: int) -> Tensor:
        system = self._players.system
        images = torch.rand(n, channels, resolution, resolution, device=system.device) * 2 - 1
        return images.contiguous(memory_format=system.memory_format)


def trial_batch(players: Players, growth: GrowthState, *, world_size: int = 1) -> Batch:
    """What a loss is given in a step, on random images: one micro-batch of one process, after any fade."""
    n = growth.batch_size // (world_size * players.choice.accumulate)
    with rng.preserved():
        images = TrialImages(players, n)
        real, c = images.next(growth)
        z = images.inputs if images.inputs is not None else whole_batch.randn(n, players.G.z_dim, device=real.device)
        return Batch(real, c, z, c if images.paired else images.random_labels(n), replace(growth, alpha=1.0))


class Rehearsal:
    """The step of a run, taken by copies of its players. n: images of this process."""

    def __init__(self, players: Players, growth: GrowthState, n: int, choice: Choice) -> None:
        names = ("G", "D", "D_seen", "loss", "regularizers", "opt_G", "opt_D")
        originals = {name: getattr(players, name) for name in names}
        originals["loss"] = without_compiler(players.loss)
        originals["regularizers"] = Regularizers([without_compiler(r) for r in players.regularizers.all])
        copies = copy.deepcopy(originals)  # at once: they know each other
        self.system = replace(players.system)
        self.growth = growth
        self.players = Players(
            recipe=players.recipe, system=self.system, G_ema=players.G_ema, schedule=players.schedule,
            trainee=players.trainee, choice=choice, fakes=RememberedFakes(copies["G"]), **copies,
        )  # fmt: skip
        self.players.state = TrainingState()
        self.players.reals = TrialImages(self.players, n)

    def use(self, candidate: Candidate) -> None:
        precision, memory_format = candidate[0], format_called(candidate[1])
        if memory_format != self.system.memory_format:
            p = self.players
            rearrange([p.G, p.D], [p.opt_G, p.opt_D], memory_format)
        self.system.use(precision, memory_format)

    def step(self) -> None:
        """One of D and one of G, without those of lazy regularizers."""
        from ganzoo.training.loop import train_D, train_G  # which knows of choices, too

        state = self.players.state
        state.d_step = state.g_step = 1  # at 0 everything is due
        train_G(self.players, train_D(self.players, self.growth))

    def step_with_all(self) -> None:
        """The same, with those of all lazy regularizers: what a step of training needs at most."""
        from ganzoo.training.loop import train_D, train_G

        state = self.players.state
        state.d_step = state.g_step = 0
        seen = train_D(self.players, self.growth)
        state.d_step = 0
        train_G(self.players, seen)


@contextmanager
def without_trace(system: System) -> Iterator[None]:
    """What is drawn inside is not missing afterwards, and no other process takes part; global switches are put back."""
    with rng.preserved(), whole_batch.alone():
        try:
            yield
        finally:
            system.use(system.precision, system.memory_format)
