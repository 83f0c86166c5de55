"""``system.compile``: losses and regularizers through torch.compile, where it works and nothing fades.

A compiled function cannot be differentiated twice from outside (torch 2.13), so a penalty on gradients has to take
them inside, with ``torch.func.grad``: see ``differentiable_gradient`` of ganzoo-progan. There, an ``autograd.Function``
loses its second derivatives without a word (torch 2.13). Ours are plain formulas when compiled; where others' are not,
nothing is compiled. Whether it all works is found out before the first step of a resolution, and is part of a run's
choices: a run that is resumed computes as it did.

What torch makes of the code is kept in a folder of its own below ganzoo's cache: a run that is killed while compiling
leaves empty files, which would break whatever else shares the folder, and deleting this one is safe. Not tried on a
GPU.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from ganzoo.data.cache import cache_root
from ganzoo.interfaces import Batch, Discriminator, Generator, Loss, Regularizer
from ganzoo.recomputation import recomputing
from ganzoo.training import distributed, rng
from ganzoo.training.extras import TermsOf

if TYPE_CHECKING:
    from ganzoo.training.players import Players

# A gradient is another one if it differs by more than this share of itself, and of the gradients of all parameters:
# what bfloat16 and degenerate statistics at the start may do to it is less, and a lost derivative is all of it.
OF_ITSELF, OF_ALL = 0.3, 0.01


class CompiledLoss(Loss):
    """A loss whose terms are compiled; eagerly in a fade, whose alpha is another in every step."""

    def __init__(self, loss: Loss, *, backend: str = "inductor") -> None:
        self.eager, self.passes_source = loss, loss.passes_source
        self._d_loss, self._g_loss = (compiled(terms, backend) for terms in (loss.d_loss, loss.g_loss))

    def d_loss(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        return (self.eager.d_loss if batch.growth.alpha < 1 else self._d_loss)(G, D, batch)

    def g_loss(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        return (self.eager.g_loss if batch.growth.alpha < 1 else self._g_loss)(G, D, batch)


class CompiledRegularizer(Regularizer):
    """A regularizer whose terms are compiled, as those of ``CompiledLoss``."""

    def __init__(self, regularizer: Regularizer, *, backend: str = "inductor") -> None:
        self.eager, self.player, self.every = regularizer, regularizer.player, regularizer.every
        self.passes_source = regularizer.passes_source
        self._terms = compiled(regularizer.terms, backend)

    def terms(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        return (self.eager.terms if batch.growth.alpha < 1 else self._terms)(G, D, batch)

    def after_step(self, player: nn.Module) -> None:
        self.eager.after_step(player)


def without_compiler(part: Any) -> Any:
    """The loss or regularizer itself."""
    return part.eager if isinstance(part, CompiledLoss | CompiledRegularizer) else part


def in_one_line(error: Exception) -> str:
    """Its class, and the first line of what it says: a compiler says much."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def compiled(function: TermsOf, backend: str) -> TermsOf:
    """The function, compiled by shapes. Its blocks are not recomputed: the compiler decides what is kept.

    Whatever torch cannot compile is raised when it is called first.
    """
    if backend == "inductor" and "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache_root() / "compiled" / torch.__version__)

    def compile_graph(graph: GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        refuse_lost_derivatives(graph)
        if backend == "inductor":
            options = {"fallback_random": True}  # the numbers that eager code draws
            return torch._inductor.compile(graph, inputs, options=options)
        return torch._dynamo.lookup_backend(backend)(graph, inputs)

    call: TermsOf = torch.compile(function, backend=compile_graph, dynamic=False)

    def terms(G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        with recomputing(None):
            return call(G, D, batch)

    return terms


def refuse_lost_derivatives(graph: GraphModule) -> None:
    """Raise ValueError for an ``autograd.Function`` in a graph that takes gradients: they would be wrong, later if not
    now, since what it is part of may do nothing at first."""
    names = [
        getattr(node.target, "__name__", "")
        for part in graph.modules()
        if isinstance(part, GraphModule)
        for node in part.graph.nodes
    ]
    if "autograd_function_apply" in names and any("grad_increment_nesting" in name for name in names):
        raise ValueError(
            "an autograd.Function, whose second derivatives torch loses, is part of a penalty on gradients; compute by "
            "a plain formula where torch.compiler.is_compiling()"
        )


def what_fails(s: Players, batch: Batch, *, compare: bool) -> str:
    """Whether what is compiled of the players works, for batches like this one: '' if so, else why not, in words.

    compare: its gradients must also be those of the code as it is. Nothing that is drawn or changed remains, and no
    parameter has a gradient afterwards. Processes agree; each must call it.
    """
    assert isinstance(s.loss, CompiledLoss)
    parts: list[tuple[str, str, TermsOf, TermsOf]] = [
        ("D", "d_loss", s.loss.eager.d_loss, s.loss.d_loss),
        ("G", "g_loss", s.loss.eager.g_loss, s.loss.g_loss),
    ]
    for r in s.regularizers.all:
        assert isinstance(r, CompiledRegularizer)
        parts.append((r.player, type(r.eager).__name__, r.eager.terms, r.terms))
    owners = [without_compiler(part) for part in (s.loss, *s.regularizers.all)]
    modules = [part for part in (s.G, s.D_seen, *owners) if isinstance(part, nn.Module)]
    for player, what, eager, quick in parts:
        s.G.requires_grad_(player == "G")
        s.D.requires_grad_(player == "D")
        problem = _problem(s, s.D if player == "D" else s.G, batch, (eager, quick), modules, compare=compare)
        if problem:
            return f"{what}: {problem}"
    return ""


def _problem(
    s: Players,
    player: nn.Module,
    batch: Batch,
    versions: tuple[TermsOf, TermsOf],
    modules: Sequence[nn.Module],
    *,
    compare: bool,
) -> str:
    """Of the second of both versions of some terms: of each alone, as a small one would not be seen among others."""
    parameters = dict(player.named_parameters())
    problem = ""

    def attempt(version: TermsOf, term: str | None) -> tuple[list[str], list[Tensor | None]]:
        """Names of all terms, and the gradients of one."""
        nonlocal problem
        names: list[str] = []
        gradients: list[Tensor | None] = [None] * len(parameters)
        try:
            with _put_back(modules):
                with s.system.autocast(), recomputing(s.choice.recompute):
                    terms = version(s.G, s.D_seen, batch)
                names = list(terms)
                value = terms[term].float().mean() if term else None
                if value is not None and value.requires_grad:
                    gradients = list(torch.autograd.grad(value, list(parameters.values()), allow_unused=True))
        except Exception as error:  # of the compiler, which has many of its own
            problem = in_one_line(error)
        # All go on together, or none: there are calls inside for which processes wait for each other.
        if distributed.any_process(bool(problem), batch.real.device):
            problem = problem or "another process could not compile it"
        return names, gradients

    eager, quick = versions
    if not compare:
        attempt(quick, None)
        return problem
    names, _ = attempt(eager, None)
    for name in names:
        expected = [] if problem else attempt(eager, name)[1]
        found = [] if problem else attempt(quick, name)[1]
        if problem:
            return problem
        wrong = _different(dict(zip(parameters, expected, strict=True)), dict(zip(parameters, found, strict=True)))
        if distributed.any_process(bool(wrong), batch.real.device):
            return f"compiled, its term {name!r} has another gradient by {wrong or 'a parameter in another process'}"
    return problem


def _different(expected: dict[str, Tensor | None], found: dict[str, Tensor | None]) -> str:
    """The first parameter whose gradients are not the same but for rounding; '' if there is none, or no number."""
    total = float(sum(g.float().square().sum() for g in expected.values() if g is not None)) ** 0.5
    if not total < float("inf"):
        return ""
    for name, gradient in expected.items():
        wanted, other = (torch.zeros(1) if g is None else g.float().cpu() for g in (gradient, found[name]))
        if not (wanted - other).norm() <= OF_ITSELF * wanted.norm() + OF_ALL * total:  # as NaN is not, either
            return name
    return ""


@contextmanager
def _put_back(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Random generators and buffers are what they were, also those that have been put in the place of others."""
    kept = [(part, dict(part._buffers)) for module in modules for part in module.modules()]
    values = copy.deepcopy([{name: b for name, b in buffers.items() if b is not None} for _, buffers in kept])
    with rng.preserved():
        try:
            yield
        finally:
            with torch.no_grad():
                for (part, buffers), before in zip(kept, values, strict=True):
                    for name, value in before.items():
                        buffer = buffers[name]
                        assert buffer is not None
                        buffer.copy_(value)
                        part._buffers[name] = buffer
