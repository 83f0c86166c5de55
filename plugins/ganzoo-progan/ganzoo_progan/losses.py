"""WGAN-GP (Gulrajani et al. 2017) with ProGAN's drift term (appendix A.1), and AC-GAN's where the data have labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo import Batch, Discriminator, Generator, GrowthState, whole_batch

from .convolution import only_input_gradients
from .layers import at_least_fp32


def differentiable_gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Gradient of ``function(x)``, one number, with respect to x: for use in a penalty, inside torch.compile too.

    Whatever else the number depends on has gradients where the result is differentiated in turn.
    """
    if torch.compiler.is_compiling():  # autograd does not differentiate compiled code twice: it is to be part of it
        return torch.func.grad(function)(x)
    value = function(x.requires_grad_())
    # Autocast wraps forward passes only: a backward pass takes the types of the forward one.
    with torch.autocast(x.device.type, enabled=False), only_input_gradients():
        (gradient,) = torch.autograd.grad(value, x, create_graph=True)
    return gradient


def image_gradients(D: Discriminator, img: Tensor, *, c: Tensor | None = None, growth: GrowthState) -> Tensor:
    """Gradient of the score of each image with respect to it, [N, C, R, R]. Differentiable, for use in a penalty.

    img [N, C, R, R], without a graph. The score of an image whose logits are a map of patches is their mean.
    """

    def score(images: Tensor) -> Tensor:
        logits = D(images, c, growth=growth)[:, 0]
        return logits.sum() / (logits.numel() / len(logits))

    return differentiable_gradient(score, img)


def gradient_norms(
    D: Discriminator, real: Tensor, fake: Tensor, t: Tensor, *, c: Tensor | None = None, growth: GrowthState
) -> Tensor:
    """Norm of the gradient of D's scores with respect to images between real and fake ones: [N].

    real, fake [N, C, R, R]; t [N]: weight of the fake image, 0 to 1. The score of an image whose logits are a map of
    patches is their mean. Differentiable, for use in a penalty.
    """
    mixed = torch.lerp(real.detach(), fake.detach(), t.reshape(-1, 1, 1, 1))
    gradient = image_gradients(D, mixed, c=c, growth=growth)
    # No epsilon under the root, as in the official code.
    with torch.autocast(mixed.device.type, enabled=False):
        if torch.compiler.is_compiling():
            return torch.linalg.vector_norm(at_least_fp32(gradient).flatten(1), dim=1)
        return torch.linalg.vector_norm(gradient, dim=(1, 2, 3))


class WGANGPLoss(ganzoo.Loss):
    """Wasserstein loss with gradient penalty. D's scores are column 0 of its logits.

    D minimises fake - real + gp_weight * (norm - target)^2 / target^2 + drift_weight * real^2, G minimises -fake.
    Minibatch statistics stay inside real, fake and mixed images.
    """

    def __init__(
        self,
        *,
        gp_weight: Annotated[float, Field(ge=0, description="weight of the gradient penalty")] = 10.0,
        drift_weight: Annotated[float, Field(ge=0, description="keeps the scores of real images near 0")] = 0.001,
        target: Annotated[
            float, Field(gt=0, description="gradient norm aimed at; the paper used 750 for CIFAR-10 Inception scores")
        ] = 1.0,
        ac_weight: Annotated[float, Field(ge=0, description="weight of the label terms, if data have labels")] = 1.0,
    ) -> None:
        self.gp_weight = gp_weight
        self.drift_weight = drift_weight
        self.target = target
        self.ac_weight = ac_weight

    def d_loss(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        # Fakes get the labels of the reals here, as in the official code, so that the classes of both batches agree.
        with torch.no_grad():
            fake = G(batch.z, batch.c, growth=batch.growth)
        fake_logits, real_logits = D.score_both(fake, batch.real, batch.c, batch.c, growth=batch.growth)
        real_score = real_logits[:, 0]
        terms = {"fake": fake_logits[:, 0], "real": -real_score}
        if self.gp_weight > 0:
            t = whole_batch.rand(len(fake), device=fake.device, dtype=fake.dtype)
            norms = gradient_norms(D, batch.real, fake, t, c=batch.c, growth=batch.growth)
            terms["gp"] = (norms - self.target).square() * (self.gp_weight / self.target**2)
        if self.drift_weight > 0:
            terms["drift"] = real_score.square() * self.drift_weight
        terms |= self._label_term(D, "ac_real", real_logits, batch.c)
        terms |= self._label_term(D, "ac_fake", fake_logits, batch.c)
        return terms

    def g_loss(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        fake = G(batch.z, batch.gen_c, growth=batch.growth)
        logits = D(fake, batch.gen_c, growth=batch.growth)
        return {"fake": -logits[:, 0]} | self._label_term(D, "ac_fake", logits, batch.gen_c)

    def _label_term(self, D: Discriminator, name: str, logits: Tensor, c: Tensor | None) -> dict[str, Tensor]:
        """Cross entropy of the classifying columns, if D has any: Odena et al. 2017."""
        if D.aux_dim == 0 or c is None or self.ac_weight == 0:
            return {}
        with torch.autocast(logits.device.type, enabled=False):
            entropy = F.cross_entropy(at_least_fp32(logits[:, 1:]), c.to(logits.dtype), reduction="none")
        return {name: entropy * self.ac_weight}
