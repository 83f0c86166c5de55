"""The hinge loss in one call of D, and the orthogonal regularizer (Brock et al. 2019)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import Batch, Discriminator, Generator
from ganzoo_progan.layers import at_least_fp32


class JointHingeLoss(ganzoo.Loss):
    """D minimises relu(1 + fake) + relu(1 - real), G minimises -fake (Lim and Ye 2017, equation 6).

    D sees fake and real images in one call, as in BigGAN's code: spectral norms are estimated once a step. In a D with
    minibatch statistics the two would mix. Scores are column 0 of D's logits, or a map of patches [N, 1, h, w], whose
    terms are averaged.
    """

    def d_loss(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = G(batch.z, batch.gen_c, growth=batch.growth)
        c = None if batch.gen_c is None or batch.c is None else torch.cat([batch.gen_c, batch.c])
        logits = D(torch.cat([fake, batch.real.to(fake.dtype)]), c, growth=batch.growth)
        fake_scores, real_scores = _scores(logits).split([len(fake), len(batch.real)])
        return {"fake": (1 + fake_scores).relu().mean(dim=1), "real": (1 - real_scores).relu().mean(dim=1)}

    def g_loss(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        fake = G(batch.z, batch.gen_c, growth=batch.growth)
        return {"fake": -_scores(D(fake, batch.gen_c, growth=batch.growth)).mean(dim=1)}

    def check(self, G: Generator, D: Discriminator) -> None:
        if D.aux_dim > 0:
            raise ValueError(
                f"the discriminator classifies images (AC-GAN, {D.aux_dim} class logits), and this loss has no term "
                "for that, so that labels would have no effect: take a discriminator that judges image and label "
                "together, such as biggan, or the loss wgan-gp"
            )


def _scores(logits: Tensor) -> Tensor:
    """Column 0, or the map of patches: float32 [N, scores an image]."""
    return at_least_fp32(logits[:, 0]).flatten(1) if logits.ndim == 4 else at_least_fp32(logits[:, :1])


def orthogonality(weight: Tensor) -> Tensor:
    """Sum of the squares of the products of different rows of a weight [rows, ...]: a scalar, 0 if orthogonal."""
    matrix = weight.flatten(1)
    rows, columns = matrix.shape
    if rows <= columns:
        gram = matrix @ matrix.T
        return (gram - gram.diagonal().diag_embed()).square().sum()
    # |W W^T|^2 = |W^T W|^2: a first dense layer may have 20,000 rows and 20 columns.
    return (matrix.T @ matrix).square().sum() - matrix.square().sum(dim=1).square().sum()


class Orthogonal(ganzoo.Regularizer):
    """strength / 2 * squares of the products of different rows, summed over weights (Brock et al. 2019, equation 3).

    BigGAN's code adds 2 * strength * (W W^T * (1 - I)) W to the gradients before Adam's step. That is the gradient of
    this penalty, so the two are the same computation.
    """

    passes_source = True  # it looks at weights and asks D nothing

    def __init__(
        self,
        *,
        player: Annotated[Literal["G", "D"], Field(description="whose weights")] = "G",
        strength: Annotated[float, Field(ge=0, allow_inf_nan=False, description="weight of the penalty")] = 1e-4,
        exclude: Annotated[
            list[str] | None, Field(description="parts of the network to leave alone; null: shared, an embedding")
        ] = None,
        every: Annotated[int, Field(ge=1, description="1: in every step; k: after every k-th, k times as strong")] = 1,
    ) -> None:
        self.player = player
        self.strength = strength
        self.exclude = {"shared"} if exclude is None else set(exclude)
        self.every = every

    def check(self, G: Generator, D: Discriminator) -> None:
        network = G if self.player == "G" else D
        if not self._weights(network):
            raise ValueError(f"exclude leaves no weight of {self.player}: name fewer of its parts")

    def terms(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        weights = self._weights(G if self.player == "G" else D)
        with torch.autocast(weights[0].device.type, enabled=False):
            penalties = torch.stack([orthogonality(weight) for weight in weights])
            return {"orthogonal": penalties.sum() * (self.strength / 2)}

    def _weights(self, network: nn.Module) -> list[nn.Parameter]:
        """Those with rows; by the first part of the name it is decided what to leave out."""
        named = network.named_parameters()
        return [p for name, p in named if p.ndim >= 2 and name.split(".")[0] not in self.exclude]
