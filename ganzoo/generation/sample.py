"""Latents to pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ganzoo.data.images import float_to_uint8
from ganzoo.generation.load import LoadedGenerator
from ganzoo.interfaces import Noise


def sample(
    generator: LoadedGenerator,
    z: Tensor,
    c: Tensor | None = None,
    *,
    batch_size: int = 1,
    trunc: float | None = None,
    trunc_cutoff: int | None = None,
    noise: Noise | None = None,
) -> Iterator[np.ndarray]:
    """Images uint8 [C, R, R] for z [N, z_dim] and c [N, c_dim] or None, one after another.

    A picture never depends on the others. With the default ``batch_size`` it is the same to the last bit whatever
    else is drawn; larger ones are faster on a GPU, and may round a few pixels to a neighbouring value.
    trunc, trunc_cutoff, noise: as in ``sample_w``, for style generators; raises GanzooError for others.
    """
    if trunc is None and noise is None:
        return _images(lambda part: generator(z[part], None if c is None else c[part]), len(z), batch_size)
    if trunc is not None:
        generator.check_truncation(trunc, trunc_cutoff)
    generator.style("no noise to choose")

    def draw(part: slice) -> Tensor:
        w = generator.mapping(z[part], None if c is None else c[part])
        ws = generator.truncate(w, 1.0 if trunc is None else trunc, trunc_cutoff)
        return generator.synthesis(ws, noise=noise or "const")

    return _images(draw, len(z), batch_size)


def sample_w(
    generator: LoadedGenerator,
    w: Tensor,
    *,
    batch_size: int = 1,
    trunc: float = 1.0,
    trunc_cutoff: int | None = None,
    noise: Noise = "const",
) -> Iterator[np.ndarray]:
    """Images uint8 [C, R, R] for w [N, w_dim] or ws [N, all layers, w_dim] of a style generator, as ``sample``.

    trunc: how far the first ``trunc_cutoff`` layers (None = all) are from the mean of w; 1 changes nothing, 0 is the
    mean. noise: 'const' takes the stored maps, so that a picture is always the same, 'random' draws them anew, 'none'
    leaves them out. Raises GanzooError if the generator cannot be truncated so.
    """
    generator.check_truncation(trunc, trunc_cutoff)
    return _images(
        lambda part: generator.synthesis(generator.truncate(w[part], trunc, trunc_cutoff), noise=noise),
        len(w),
        batch_size,
    )


def _images(draw: Callable[[slice], Tensor], n: int, batch_size: int) -> Iterator[np.ndarray]:
    for i in range(0, n, batch_size):
        with torch.no_grad():
            img = draw(slice(i, i + batch_size))
        yield from float_to_uint8(img.float()).cpu().numpy()
