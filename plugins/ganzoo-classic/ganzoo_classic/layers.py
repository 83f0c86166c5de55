"""What the networks of this package share. Everything is differentiable twice, as gradient penalties need."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganzoo import whole_batch
from ganzoo_progan.layers import at_least_fp32


def refuse_growing(name: str, img_resolution: int, resolution: int) -> None:
    """Raise ValueError unless images have the final resolution."""
    if resolution != img_resolution:
        raise ValueError(
            f"{name} does not grow: it works at {img_resolution}x{img_resolution} only, and the schedule asks for "
            f"{resolution}x{resolution}. Set growth.name to fixed, or use the networks stylegan or progan"
        )


def append_labels(x: Tensor, c: Tensor | None, c_dim: int) -> Tensor:
    """Labels c [N, c_dim] behind the features of x [N, C], or as constant maps behind the channels of x [N, C, H, W].

    The conditional GAN of Mirza and Osindero 2014. x itself where c_dim is 0; raises ValueError if labels are missing.
    """
    if c_dim == 0:
        return x
    if c is None:
        raise ValueError(f"a network made for labels of size {c_dim} needs them: give c [{len(x)}, {c_dim}]")
    c = c.to(x.dtype)
    if x.ndim == 4:
        c = c[:, :, None, None].expand(-1, -1, *x.shape[2:])
    return torch.cat([x, c], dim=1)


class MinibatchDiscrimination(nn.Module):
    """How close each sample is to the others of its batch, so that D notices when they are all alike.

    Salimans et al. 2016, section 3.2: M = x T, [N, kernels, dim]; o(x_i) = sum over j of exp(-|M_i - M_j|), in L1.
    x [N, features] -> o [N, kernels]. The sample itself counts, as in the paper: alone, it gives 1.
    """

    def __init__(self, in_features: int, kernels: int, dim: int) -> None:
        super().__init__()
        self.kernels = kernels
        self.T = nn.Parameter(torch.randn(in_features, kernels * dim) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        m = at_least_fp32(x @ self.T).reshape(len(x), self.kernels, -1)
        distance = (m[:, None] - whole_batch.gather(m)[None]).abs().sum(dim=3)  # [n, N, kernels]
        return torch.exp(-distance).sum(dim=1)


def logits_dim(c_dim: int, aux: bool) -> int:
    """Outputs of a discriminator: the score and, with ``aux``, one logit for each class."""
    if aux and c_dim == 0:
        raise ValueError("aux adds logits that classify images, and the data have no labels: set data.labels to true")
    return 1 + c_dim if aux else 1
