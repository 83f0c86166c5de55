"""What the players are trained towards: losses, regularizers, and the augmentation of what D sees."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from ganzoo.interfaces.growth import GrowthState
from ganzoo.interfaces.networks import Discriminator, Generator


@dataclass(frozen=True)
class Batch:
    """What a loss sees of one step, or of a part of it (``train.accumulate``); all tensors are on the training device.

    real [N, C, R, R] in [-1, 1], R = growth.resolution, already passed through ``GrowthSchedule.process_reals``.
    c [N, c_dim]: labels of the real images, or None. z [N, z_dim]: latents, standard normal; for a Translator the
    images to translate, [N, in_channels, R, R] in [-1, 1]. Where data are paired, z[i] belongs to real[i].
    gen_c [N, c_dim]: labels to generate with, drawn from the label distribution of the data (paired: those of the real
    images), or None.
    """

    real: Tensor
    c: Tensor | None
    z: Tensor
    gen_c: Tensor | None
    growth: GrowthState


class Loss(ABC):
    """Named terms of the two players' losses. Never calls backward, never steps, never logs.

    Each term is [N] (or [N, 1]) or a scalar; the loop takes the mean of each, adds them up, differentiates, and logs
    each by name. ``G`` and ``D`` are the modules; pass ``growth=batch.growth`` to both.

    passes_source: whether it calls a D that ``sees_source`` with ``source=batch.z``; core refuses such a D without.
    """

    passes_source: bool = False

    @abstractmethod
    def d_loss(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        """Terms to minimise for D. Only D's parameters are updated: run G under ``torch.no_grad()``."""

    @abstractmethod
    def g_loss(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        """Terms to minimise for G. D's parameters do not require gradients here."""

    def check(self, G: Generator, D: Discriminator) -> None:  # noqa: B027 (optional)
        """Raise ValueError, saying what would work, if this loss makes no sense with these networks.

        Called when a recipe is checked, with networks on the ``meta`` device.
        """


class Regularizer(ABC):
    """An extra term for one of the players, in every step or lazily, in every ``every``-th one.

    player: 'D' or 'G', whose parameters the term moves. every: 1 adds it to the player's loss; k > 1 gives it an
    optimiser step of its own after every k-th step of the player, k times as strong, and core makes up for the
    additional steps in Adam's learning rate and betas (Karras et al. 2020, section 3.1 and appendix B). An nn.Module
    may keep running statistics in buffers, which are saved. passes_source: as for a ``Loss``; True as well if D is
    never called.
    """

    player: Literal["D", "G"]
    every: int = 1
    passes_source: bool = False

    @abstractmethod
    def terms(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        """Named terms, each [N] (or [N, 1]) or a scalar, as those of a ``Loss``; never multiplied by ``every``.

        None at all, {}, where everything is done by ``after_step``; then ``every`` is 1.
        """

    def after_step(self, player: nn.Module) -> None:  # noqa: B027 (optional)
        """Called after every optimiser step of its player, also those of lazy regularizers, without gradients.

        It may change parameters in place, and must be deterministic: every process changes its own.
        """

    def check(self, G: Generator, D: Discriminator) -> None:  # noqa: B027 (optional)
        """As ``Loss.check``."""


class Augmentation(nn.Module, ABC):
    """What D sees in place of images, real and generated alike, so that it cannot learn the real ones by heart.

    Works with every loss: the D that a loss gets augments what it is given. A buffer that adapts (ADA's p) is saved.
    """

    @abstractmethod
    def forward(self, img: Tensor) -> Tensor:
        """img [N, C, R, R] in [-1, 1] -> the same shape. Differentiable, twice; random numbers come from torch."""

    adapts_every: int = 0  # steps of D between two calls of ``adapt``; 0: never

    def adapt(self, real_logits: Tensor, nimg: int) -> None:
        """Adjust to how sure D is of (augmented) real images: its logits [N], over ``nimg`` images shown since."""

    def check(self, G: Generator, D: Discriminator) -> None:
        """As ``Loss.check``."""
