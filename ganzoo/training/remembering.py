"""``train.reuse_fakes``: the images that D was shown are those that G learns by, and are made once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ganzoo.interfaces import Generator, GrowthState


class RememberedFakes:
    """What G made in D's step, with the graph that G's step needs.

    with fakes.of("D"):                  # G(z, c, growth=...) makes images, and gives them without the graph
        ...
    with fakes.of("G"):                  # the same call gives the same images, with it; forgotten at the end
        ...

    Losses call G as ever, and need not know. Latents and labels have to be the same tensors: for others, images are
    made anew. In between G's activations stay in memory.
    """

    def __init__(self, G: Generator) -> None:
        self._G = G
        self._made: list[tuple[Tensor, Tensor | None, Tensor, int]] = []

    @contextmanager
    def of(self, player: str) -> Iterator[None]:
        """Raises RuntimeError inside, if a loss or an augmentation has written to the images that it was given."""
        if player == "D":
            self._made.clear()  # of a step that memory did not suffice for
            self._G.requires_grad_(True)
        make = self._G.forward

        def forward(z: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
            for of_z, of_c, images, version in self._made:
                if of_z is z and of_c is c:
                    if images._version != version:
                        raise RuntimeError("the images of D's step were changed in place, and G was to learn by them")
                    break
            else:
                with torch.enable_grad():
                    images = make(z, c, growth=growth)
                self._made.append((z, c, images, images._version))
            return images.detach() if player == "D" else images

        self._G.forward = forward  # type: ignore[method-assign]  # isinstance(G, ...) stays true, as losses need it
        try:
            yield
        finally:
            del self._G.forward
            if player == "D":
                self._G.requires_grad_(False)  # as it is during D's step; the graph is there
            else:
                self._made.clear()
