"""The way from one latent to the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ganzoo.errors import GanzooError
from ganzoo.generation.inputs import labels_for_seeds, seeds_to_latents
from ganzoo.generation.load import LoadedGenerator

_MOST_FRAMES = 100_000  # nearly an hour; their latents are held in memory


def walk(
    generator: LoadedGenerator,
    seeds: Sequence[int],
    *,
    frames: int = 60,
    loop: bool = False,
    chosen: str | int | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Latents [F, z_dim] and labels [F, c_dim] (or None) of a walk through ``seeds``, to give to ``sample``.

    frames: from one seed to the next. The last seed's picture ends the walk, so F = frames * (len(seeds) - 1) + 1; with
    ``loop`` the walk goes on to just before the first one, so that it can be repeated, and F = frames * len(seeds).
    chosen: the class, as in ``labels_for_seeds``; without it labels are blended where the classes of two seeds differ.
    Raises GanzooError for fewer than two seeds, or more than 100,000 frames.
    """
    stops = _stops(seeds, frames, loop)
    z = seeds_to_latents(stops, generator.z_dim)
    c = labels_for_seeds(generator, stops, chosen)
    return _path(z, frames, loop, slerp), None if c is None else _path(c, frames, loop, torch.lerp)


def walk_w(
    generator: LoadedGenerator,
    seeds: Sequence[int],
    *,
    frames: int = 60,
    loop: bool = False,
    chosen: str | int | None = None,
) -> Tensor:
    """w [F, w_dim] of a walk through ``seeds`` as in ``walk``, but in the w of a style generator, for ``sample_w``.

    Straight lines: w is not bound to a sphere, and training bends it so that they pass through images that change
    evenly. Raises GanzooError as ``walk``, and for generators that have no w.
    """
    generator.style()
    stops = _stops(seeds, frames, loop)
    z, c = seeds_to_latents(stops, generator.z_dim), labels_for_seeds(generator, stops, chosen)
    with torch.no_grad():
        w = generator.mapping(z, c).float().cpu()
    return _path(w, frames, loop, torch.lerp)


def _stops(seeds: Sequence[int], frames: int, loop: bool) -> list[int]:
    if len(seeds) < 2:
        raise GanzooError(f"a walk needs at least two seeds, such as 0,5,9; given: {', '.join(map(str, seeds))}")
    stops = [*seeds, seeds[0]] if loop else list(seeds)
    total = frames * (len(stops) - 1)
    if total > _MOST_FRAMES:
        raise GanzooError(
            f"a walk of {total:,} frames is too long, {_MOST_FRAMES:,} at most: take fewer seeds or frames"
        )
    return stops


def _path(stops: Tensor, frames: int, loop: bool, between: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """stops [S, D] -> [F, D]: ``frames`` steps from each to the next, and the last one unless the walk repeats."""
    t = torch.arange(frames)[:, None] / frames
    path = [between(a, b, t) for a, b in pairwise(stops)]
    return torch.cat(path if loop else [*path, stops[-1:]])


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """From a [D] (t = 0) to b [D] (t = 1) along the sphere; t [F, 1] -> [F, D].

    Directions turn at constant speed and lengths change linearly: normal latents lie near a sphere of radius sqrt(D),
    and a straight line between two of them would pass through lengths that training never saw.
    """
    length_a, length_b = a.norm(), b.norm()
    u, v = a / length_a, b / length_b
    angle = torch.arccos((u * v).sum().clamp(-1, 1))
    if angle.sin() < 1e-4:  # the same direction, or opposite ones with no shortest way: both are straight lines
        return torch.lerp(a, b, t)
    direction = (torch.sin((1 - t) * angle) * u + torch.sin(t * angle) * v) / angle.sin()
    return direction * torch.lerp(length_a, length_b, t)
