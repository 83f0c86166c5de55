"""The losses of the first years: minimax, least squares, Wasserstein, hinge, relativistic.

All judge column 0 of D's logits, or a map of patches [N, 1, h, w], whose terms are averaged. Where D classifies images
as well (columns 1 and on), each adds AC-GAN's label terms.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo import Batch, Discriminator, Generator
from ganzoo_progan.layers import at_least_fp32

ACWeight = Annotated[
    float, Field(ge=0, allow_inf_nan=False, description="weight of the label terms, if D classifies (AC-GAN)")
]
Target = Annotated[float, Field(allow_inf_nan=False)]


def scores(logits: Tensor) -> Tensor:
    """Column 0, [N, 1], or the map of patches, [N, h * w]: float32, as bfloat16 has too few digits."""
    return at_least_fp32(logits[:, 0]).flatten(1) if logits.ndim == 4 else at_least_fp32(logits[:, :1])


class AuxiliaryLoss(ganzoo.Loss):
    """A loss with AC-GAN's label terms (Odena et al. 2017, equation 3), where D classifies images.

    D learns the labels of real and of generated images; G makes images that D classifies as asked for.
    """

    ac_weight: float

    def check(self, G: Generator, D: Discriminator) -> None:
        if D.aux_dim > 0 and self.ac_weight == 0:
            raise ValueError(
                f"the discriminator classifies images (AC-GAN, {D.aux_dim} class logits), and ac_weight is 0, so that "
                "labels would have no effect: give a weight above 0, or set the discriminator's aux to false"
            )

    def label_term(self, D: Discriminator, name: str, logits: Tensor, c: Tensor | None) -> dict[str, Tensor]:
        """ac_weight * cross entropy of the classifying columns, [N], if there are any."""
        if D.aux_dim == 0 or c is None or self.ac_weight == 0:
            return {}
        with torch.autocast(logits.device.type, enabled=False):
            classes = at_least_fp32(logits[:, 1:])
            return {name: F.cross_entropy(classes, c.to(classes.dtype), reduction="none") * self.ac_weight}


class ScoreLoss(AuxiliaryLoss):
    """A loss that judges each image on its own: three functions of scores, element by element."""

    @abstractmethod
    def d_real(self, score: Tensor) -> Tensor:
        """What D minimises for real images."""

    @abstractmethod
    def d_fake(self, score: Tensor) -> Tensor:
        """What D minimises for generated images."""

    @abstractmethod
    def g_fake(self, score: Tensor) -> Tensor:
        """What G minimises."""

    def d_loss(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = G(batch.z, batch.gen_c, growth=batch.growth)
        # Two calls, real images first, as in DCGAN's code: batch norm must not mix them.
        real_logits = D(batch.real, batch.c, growth=batch.growth)
        fake_logits = D(fake, batch.gen_c, growth=batch.growth)
        terms = {"real": self.d_real(scores(real_logits)).mean(1), "fake": self.d_fake(scores(fake_logits)).mean(1)}
        terms |= self.label_term(D, "ac_real", real_logits, batch.c)
        terms |= self.label_term(D, "ac_fake", fake_logits, batch.gen_c)
        return terms

    def g_loss(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        fake = G(batch.z, batch.gen_c, growth=batch.growth)
        logits = D(fake, batch.gen_c, growth=batch.growth)
        terms = {"fake": self.g_fake(scores(logits)).mean(1)}
        return terms | self.label_term(D, "ac_fake", logits, batch.gen_c)


class MinimaxLoss(ScoreLoss):
    """The first GAN's (Goodfellow et al. 2014, equation 1), with D the sigmoid of the score.

    D minimises -log D(real) - log(1 - D(fake)). G minimises log(1 - D(fake)), whose gradient vanishes where D is sure;
    with ``saturating: false`` it minimises -log D(fake) instead, as section 3 advises and as DCGAN does.
    """

    def __init__(
        self,
        *,
        saturating: Annotated[bool, Field(description="the game as it is written; false: as it is played")] = True,
        real_target: Annotated[
            float, Field(gt=0.5, le=1, description="below 1: one-sided label smoothing (Salimans et al. 2016)")
        ] = 1.0,
        ac_weight: ACWeight = 1.0,
    ) -> None:
        self.saturating = saturating
        self.real_target = real_target
        self.ac_weight = ac_weight

    def d_real(self, score: Tensor) -> Tensor:
        # -target * log D - (1 - target) * log(1 - D)
        return F.softplus(-score) + (1 - self.real_target) * score

    def d_fake(self, score: Tensor) -> Tensor:
        return F.softplus(score)

    def g_fake(self, score: Tensor) -> Tensor:
        return -F.softplus(score) if self.saturating else F.softplus(-score)


class LSGANLoss(ScoreLoss):
    """Least squares (Mao et al. 2017, arXiv:1611.04076, equation 2), in the paper's a-b-c coding.

    D minimises (real - b)^2 / 2 + (fake - a)^2 / 2, G minimises (fake - c)^2 / 2. The 0-1 coding (equation 9) is the
    default; a = -1, b = 1, c = 0 minimises Pearson's chi^2 (equation 8).
    """

    def __init__(
        self,
        *,
        a: Annotated[Target, Field(description="where D wants the scores of generated images")] = 0.0,
        b: Annotated[Target, Field(description="where D wants the scores of real images")] = 1.0,
        c: Annotated[Target, Field(description="where G wants the scores of its images")] = 1.0,
        ac_weight: ACWeight = 1.0,
    ) -> None:
        if a == b:
            raise ValueError(f"a and b are both {a}: D would learn to tell nothing apart. Use a 0, b 1 or a -1, b 1")
        if (c - a) * (b - a) <= 0:
            raise ValueError(
                f"c {c} does not lie on b's side of a (a {a}, b {b}): G would learn to be found out. Use c {b}"
            )
        self.a = a
        self.b = b
        self.c = c
        self.ac_weight = ac_weight

    def d_real(self, score: Tensor) -> Tensor:
        return (score - self.b).square() / 2

    def d_fake(self, score: Tensor) -> Tensor:
        return (score - self.a).square() / 2

    def g_fake(self, score: Tensor) -> Tensor:
        return (score - self.c).square() / 2


class WassersteinLoss(ScoreLoss):
    """Difference of scores (Arjovsky et al. 2017, arXiv:1701.07875, algorithm 1), with nothing that bounds D's slope.

    D minimises fake - real, G minimises -fake. Scores run away by themselves: add the regularizer gradient-penalty.
    """

    def __init__(self, *, ac_weight: ACWeight = 1.0) -> None:
        self.ac_weight = ac_weight

    def d_real(self, score: Tensor) -> Tensor:
        return -score

    def d_fake(self, score: Tensor) -> Tensor:
        return score

    def g_fake(self, score: Tensor) -> Tensor:
        return -score


class HingeLoss(ScoreLoss):
    """Hinge loss (Lim and Ye 2017, arXiv:1705.02894; Miyato et al. 2018, arXiv:1802.05957).

    D minimises max(0, 1 - real) + max(0, 1 + fake), G minimises -fake.
    """

    def __init__(self, *, ac_weight: ACWeight = 1.0) -> None:
        self.ac_weight = ac_weight

    def d_real(self, score: Tensor) -> Tensor:
        return F.relu(1 - score)

    def d_fake(self, score: Tensor) -> Tensor:
        return F.relu(1 + score)

    def g_fake(self, score: Tensor) -> Tensor:
        return -score


class RelativisticLoss(AuxiliaryLoss):
    """Relativistic pairing loss (Jolicoeur-Martineau 2018, arXiv:1807.00734), as R3GAN has it (Huang et al. 2024).

    D minimises softplus(fake - real), G minimises softplus(real - fake): each image is judged against one of the
    other kind, so that D cannot hold on to a mode that G has left. A pair has one label, the real image's.
    """

    def __init__(self, *, ac_weight: ACWeight = 1.0) -> None:
        self.ac_weight = ac_weight

    def d_loss(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = G(batch.z, batch.c, growth=batch.growth)
        real_logits = D(batch.real, batch.c, growth=batch.growth)
        fake_logits = D(fake, batch.c, growth=batch.growth)
        terms = {"pair": F.softplus(scores(fake_logits) - scores(real_logits)).mean(1)}
        terms |= self.label_term(D, "ac_real", real_logits, batch.c)
        terms |= self.label_term(D, "ac_fake", fake_logits, batch.c)
        return terms

    def g_loss(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        fake = G(batch.z, batch.c, growth=batch.growth)
        with torch.no_grad():
            real_score = scores(D(batch.real, batch.c, growth=batch.growth))
        logits = D(fake, batch.c, growth=batch.growth)
        terms = {"pair": F.softplus(real_score - scores(logits)).mean(1)}
        return terms | self.label_term(D, "ac_fake", logits, batch.c)
