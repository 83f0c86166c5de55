"""Counts what runs: floating-point operations, kernels, bytes moved, and the peak of memory.

    with CountSteps(held=tensors_that_are_there_anyway) as counted:
        case.step()
    counted.flops, counted.kernels, counted.bytes_moved, counted.peak_bytes

Everything is seen where PyTorch dispatches it, so second derivatives, optimisers and custom functions are counted, on
any device and for fake tensors, which have shapes and no numbers. torch's own FlopCounterMode fails inside
``autograd.grad``, and multiplies weight gradients of grouped convolutions by the number of groups.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten

# They make or describe tensors and compute nothing.
_ALLOCATIONS = {
    aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty, aten.new_empty_strided, aten.empty_permuted,
    aten.resize_, aten.set_, aten.detach, aten.detach_, aten.lift_fresh, aten._unsafe_view,
    aten.is_same_size, aten.record_stream,
}  # fmt: skip
_CONVOLUTIONS = {aten.convolution, aten._convolution, aten.convolution_overrideable, aten.cudnn_convolution}


class CountSteps(TorchDispatchMode):
    """Counts what runs inside.

    flops: of convolutions and matrix products, 2 for a multiplication and an addition; zero padding counts as work.
    kernels: dispatched operations that compute; views, allocations and questions about shapes are none. A GPU starts
    about one kernel for each, or a few. waits: numbers that Python read from a tensor, for each of which a GPU would
    be waited for. bytes_moved: what these kernels read and write in all, each tensor once a kernel: what memory traffic
    is without fusion and without a cache. peak_bytes: the most memory that tensors took at one time, those kept for
    backward passes and ``held`` included; workspaces that kernels allocate for themselves do not show, and what a
    caching allocator loses in fragments does not either. held_bytes: that of ``held`` alone.
    operations: how many kernels there were of (flops, bytes moved, dtype of what is multiplied or None). collectives:
    name and bytes, for each call of torch.distributed.
    """

    def __init__(self, held: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.flops = self.kernels = self.waits = self.bytes_moved = 0
        self.live_bytes = self.peak_bytes = 0
        self.collectives: list[tuple[str, int]] = []
        self.operations: Counter[tuple[int, int, torch.dtype | None]] = Counter()
        self._storages: dict[int, weakref.ref] = {}
        for tensor in held:
            self._see(tensor)
        self.held_bytes = self.live_bytes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func._overloadpacket
        if packet is aten._local_scalar_dense:
            self.waits += 1
            return func(*args, **kwargs)
        out = func(*args, **kwargs)
        read = list(_tensors((args, tuple(kwargs.values()))))
        written = list(_tensors(out)) or _changed(func, args, kwargs)
        for tensor in (*read, *written):
            self._see(tensor)
        if func.namespace == "c10d":
            self.collectives.append((packet.__name__, sum(map(_bytes_touched, written))))
        elif func.namespace == "aten" and written and not func.is_view and packet not in _ALLOCATIONS:
            flops = flops_of(packet, args, kwargs, out)
            moved = sum(map(_bytes_touched, (*read, *written)))
            self.kernels += 1
            self.flops += flops
            self.bytes_moved += moved
            self.operations[flops, moved, read[0].dtype if flops else None] += 1
        return out

    def _see(self, tensor: Tensor) -> None:
        """Count the memory behind ``tensor`` until nothing refers to it any more."""
        if tensor.layout != torch.strided:
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._storages:
            return
        size = storage.nbytes()
        self.live_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)

        def freed(_: Any) -> None:
            self.live_bytes -= size
            self._storages.pop(key, None)

        self._storages[key] = weakref.ref(storage, freed)


def flops_of(packet: Any, args: Any, kwargs: Any, out: Any) -> int:
    """Floating-point operations of one dispatched operation; 0 for all but convolutions, products and attention."""
    if packet in _CONVOLUTIONS:
        x, weight, transposed = args[0], args[1], bool(args[6]) if len(args) > 6 else False
        return _convolution_flops(x, weight, out, transposed)
    if packet is aten.convolution_backward:
        grad, x, weight, transposed, mask = args[0], args[1], args[2], args[7], args[10]
        return _convolution_flops(x, weight, grad, transposed) * (bool(mask[0]) + bool(mask[1]))
    if packet in flop_registry:
        return int(flop_registry[packet](*args, **kwargs, out_val=out))
    return 0


def _convolution_flops(x: Tensor, weight: Tensor, out: Tensor, transposed: bool) -> int:
    """Every weight meets every position once: of the output, or of the input where that is spread out (transposed).

    Groups need no care: the weight has the channels of one group. Either gradient takes as many.
    """
    positions = (x if transposed else out)[0, 0].numel() * len(x)
    return 2 * positions * weight.numel()


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from _tensors(value)


def _changed(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """What an operation without a result changes in place: fused optimisers, ``_foreach_*_``."""
    if not func._schema.is_mutable:
        return []
    named = {argument.name: value for argument, value in zip(func._schema.arguments, args, strict=False)} | kwargs
    return [
        tensor
        for argument in func._schema.arguments
        if argument.is_write and argument.name in named
        for tensor in _tensors(named[argument.name])
    ]


def _bytes_touched(tensor: Tensor) -> int:
    """Of what lies in memory: an expanded axis is there once."""
    if tensor.layout != torch.strided:
        return 0
    numbers = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        numbers *= size if stride else min(size, 1)
    return numbers * tensor.element_size()
