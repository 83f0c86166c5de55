"""Less memory for more work: the activations of large blocks are computed again when the backward pass wants them.

    x = ganzoo.recompute(resolution, block, x, ws)        # in place of block(x, ws), in a network's forward

is the plain call unless the recipe's ``system.recompute`` says otherwise. What a block of that resolution or a higher
one computed is then forgotten, all but what came in and went out, and computed anew for its gradient (Chen et al. 2016,
arXiv:1604.06174). ``torch.utils.checkpoint`` does the same for one backward pass. A gradient penalty needs two, of
which the second would keep all that the first has computed again; here the first one is recomputed in its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import is_fake

from ganzoo import whole_batch

_from_resolution: int | None = None


def recompute(resolution: int, block: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """``block(*args, **kwargs)``: a tensor or a tuple of them, and the same gradients, of first and second order.

    resolution: of the block's features, in pixels; where they change, the higher one. block: a module, whose parameters
    and buffers are all that it reads beside its arguments, and which changes no argument in place. It may draw random
    numbers from torch or ``ganzoo.whole_batch``, which are drawn alike when it runs again, and change its buffers in
    training mode, which is done once. Its first derivatives can be differentiated, its second ones cannot.

    Raises TypeError for a function in place of a module: the gradients of what it closes over would be lost.
    """
    if not isinstance(block, nn.Module):
        raise TypeError(f"recompute needs a module that has the parameters, not {type(block).__name__}")
    if _from_resolution is None or resolution < _from_resolution or not torch.is_grad_enabled():
        return block(*args, **kwargs)
    values, parameters = [*args, *kwargs.values()], list(block.parameters())
    places = [i for i, value in enumerate(values) if isinstance(value, Tensor)]
    tensors = [values[i] for i in places]
    if not any(tensor.requires_grad for tensor in (*tensors, *parameters)):
        return block(*args, **kwargs)

    def call(given: Sequence[Tensor]) -> Any:
        filled = [None if i in places else value for i, value in enumerate(values)]
        for i, tensor in zip(places, given, strict=True):
            filled[i] = tensor
        return block(*filled[: len(args)], **dict(zip(kwargs, filled[len(args) :], strict=True)))

    kept = _Call(call, block, len(tensors), parameters)
    values = [None if i in places else value for i, value in enumerate(values)]  # autograd keeps the tensors
    return _Forward.apply(kept, *tensors, *parameters)


@contextmanager
def recomputing(from_resolution: int | None) -> Iterator[None]:
    """Inside, blocks of this resolution and above are recomputed; None: no block is."""
    global _from_resolution
    before, _from_resolution = _from_resolution, from_resolution
    try:
        yield
    finally:
        _from_resolution = before


class _Call:
    """One call of a block, that can be repeated: with the random numbers, buffers and precision that it had."""

    def __init__(self, call: Callable, block: nn.Module, num_args: int, parameters: list[nn.Parameter]) -> None:
        self.call, self.block, self.num_args, self.parameters = call, block, num_args, parameters
        self.autocast = _autocast_state()
        self.random: list[tuple[Any, Tensor]] = []
        # Copies of all: torch's batch normalisation changes its statistics without a trace in their version.
        self.buffers = [(module, name, buffer.clone()) for module, name, buffer in _buffers(block)]

    def first(self, tensors: Sequence[Tensor]) -> Any:
        states = [(generator, generator.get_state()) for generator in _generators(tensors)]
        with _autocast(self.autocast):
            outputs = self.call(tensors)
        self.random = [(g, state) for g, state in states if not torch.equal(g.get_state(), state)]
        return outputs

    def again(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        now = [(generator, generator.get_state()) for generator, _ in self.random]
        replaced = [(module, name, module._buffers[name]) for module, name, _ in self.buffers]
        try:
            for generator, state in self.random:
                generator.set_state(state)
            for module, name, copied in self.buffers:
                module._buffers[name] = copied.clone()
            with _autocast(self.autocast):
                outputs = self.call(tensors)
        finally:
            for module, name, buffer in replaced:
                module._buffers[name] = buffer
            for generator, state in now:
                generator.set_state(state)
        return outputs if isinstance(outputs, tuple) else (outputs,)


class _Forward(torch.autograd.Function):
    """A block's call: (what is to be repeated, arguments and parameters) -> its outputs."""

    @staticmethod
    def forward(ctx: Any, kept: _Call, *tensors: Tensor) -> Any:
        ctx.kept = kept
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        return kept.first(tensors[: kept.num_args])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        return None, *_Backward.apply(ctx.kept, _wanted(ctx), len(grads), *grads, *ctx.saved_tensors)


