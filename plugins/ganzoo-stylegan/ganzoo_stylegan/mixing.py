"""Styles by layer: w of seeds, and some layers of one image in another (Karras et al. 2019, section 3.1, figure 3)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ganzoo.errors import GanzooError
from ganzoo.generation import LoadedGenerator, labels_for_seeds, seeds_to_latents


def parse_layers(text: str, generator: LoadedGenerator) -> list[int]:
    """'0-3,6' -> [0, 1, 2, 3, 6]. Raises GanzooError for anything else, and for layers that the network lacks."""
    there = generator.num_ws
    layers: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,6})\s*(?:-\s*([0-9]{1,6})\s*)?", part)
        if match is None:
            raise GanzooError(f"layers {text!r}: {part!r} is no layer and no range; write them like 0-3,6")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise GanzooError(f"layers {text!r}: the range {part.strip()} runs backwards; write {last}-{first}")
        if last >= there:
            raise GanzooError(
                f"layers {text!r}: there is no layer {last}; this network has {there} at "
                f"{generator.growth.resolution} px, 0 to {there - 1}"
            )
        layers.update(range(first, last + 1))
    return sorted(layers)


def ws_of_seeds(
    generator: LoadedGenerator,
    seeds: Sequence[int],
    *,
    chosen: str | int | None = None,
    trunc: float = 1.0,
    trunc_cutoff: int | None = None,
) -> Tensor:
    """ws [N, all layers, w_dim] of seeds: their images are those of ``ganzoo sample``. chosen: the class, for all."""
    z, c = seeds_to_latents(seeds, generator.z_dim), labels_for_seeds(generator, seeds, chosen)
    with torch.no_grad():  # one by one, so that no image depends on the others in its last bits
        w = torch.cat([generator.mapping(z[i : i + 1], None if c is None else c[i : i + 1]) for i in range(len(z))])
        return generator.truncate(w, trunc, trunc_cutoff)


def mix(base: Tensor, source: Tensor, layers: Sequence[int]) -> Tensor:
    """base [N, L, w_dim] with ``layers`` taken from source [N, L, w_dim] (or [1, L, w_dim])."""
    mixed = base.clone()
    mixed[:, list(layers)] = source[:, list(layers)]
    return mixed


def mixing_table(rows: Tensor, cols: Tensor, layers: Sequence[int]) -> Iterator[Tensor | None]:
    """The cells of the mixing figure, row by row, each ws [1, L, w_dim]: sources above and to the left of the mixes.

    rows, cols [N, L, w_dim]. A mix is its row's image with the column's styles in ``layers``. The corner is None.
    """
    yield None
    yield from cols.split(1)
    for base in rows.split(1):
        yield base
        for source in cols.split(1):
            yield mix(base, source, layers)
