"""Statistics of batch norm for sampling: those of training are of latents that were not truncated, and lag behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganzoo.errors import GanzooError
from ganzoo.generation.inputs import draw_latents
from ganzoo.generation.load import LoadedGenerator


@torch.no_grad()
def standing_statistics(
    generator: LoadedGenerator, batches: int, *, trunc: float | None = None, batch_size: int = 64
) -> None:
    """Replace the running statistics of batch norm by their plain means over ``batches`` batches of latents.

    BigGAN's standing statistics (Brock et al. 2019, section 3.1 and appendix). trunc: of these latents, as in
    ``seeds_to_latents``; their classes are drawn evenly. They are the same in every call, so that pictures are, too;
    no seed of ``seeds_to_latents`` gives any of them. Changes ``generator``; raises GanzooError if it has no batch
    norm.
    """
    norms: list[Any] = [
        module
        for module in generator.G.modules()
        if isinstance(getattr(module, "running_var", None), Tensor) and hasattr(module, "momentum")
    ]
    if not norms:
        raise GanzooError(
            f"{generator.path}: {generator.recipe.generator.name!r} has no batch norm with running statistics, so "
            "there are none to compute anew; leave the standing statistics out"
        )
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:  # nothing else: dropout, noise and power iterations are as when sampling
            norm.training = True
        for i in range(batches):
            for norm in norms:
                norm.momentum = 1 / (i + 1)
            random = np.random.RandomState([0, i])  # a seed of two numbers is none of one
            z = draw_latents(random, batch_size, generator.z_dim, trunc)
            c = (
                torch.eye(generator.c_dim)[random.randint(generator.c_dim, size=batch_size)]
                if generator.c_dim
                else None
            )
            generator(z, c)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.training, norm.momentum = False, momentum
