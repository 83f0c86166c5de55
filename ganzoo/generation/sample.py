"""Latents to pictures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ganzoo.data.images import float_to_uint8
from ganzoo.generation.load import LoadedGenerator


def sample(
    generator: LoadedGenerator, z: Tensor, c: Tensor | None = None, *, batch_size: int = 1
) -> Iterator[np.ndarray]:
    """Images uint8 [C, R, R] for z [N, z_dim] and c [N, c_dim] or None, one after another.

    A picture never depends on the others. With the default ``batch_size`` it is the same to the last bit whatever
    else is drawn; larger ones are faster on a GPU, and may round a few pixels to a neighbouring value.
    """
    for i in range(0, len(z), batch_size):
        chosen = slice(i, i + batch_size)
        with torch.no_grad():
            img = generator(z[chosen], None if c is None else c[chosen])
        yield from float_to_uint8(img.float()).cpu().numpy()
