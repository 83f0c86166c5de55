"""GDPP (Elfeki et al. 2019, arXiv:1812.00068): generated images shall be as diverse as real ones, in D's eyes.

A determinantal point process has a kernel whose eigenvalues say how much a set varies and whose eigenvectors say in
which directions; here it is the Gram matrix of the features of a batch.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo import Batch, Discriminator, Generator, whole_batch
from ganzoo_progan.layers import at_least_fp32


class Eigh(torch.autograd.Function):
    """``torch.linalg.eigh`` of a symmetric matrix, with gradients that stay finite where eigenvalues meet.

    The derivative of eigenvectors has 1 / gap between eigenvalues; it is gap / (gap^2 + 1e-6) here. A G whose images
    are all alike, which is what GDPP is for, has a Gram matrix with one eigenvalue and zeros.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(matrix)
        ctx.save_for_backward(values, vectors)
        return values, vectors

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_values: Tensor, grad_vectors: Tensor) -> Tensor:
        values, vectors = ctx.saved_tensors
        gaps = values[None, :] - values[:, None]
        inner = gaps / (gaps.square() + 1e-6) * (vectors.T @ grad_vectors) + torch.diag(grad_values)
        return vectors @ inner @ vectors.T


def spectrum(features: Tensor) -> tuple[Tensor, Tensor]:
    """features [N, F], scaled to length 1 -> eigenvalues [N], ascending, and eigenvectors [N, N], in columns."""
    features = F.normalize(at_least_fp32(features), dim=1)
    return Eigh.apply(features @ features.T)  # type: ignore[no-untyped-call,no-any-return]


class GDPP(ganzoo.Regularizer):
    """weight * (magnitude + structure), equations 4 to 6: G's images shall vary as real ones do.

    Magnitude: the sum of |real - fake| over eigenvalues. Structure: minus the sum of the cosines of eigenvectors, each
    weighed by the real eigenvalue, which are scaled to [0, 1]. An eigenvector and its opposite are the same one: of
    cosines the magnitude counts. Features are D's, scaled to length 1.
    """

    player = "G"

    def __init__(
        self,
        *,
        weight: Annotated[float, Field(ge=0, allow_inf_nan=False, description="of both terms")] = 1.0,
        every: Annotated[
            int, Field(ge=1, description="1: in every step; k: after every k-th one, k times as strong")
        ] = 1,
    ) -> None:
        self.weight = weight
        self.every = every

    def check(self, G: Generator, D: Discriminator) -> None:
        if not D.has_features:
            raise ValueError(
                "it compares features of the discriminator, and this one gives logits only; dcgan, mlp, progan, sngan, "
                "sagan and biggan have features"
            )

    def terms(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        fake = G(batch.z, batch.gen_c, growth=batch.growth)
        fake_features = D.features(fake, batch.gen_c, growth=batch.growth)
        with torch.no_grad():
            real_features = D.features(batch.real, batch.c, growth=batch.growth)
        with torch.autocast(fake.device.type, enabled=False):
            fake_values, fake_vectors = spectrum(whole_batch.gather(fake_features))
            real_values, real_vectors = spectrum(whole_batch.gather(real_features))
            scaled = (real_values - real_values.min()) / (real_values.max() - real_values.min()).clamp_min(1e-10)
            magnitude = (real_values - fake_values).abs().sum()
            structure = -(scaled * (real_vectors * fake_vectors).sum(0).abs()).sum()
        return {"gdpp_magnitude": magnitude * self.weight, "gdpp_structure": structure * self.weight}
