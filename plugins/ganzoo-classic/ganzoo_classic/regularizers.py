"""The gradient penalty of WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028), and what came before it: clipping."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import Batch, Discriminator, Generator, whole_batch
from ganzoo_progan.losses import gradient_norms


class GradientPenalty(ganzoo.Regularizer):
    """weight * (norm - target)^2, the norm being that of D's gradient at mixtures of real and generated images.

    One-sided, only norms above the target cost: weight * max(0, norm - target)^2. Generated images get the labels of
    the real ones that they are mixed with.
    """

    player = "D"

    def __init__(
        self,
        *,
        weight: Annotated[float, Field(ge=0, allow_inf_nan=False, description="of the penalty")] = 10.0,
        target: Annotated[
            float, Field(ge=0, allow_inf_nan=False, description="gradient norm aimed at; 0: as flat as can be")
        ] = 1.0,
        one_sided: Annotated[bool, Field(description="let norms below the target be")] = False,
        every: Annotated[
            int, Field(ge=1, description="1: in every step; k: after every k-th one, k times as strong")
        ] = 1,
    ) -> None:
        self.weight = weight
        self.target = target
        self.one_sided = one_sided
        self.every = every

    def check(self, G: Generator, D: Discriminator) -> None:
        if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in D.modules()):
            raise ValueError(
                "the discriminator has batch norm, which makes a score depend on all images of the batch, while this "
                "penalty is of each image's own gradient (section 4 of the paper): for dcgan set the discriminator's "
                "norm to layer or none, or take r1"
            )

    def terms(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = G(batch.z, batch.c, growth=batch.growth)
        t = whole_batch.rand(len(fake), device=fake.device, dtype=fake.dtype)
        excess = gradient_norms(D, batch.real, fake, t, c=batch.c, growth=batch.growth) - self.target
        if self.one_sided:
            excess = F.relu(excess)
        return {"gradient_penalty": excess.square() * self.weight}


class WeightClipping(ganzoo.Regularizer):
    """Keeps each of D's parameters within [-clip, clip], after each of its steps: WGAN, algorithm 1, line 7.

    Arjovsky et al. 2017 (arXiv:1701.07875). Its only effect is that: it adds nothing to the loss.
    """

    player = "D"

    def __init__(
        self,
        *,
        clip: Annotated[float, Field(gt=0, allow_inf_nan=False, description="largest magnitude of a weight")] = 0.01,
    ) -> None:
        self.clip = clip

    def terms(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        return {}

    def after_step(self, player: nn.Module) -> None:
        for parameter in player.parameters():
            parameter.clamp_(-self.clip, self.clip)