class _Backward(torch.autograd.Function):
    """The block's gradients: (..., gradients of outputs, arguments and parameters) -> gradients of the latter."""

    @staticmethod
    def forward(ctx: Any, kept: _Call, wanted: list[bool], num_grads: int, *tensors: Tensor | None) -> Any:
        ctx.kept, ctx.wanted, ctx.num_grads, ctx.autocast = kept, wanted, num_grads, _autocast_state()
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        return _gradients(kept, wanted, tensors[:num_grads], _leaves(kept, wanted, tensors[num_grads:]))

    @staticmethod
    def backward(ctx: Any, *of_gradients: Tensor | None) -> Any:
        needed, kept, n = ctx.needs_input_grad[3:], ctx.kept, ctx.num_grads
        grads = [g if g is None else g.detach().requires_grad_(needed[i]) for i, g in enumerate(ctx.saved_tensors[:n])]
        leaves = _leaves(kept, [a or b for a, b in zip(needed[n:], ctx.wanted, strict=True)], ctx.saved_tensors[n:])
        with _autocast(ctx.autocast):
            gradients = _gradients(kept, ctx.wanted, grads, leaves, create_graph=True)
        pairs = [
            (gradient, outer)
            for gradient, outer in zip(gradients, of_gradients, strict=True)
            if gradient is not None and outer is not None and gradient.requires_grad
        ]
        results: list[Tensor | None] = [None] * len(needed)
        given = [(i, tensor) for i, tensor in enumerate((*grads, *leaves)) if needed[i] and tensor is not None]
        if pairs and given:
            places, tensors = zip(*given, strict=True)
            inner, outer = zip(*pairs, strict=True)
            for i, result in zip(places, torch.autograd.grad(inner, tensors, outer, allow_unused=True), strict=True):
                results[i] = result
        return None, None, None, *results


def _leaves(kept: _Call, wanted: Sequence[bool], tensors: Sequence[Tensor | None]) -> list[Tensor]:
    """Arguments cut off from what made them, and the parameters themselves, of which the block runs again."""
    args = tensors[: kept.num_args]
    return [
        *(t.detach().requires_grad_(w) for t, w in zip(args, wanted, strict=False) if t is not None),
        *kept.parameters,
    ]


def _gradients(
    kept: _Call,
    wanted: Sequence[bool],
    grads: Sequence[Tensor | None],
    leaves: list[Tensor],
    *,
    create_graph: bool = False,
) -> tuple[Tensor | None, ...]:
    """Of the block's outputs, weighted by ``grads``, with respect to those of ``leaves`` that are wanted."""
    with torch.enable_grad():
        outputs = kept.again(leaves[: kept.num_args])
        pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if g is not None and o.requires_grad]
        results: list[Tensor | None] = [None] * len(leaves)
        places = [i for i, want in enumerate(wanted) if want]
        if pairs and places:
            inner, outer = zip(*pairs, strict=True)
            found = torch.autograd.grad(
                inner, [leaves[i] for i in places], outer, allow_unused=True, create_graph=create_graph
            )
            for i, result in zip(places, found, strict=True):
                results[i] = result
    return tuple(results)


def _wanted(ctx: Any) -> list[bool]:
    """Which inputs the present backward pass needs gradients of: a penalty's first one asks for none of parameters."""
    wanted = []
    for needed, (node, _) in zip(ctx.needs_input_grad[1:], ctx.next_functions, strict=True):
        try:
            wanted.append(needed and node is not None and torch._C._will_engine_execute_node(node))
        except (RuntimeError, AttributeError):  # a leaf that `autograd.grad` was asked about; or an older torch
            wanted.append(True)
    return wanted


def _buffers(block: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    for module in block.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None:
                yield module, name, buffer


def _generators(tensors: Sequence[Tensor]) -> list[torch.Generator]:
    """All that a block may draw from: torch's own, also of the tensors' GPU, and the processes' common ones."""
    if any(tensor.is_meta or is_fake(tensor) for tensor in tensors):  # nothing is drawn where there are no numbers
        return []
    gpus = {tensor.device for tensor in tensors if tensor.is_cuda}
    generators = [torch.default_generator, *whole_batch.generators(device.type for device in gpus)]
    for device in gpus:
        generators.append(torch.cuda.default_generators[device.index or 0])
    return generators


_AutocastState = list[tuple[str, bool, torch.dtype]]


def _autocast_state() -> _AutocastState:
    kinds = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    return [(kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in kinds]


@contextmanager
def _autocast(state: _AutocastState) -> Iterator[None]:
    # Without its cache: that would keep weights that were cast where no gradients are recorded.
    with ExitStack() as stack:
        for kind, enabled, dtype in state:
            stack.enter_context(torch.autocast(kind, enabled=enabled, dtype=dtype, cache_enabled=False))
        yield
