"""What stands beside the loss: regularizers of both players, and the augmentation of what D sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.errors import GanzooError
from ganzoo.interfaces import Augmentation, Batch, Discriminator, Generator, GrowthState, Regularizer
from ganzoo.training import distributed

TermsOf = Callable[[Generator, Discriminator, Batch], dict[str, Tensor]]


class Regularizers:
    """All regularizers of a run, by player. all: in the recipe's order."""

    def __init__(self, regularizers: Sequence[Regularizer]) -> None:
        self.all = list(regularizers)

    def of_every_step(self, player: str) -> list[TermsOf]:
        """Terms that belong to the player's loss."""
        return [r.terms for r in self.all if r.player == player and r.every <= 1]

    def due(self, player: str, step: int) -> list[Regularizer]:
        """Lazy ones that get an optimiser step of their own after the player's step number ``step``."""
        return [r for r in self.all if r.player == player and r.every > 1 and step % r.every == 0]

    @torch.no_grad()
    def after_step(self, player: str, module: nn.Module) -> None:
        """Let the player's regularizers at its weights, after an optimiser step."""
        for r in self.all:
            if r.player == player:
                r.after_step(module)

    def steps_share(self, player: str) -> float:
        """Share of the player's optimiser steps that its loss has: k / (k + 1) with one lazy regularizer every k steps.

        Learning rate times this, and betas to this power, make Adam move as far, and remember as long, as without
        (Karras et al. 2020, appendix B).
        """
        return 1 / (1 + sum(1 / r.every for r in self.all if r.player == player and r.every > 1))


class AugmentedDiscriminator(Discriminator):
    """D, as losses get to see it: whatever image it is given, it looks at an augmented one."""

    def __init__(self, D: Discriminator, augmentation: Augmentation) -> None:
        super().__init__(c_dim=D.c_dim, img_resolution=D.img_resolution, img_channels=D.img_channels)
        self.D, self.augmentation, self.aux_dim, self.has_features = D, augmentation, D.aux_dim, D.has_features

    def forward(self, img: Tensor, c: Tensor | None = None, **kwargs: Any) -> Tensor:
        """kwargs, passed on: ``growth``, and what else a loss asks a D that is made for it, as which of its sides."""
        return self.D(self.augmentation(img), c, **kwargs)

    def score_both(self, fake: Tensor, real: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        return self.D.score_both(self.augmentation(fake), self.augmentation(real), *args, **kwargs)

    def features(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        return self.D.features(self.augmentation(img), c, growth=growth)

    def check_batch_size(self, n: int) -> None:
        self.D.check_batch_size(n)

    def status(self) -> dict[str, float]:
        """Numbers that change while training, by name: saved buffers of one element, such as ADA's p."""
        saved = self.augmentation.state_dict()
        return {name: value.item() for name, value in saved.items() if value.numel() == 1}

    @torch.no_grad()
    def adapt(self, real: Tensor, c: Tensor | None, growth: GrowthState, step: int, *, parts: int = 1) -> None:
        """Let the augmentation adjust to D's opinion of ``real`` images, of all processes, if it is time to.

        parts: D is given so many parts of them, one after another.
        """
        every = self.augmentation.adapts_every
        if every and step % every == 0:
            labels = [None] * parts if c is None else c.chunk(parts)
            logits = torch.cat([self(x, y, growth=growth) for x, y in zip(real.chunk(parts), labels, strict=True)])
            scores = logits[:, 0].flatten(1).mean(1) if logits.ndim == 4 else logits[:, 0]
            self.augmentation.adapt(distributed.gather(scores.float()), every * growth.batch_size)


def joined(terms: dict[str, Tensor], more: dict[str, Tensor]) -> dict[str, Tensor]:
    """Both, by name. Raises GanzooError if one name stands for two terms."""
    twice = terms.keys() & more.keys()
    if twice:
        raise GanzooError(
            f"loss and regularizers both have a term called {', '.join(map(repr, sorted(twice)))}; is a regularizer "
            "named twice, or part of the loss already?"
        )
    return terms | more
