"""``system.compile``: losses through torch.compile, where it works and nothing fades.

A compiled function cannot be differentiated twice from outside (torch 2.13), so a gradient penalty has to take its
gradient inside, with ``torch.func.grad``: see ``gradient_norms`` of ganzoo-progan. What torch makes of the code is kept
in a folder of its own below ganzoo's cache: a run that is killed while compiling leaves empty files, which would break
whatever else shares the folder, and deleting this one is safe. Not tried on a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ganzoo.data.cache import cache_root
from ganzoo.interfaces import Batch, Discriminator, Generator, Loss
from ganzoo.recomputation import recomputing
from ganzoo.training import rng


class CompiledLoss(Loss):
    """A loss whose terms are compiled at each resolution; eagerly in a fade, whose alpha is another in every step.

    on_failure: called with a message where compiling fails; then the terms are computed eagerly from there on, by the
    same random numbers. Blocks are not recomputed inside: the compiler decides what is kept.
    """

    def __init__(self, loss: Loss, *, on_failure: Callable[[str], None], backend: str = "inductor") -> None:
        self.eager, self.passes_source = loss, loss.passes_source
        self._on_failure = on_failure
        self._failed = False
        self._seen: set[tuple[str, int]] = set()
        if backend == "inductor" and "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache_root() / "compiled" / torch.__version__)
        options: Any = {"fallback_random": True} if backend == "inductor" else None  # the numbers that eager code draws
        self._compiled = {
            name: torch.compile(getattr(loss, name), backend=backend, dynamic=False, options=options)
            for name in ("d_loss", "g_loss")
        }

    def d_loss(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        return self._terms("d_loss", G, D, batch)

    def g_loss(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        return self._terms("g_loss", G, D, batch)

    def _terms(self, name: str, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        if self._failed or batch.growth.alpha < 1:
            return getattr(self.eager, name)(G, D, batch)
        key = (name, batch.growth.resolution)
        if key in self._seen:
            return self._call(name, G, D, batch)
        state = rng.get_state()
        try:
            terms = self._call(name, G, D, batch)
        except Exception as error:  # of the compiler, which has many of its own
            self._failed = True
            rng.set_state(state)
            first = str(error).strip().partition("\n")[0]
            self._on_failure(f"warning: {name} is not compiled: {type(error).__name__}: {first}")
            return getattr(self.eager, name)(G, D, batch)
        self._seen.add(key)
        return terms

    def _call(self, name: str, G: Any, D: Any, batch: Batch) -> dict[str, Tensor]:
        with recomputing(None):
            return self._compiled[name](G, D, batch)


def without_compiler(loss: Loss) -> Loss:
    """The loss itself."""
    return loss.eager if isinstance(loss, CompiledLoss) else loss
