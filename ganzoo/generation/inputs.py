"""What a generator is fed: latents and labels, both fixed by a seed."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ganzoo.errors import GanzooError
from ganzoo.generation.load import LoadedGenerator
from ganzoo.registry import did_you_mean

MAX_SEED = 2**32 - 1  # numpy's RandomState takes no more
_SMALLEST_TRUNC = 0.01  # below, drawing again and again takes too long, for images that are all one
_MOST_SEEDS = 100_000  # a slip such as 0-4000000000 must not fill the memory


def parse_seeds(text: str) -> list[int]:
    """'0-35,40' -> [0, 1, ..., 35, 40], in the order given. Raises GanzooError for anything else, or over 100,000."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,10})\s*(?:-\s*([0-9]{1,10})\s*)?", part)
        if match is None:
            raise GanzooError(
                f"seeds {text!r}: {part!r} is no seed (0 to {MAX_SEED}) and no range; write them like 0-35,40"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise GanzooError(f"seeds {text!r}: the range {part.strip()} runs backwards; write {last}-{first}")
        if last > MAX_SEED:
            raise GanzooError(f"seeds {text!r}: {last} is too large; the largest seed is {MAX_SEED}")
        if len(seeds) + last - first >= _MOST_SEEDS:
            raise GanzooError(f"seeds {text!r}: more than {_MOST_SEEDS:,}; take them in several goes")
        seeds.extend(range(first, last + 1))
    return seeds


def seeds_to_latents(seeds: Sequence[int], z_dim: int, trunc: float | None = None) -> Tensor:
    """Latents float32 [len(seeds), z_dim]: ``np.random.RandomState(seed).randn(1, z_dim)``, as in StyleGAN's tools.

    trunc: numbers beyond [-trunc, trunc] are drawn again, from the same RandomState, until none is left: BigGAN's
    truncation trick (Brock et al. 2019, section 3.1). Raises GanzooError if it is below 0.01 or no number.
    """
    return torch.cat([draw_latents(np.random.RandomState(seed), 1, z_dim, trunc) for seed in seeds])


def draw_latents(random: np.random.RandomState, n: int, z_dim: int, trunc: float | None = None) -> Tensor:
    """Latents float32 [n, z_dim] from ``random``, truncated as in ``seeds_to_latents``."""
    z = random.randn(n, z_dim)
    if trunc is not None:
        if not trunc >= _SMALLEST_TRUNC or trunc == np.inf:
            raise GanzooError(
                f"truncation {trunc:g}: latents are drawn again until they lie in [-T, T], so T is a finite number "
                f"from {_SMALLEST_TRUNC} on; 2 changes little, 0.5 is usual"
            )
        while (beyond := np.abs(z) > trunc).any():
            z[beyond] = random.randn(int(beyond.sum()))
    return torch.from_numpy(z).float()


def labels_for_seeds(
    generator: LoadedGenerator, seeds: Sequence[int], chosen: str | int | None = None
) -> Tensor | None:
    """One-hot labels [len(seeds), c_dim], or None for a generator without labels.

    chosen: a class name or index for all. None: a class for each seed, drawn by its RandomState after the latent, so
    that a seed's picture is always the same. Generators trained on label vectors in place of classes take vectors:
    pass your own ``c`` when calling the generator. Raises GanzooError for a class that does not exist.
    """
    if generator.c_dim == 0:
        if chosen is not None:
            raise GanzooError(
                f"{generator.path}: was trained without labels, so there is no class to choose; leave the class out"
            )
        return None
    if chosen is not None:
        classes = [_class_index(generator, str(chosen))] * len(seeds)
    else:
        classes = [_drawn_class(seed, generator.z_dim, generator.c_dim) for seed in seeds]
    return one_hot(torch.tensor(classes), generator.c_dim).float()


def latents_of_every_class(
    generator: LoadedGenerator, seeds: Sequence[int], trunc: float | None = None
) -> tuple[Tensor, Tensor]:
    """Every seed with every class: z [K * S, z_dim] and one-hot c [K * S, c_dim] of S seeds and K classes.

    The first class with every seed comes first. trunc: as in ``seeds_to_latents``. Raises GanzooError for a generator
    without labels, and for more than 100,000 in all.
    """
    labels_for_seeds(generator, seeds[:1], 0)  # refuses a generator without labels
    if len(seeds) * generator.c_dim > _MOST_SEEDS:
        raise GanzooError(
            f"{len(seeds):,} seeds of {generator.c_dim:,} classes are more than {_MOST_SEEDS:,} images; take fewer"
        )
    z = seeds_to_latents(seeds, generator.z_dim, trunc).repeat(generator.c_dim, 1)
    return z, torch.eye(generator.c_dim).repeat_interleave(len(seeds), 0)


def _class_index(generator: LoadedGenerator, chosen: str) -> int:
    names = generator.class_names or []
    if chosen in names:
        return names.index(chosen)
    indices = [str(i) for i in range(generator.c_dim)]
    if chosen in indices:
        return indices.index(chosen)
    known = f"0 to {generator.c_dim - 1}" + (f", or {', '.join(names)}" if names else "")
    raise GanzooError(f"{generator.path}: has no class {chosen!r}{did_you_mean(chosen, names)}; there are {known}")


def _drawn_class(seed: int, z_dim: int, c_dim: int) -> int:
    random = np.random.RandomState(seed)
    random.randn(1, z_dim)
    return random.randint(c_dim)
