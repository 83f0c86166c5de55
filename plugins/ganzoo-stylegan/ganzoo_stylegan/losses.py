"""The non-saturating logistic loss (Goodfellow et al. 2014) and its regularizers: R1, R2, path length."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import Batch, Discriminator, Generator, GrowthState, StyleGenerator, whole_batch
from ganzoo_progan.layers import at_least_fp32
from ganzoo_progan.losses import differentiable_gradient, image_gradients

Gamma = Annotated[
    Annotated[float, Field(ge=0, allow_inf_nan=False)] | Literal["auto"],
    Field(description="weight; auto: 0.0002 * resolution^2 / batch size (ADA paper, appendix C)"),
]
Every = Annotated[int, Field(ge=1, description="1: in every step; k: after every k-th one, k times as strong")]


class LogisticLoss(ganzoo.Loss):
    """D minimises softplus(fake) + softplus(-real), G minimises softplus(-fake).

    Scores are column 0 of D's logits, or a map of patches [N, 1, h, w], whose terms are averaged.
    """

    def d_loss(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = G(batch.z, batch.gen_c, growth=batch.growth)
        fake_logits = D(fake, batch.gen_c, growth=batch.growth)
        real_logits = D(batch.real, batch.c, growth=batch.growth)
        return {"fake": _mean_softplus(fake_logits), "real": _mean_softplus(-real_logits)}

    def g_loss(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        fake = G(batch.z, batch.gen_c, growth=batch.growth)
        return {"fake": _mean_softplus(-D(fake, batch.gen_c, growth=batch.growth))}

    def check(self, G: Generator, D: Discriminator) -> None:
        if D.aux_dim > 0:
            raise ValueError(
                f"the discriminator classifies images (AC-GAN, {D.aux_dim} class logits), and this loss has no term "
                "for that, so that labels would have no effect: take a discriminator that judges image and label "
                "together, such as stylegan, or the loss wgan-gp"
            )


def _mean_softplus(logits: Tensor) -> Tensor:
    """softplus of column 0, or of the map of patches, [N]: float32, as bfloat16 has too few digits near 0."""
    scores = at_least_fp32(logits[:, 0]).flatten(1) if logits.ndim == 4 else at_least_fp32(logits[:, :1])
    return F.softplus(scores).mean(dim=1)


def squared_gradient_norms(D: Discriminator, img: Tensor, *, c: Tensor | None = None, growth: GrowthState) -> Tensor:
    """Sum of squares of the gradient of each image's score with respect to the image: [N]. Differentiable.

    img [N, C, R, R]. The score of an image whose logits are a map of patches is their mean.
    """
    gradient = image_gradients(D, img.detach(), c=c, growth=growth)
    with torch.autocast(img.device.type, enabled=False):
        return gradient.square().sum(dim=(1, 2, 3))


def resolve_gamma(gamma: float | Literal["auto"], growth: GrowthState) -> float:
    """The weight at a stage of training; 'auto' is the rule of Karras et al. 2020 (ADA), appendix C.

    A gradient with respect to pixels is spread over all of them: for the same function of the picture its sum of
    squares falls as 1 / resolution^2, which the weight makes up for. Large batches need less: they are less noisy.
    """
    return 0.0002 * growth.resolution**2 / growth.batch_size if gamma == "auto" else gamma


class R1(ganzoo.Regularizer):
    """gamma / 2 * |gradient of D's score with respect to real images|^2 (Mescheder et al. 2018, equation 9)."""

    player = "D"

    def __init__(self, *, gamma: Gamma = "auto", every: Every = 1) -> None:
        self.gamma = gamma
        self.every = every

    def terms(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        norms = squared_gradient_norms(D, batch.real, c=batch.c, growth=batch.growth)
        return {"r1": norms * (resolve_gamma(self.gamma, batch.growth) / 2)}


class R2(ganzoo.Regularizer):
    """gamma / 2 * |gradient of D's score with respect to generated images|^2 (Mescheder et al. 2018, equation 10)."""

    player = "D"

    def __init__(self, *, gamma: Gamma = "auto", every: Every = 1) -> None:
        self.gamma = gamma
        self.every = every

    def terms(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = G(batch.z, batch.gen_c, growth=batch.growth)
        norms = squared_gradient_norms(D, fake, c=batch.gen_c, growth=batch.growth)
        return {"r2": norms * (resolve_gamma(self.gamma, batch.growth) / 2)}


def path_lengths(synthesis: Callable[[Tensor], Tensor], ws: Tensor, y: Tensor) -> Tensor:
    """How far images move when styles do, in a random direction (Karras et al. 2020, equation 4): [N]. Differentiable.

    synthesis: ws [N, num_ws, w_dim] to images [N, C, R, R]; y: standard normal, shape of those. The length is the root
    of the squares of the gradient with respect to ws, summed over w_dim and averaged over num_ws.
    """
    direction = y / math.sqrt(y.shape[2] * y.shape[3])
    gradient = differentiable_gradient(lambda ws: (synthesis(ws) * direction).sum(), ws)
    with torch.autocast(ws.device.type, enabled=False):
        return gradient.square().sum(dim=2).mean(dim=1).sqrt()


class PathLength(ganzoo.Regularizer, nn.Module):
    """weight * (length - running mean of lengths)^2: steps in w shall move images by the same amount everywhere.

    Karras et al. 2020, section 3.2. It looks at a part of the batch, 1 / batch_shrink, and styles are not mixed.
    """

    player = "G"
    pl_mean: Tensor

    def __init__(
        self,
        *,
        weight: Annotated[float, Field(ge=0, allow_inf_nan=False, description="of the penalty")] = 2.0,
        decay: Annotated[float, Field(gt=0, le=1, description="share of a new value in the running mean")] = 0.01,
        batch_shrink: Annotated[int, Field(ge=1, description="use 1 / batch_shrink of the batch, to save memory")] = 2,
        every: Every = 4,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.decay = decay
        self.batch_shrink = batch_shrink
        self.every = every
        self.register_buffer("pl_mean", torch.zeros([]))

    def check(self, G: Generator, D: Discriminator) -> None:
        if not isinstance(G, StyleGenerator):
            raise ValueError(
                "path length is measured in the w of a style-based generator, which this one does not have: use one "
                "such as stylegan or stylegan2, or leave this regularizer out"
            )

    def terms(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        assert isinstance(G, StyleGenerator), "refused by check"
        # Every batch_shrink-th: several processes then take the same ones as one does, if these divide their shares.
        z, gen_c = (x if x is None else x[:: self.batch_shrink] for x in (batch.z, batch.gen_c))
        assert z is not None
        w = G.mapping(z, gen_c)
        ws = G.broadcast(w)[:, : G.num_ws_at(batch.growth.resolution)]
        # Layers beyond the resolution in use need a w each, but it has no gradient, and would count in the mean.
        unused = ws[:, -1:].detach().expand(-1, G.num_ws - ws.shape[1], -1)
        y = whole_batch.randn(len(w), G.img_channels, *[batch.growth.resolution] * 2, device=w.device)

        def synthesis(ws: Tensor) -> Tensor:
            return G.synthesis(torch.cat([ws, unused], dim=1), growth=batch.growth)

        return {"path_length": self.penalty(path_lengths(synthesis, ws, y))}

    def penalty(self, lengths: Tensor) -> Tensor:
        """lengths [N] -> penalties [N], after a step of the running mean, through which gradients flow too."""
        mean = self.pl_mean.lerp(whole_batch.mean(lengths.mean()), self.decay)
        # Not in place: compiled code takes the old one again for the gradient (torch 2.13, on inductor).
        self.pl_mean = mean.detach()
        return (lengths - mean).square() * self.weight
