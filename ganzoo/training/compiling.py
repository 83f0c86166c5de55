"""``system.compile``: losses and regularizers through torch.compile, where it works and nothing fades.

A compiled function cannot be differentiated twice from outside (torch 2.13), so a penalty on gradients has to take
them inside, with ``torch.func.grad``: see ``differentiable_gradient`` of ganzoo-progan. There, an ``autograd.Function``
loses its second derivatives without a word (torch 2.13): ours are plain formulas when compiled. Others' may not be, so
the first compiled step of a resolution is checked: its gradients must be those of the code as it is.

What torch makes of the code is kept in a folder of its own below ganzoo's cache: a run that is killed while compiling
leaves empty files, which would break whatever else shares the folder, and deleting this one is safe. Not tried on a
GPU.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.data.cache import cache_root
from ganzoo.interfaces import Batch, Discriminator, Generator, Loss, Regularizer
from ganzoo.recomputation import recomputing
from ganzoo.training import distributed, rng

TermsOf = Callable[[Generator, Discriminator, Batch], dict[str, Tensor]]

# A gradient is another one if it differs by more than this share of itself, and of the gradients of all parameters:
# what bfloat16 and degenerate statistics at the start may do to it is less, and a lost derivative is all of it.
OF_ITSELF, OF_ALL = 0.3, 0.01


class CompiledTerms:
    """Terms that are compiled at each resolution, and computed eagerly in a fade, whose alpha is another every time.

    owner: the loss or regularizer, whose method ``name`` is called. on_failure: called once, with a message, where
    compiling fails or gives other gradients; from there on terms are computed eagerly, by the same random numbers.
    Blocks are not recomputed inside: the compiler decides what is kept.
    """

    def __init__(self, owner: Any, name: str, *, on_failure: Callable[[str], None], backend: str) -> None:
        self.owner, self.name = owner, name
        self.eager: TermsOf = getattr(owner, name)
        self.failed = False
        self._on_failure = on_failure
        self._seen: set[int] = set()
        if backend == "inductor" and "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache_root() / "compiled" / torch.__version__)
        options: Any = {"fallback_random": True} if backend == "inductor" else None  # the numbers that eager code draws
        self._compiled: TermsOf = torch.compile(self.eager, backend=backend, dynamic=False, options=options)

    def __call__(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        if self.failed or batch.growth.alpha < 1:
            return self.eager(G, D, batch)
        if batch.growth.resolution not in self._seen:
            try:
                problem = self._difference(G, D, batch)
            except Exception as error:  # of the compiler, which has many of its own
                problem = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            if distributed.any_process(bool(problem), batch.real.device):
                problem = problem or "another process could not"
                self.failed = True
                what = self.name if isinstance(self.owner, Loss) else f"{type(self.owner).__name__}.{self.name}"
                self._on_failure(f"warning: {what} is not compiled: {problem}")
                return self.eager(G, D, batch)
            self._seen.add(batch.growth.resolution)
        return self._call(G, D, batch)

    def _call(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        with recomputing(None):
            return self._compiled(G, D, batch)

    def _difference(self, G: Generator, D: Discriminator, batch: Batch) -> str:
        """What the compiled terms do wrong, in words; '' if nothing. Nothing that it draws or changes remains."""
        modules = [part for part in (G, D, self.owner) if isinstance(part, nn.Module)]
        state, buffers = rng.get_state(), copy.deepcopy([dict(module.named_buffers()) for module in modules])
        parameters = {
            f"{player}.{name}": p
            for player, module in (("G", G), ("D", D))
            for name, p in module.named_parameters()
            if p.requires_grad
        }

        def restore() -> None:
            rng.set_state(state)
            with torch.no_grad():
                for module, before in zip(modules, buffers, strict=True):
                    for name, buffer in module.named_buffers():
                        buffer.copy_(before[name])

        def gradients(function: TermsOf, term: str) -> dict[str, Tensor | None]:
            """Of one term alone: among others, a small one would not be seen."""
            restore()
            value = function(G, D, batch)[term].float().mean()
            if not value.requires_grad:
                return dict.fromkeys(parameters)
            found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
            return dict(zip(parameters, found, strict=True))

        try:
            for term in list(self.eager(G, D, batch)):
                wrong = _differs(gradients(self.eager, term), gradients(self._call, term))
                if wrong:
                    return f"with it, {term!r} has another gradient by {wrong}"
            return ""
        finally:
            restore()


def _differs(expected: dict[str, Tensor | None], found: dict[str, Tensor | None]) -> str:
    """The first parameter whose gradients are not the same but for rounding; '' if there is none."""
    total = sum(g.float().square().sum() for g in expected.values() if g is not None) ** 0.5
    for name, gradient in expected.items():
        wanted, other = (torch.zeros(1) if g is None else g.detach().float().cpu() for g in (gradient, found[name]))
        allowed = OF_ITSELF * wanted.norm() + OF_ALL * float(total)
        if not (wanted - other).norm() <= allowed:  # as NaN is not, either
            return name
    return ""


class CompiledLoss(Loss):
    """A loss whose terms are compiled, as ``CompiledTerms``. If one player's do not work, the other's are eager too."""

    def __init__(self, loss: Loss, *, on_failure: Callable[[str], None], backend: str = "inductor") -> None:
        self.eager, self.passes_source = loss, loss.passes_source
        self._d, self._g = (
            CompiledTerms(loss, name, on_failure=on_failure, backend=backend) for name in ("d_loss", "g_loss")
        )

    def d_loss(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        return (self.eager.d_loss if self._g.failed else self._d)(G, D, batch)

    def g_loss(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        return (self.eager.g_loss if self._d.failed else self._g)(G, D, batch)


class CompiledRegularizer(Regularizer):
    """A regularizer whose terms are compiled, as ``CompiledTerms``."""

    def __init__(
        self, regularizer: Regularizer, *, on_failure: Callable[[str], None], backend: str = "inductor"
    ) -> None:
        self.eager, self.player, self.every = regularizer, regularizer.player, regularizer.every
        self.passes_source = regularizer.passes_source
        self._terms = CompiledTerms(regularizer, "terms", on_failure=on_failure, backend=backend)

    def terms(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        return self._terms(G, D, batch)

    def after_step(self, player: nn.Module) -> None:
        self.eager.after_step(player)


def without_compiler(part: Any) -> Any:
    """The loss or regularizer itself."""
    return part.eager if isinstance(part, CompiledLoss | CompiledRegularizer) else part
