"""What a component needs to treat the batch as one when several processes hold a share of it each.

The same total batch then gives the same training, on however many processes: random numbers are those that one
process would draw, and statistics over images are over all of them. In one process everything here is what torch does.

    t = whole_batch.rand(len(fake), device=fake.device)      # in place of torch.rand
    others = whole_batch.gather(features)                    # [n, F] -> [N, F], differentiable
    mine = whole_batch.share(values_of_all)                  # [N, ...] -> [n, ...]
    self.w_avg.lerp_(whole_batch.mean(w.mean(0)), 0.01)      # the same buffer in all processes

Every process must make the same calls in the same order, as it does if the calls do not depend on what is in a share;
shares are equally large, and process r has rows r * n to (r + 1) * n. That holds while the training loop works;
outside of it (evaluation, grids, tests) and within ``alone()`` a process is on its own, and calls wait for nobody.

With ``system.whole_batch: false`` random numbers are each process's own and ``gather`` returns what it is given, which
is quicker on hundreds of processes; ``mean`` and ``batch_norm`` go over all processes even so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class _Group:
    """The processes that train together. generators: by kind of device, the same in all of them."""

    rank: int
    world_size: int
    whole: bool
    seed: int
    generators: dict[str, torch.Generator] = field(default_factory=dict)


_group: _Group | None = None


def rand(*shape: int, batch_dim: int | None = 0, device: Any = None, dtype: torch.dtype | None = None) -> Tensor:
    """``torch.rand`` for the images of this process's share. batch_dim: the axis of images; None: one for all."""
    return _draw(torch.rand, shape, batch_dim, device=device, dtype=dtype)


def randn(*shape: int, batch_dim: int | None = 0, device: Any = None, dtype: torch.dtype | None = None) -> Tensor:
    """``torch.randn``, as ``rand``."""
    return _draw(torch.randn, shape, batch_dim, device=device, dtype=dtype)


def randint(low: int, high: int, shape: Sequence[int], *, batch_dim: int | None = 0, device: Any = None) -> Tensor:
    """``torch.randint`` in [low, high), as ``rand``."""
    return _draw(torch.randint, shape, batch_dim, low, high, device=device)


def gather(x: Tensor) -> Tensor:
    """x [n, ...] of all processes, [N, ...], in the order of the batch. Differentiable, any number of times."""
    if _group is None or not _group.whole:
        return x
    return _Gather.apply(x)


def share(x: Tensor) -> Tensor:
    """This process's rows of x [N, ...], which is the same everywhere: [n, ...]."""
    if _group is None or not _group.whole:
        return x
    n = len(x) // _group.world_size
    return x[_group.rank * n : (_group.rank + 1) * n]


def mean(x: Tensor) -> Tensor:
    """The mean over processes of x, of any shape. Differentiable, any number of times."""
    if _group is None:
        return x
    return _Sum.apply(x) / _group.world_size


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``F.batch_norm`` with the statistics of the whole batch, and running ones that are the same everywhere.

    x [n, C, ...]. Differentiable twice, on CPUs too, which torch's SyncBatchNorm is not.
    """
    if _group is None or not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, training=training, momentum=momentum, eps=eps)
    axes, count = [0, *range(2, x.ndim)], x.numel() // x.shape[1]
    with torch.autocast(x.device.type, enabled=False):
        wide = x.float() if x.dtype.itemsize < 4 else x
        var, centre = torch.var_mean(wide, dim=axes, correction=0)
        # Deviations from the common mean, not squares: those lose all digits where the mean is far from 0.
        both = _Gather.apply(torch.stack([centre, var])[None])
        centre, var = both[:, 0].mean(dim=0), (both[:, 1] + (both[:, 0] - both[:, 0].mean(dim=0)).square()).mean(dim=0)
        if running_mean is not None and running_var is not None:
            count *= _group.world_size
            with torch.no_grad():
                running_mean.lerp_(centre.to(running_mean.dtype), momentum)
                running_var.lerp_((var * (count / max(count - 1, 1))).to(running_var.dtype), momentum)
        shape = [1, -1, *[1] * (x.ndim - 2)]
        scale = (var + eps).rsqrt()
        scale = scale if weight is None else scale * weight
        shift = -centre * scale if bias is None else bias - centre * scale
        return (wide * scale.reshape(shape) + shift.reshape(shape)).to(x.dtype)


class BatchNorm2d(nn.BatchNorm2d):
    """``torch.nn.BatchNorm2d`` of the whole batch; its parameters and buffers have the same names."""

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=self.training or self.running_mean is None,
            momentum=0.1 if self.momentum is None else self.momentum,
            eps=self.eps,
        )


@contextmanager
def alone() -> Iterator[None]:
    """Inside, this process waits for no other: for what only one of them does."""
    global _group
    before, _group = _group, None
    try:
        yield
    finally:
        _group = before


@contextmanager
def together(rank: int, world_size: int, *, seed: int, whole: bool = True) -> Iterator[None]:
    """Inside, the processes of torch's default group are one. For the training loop and for tests.

    seed: of the common generators, what ``torch.manual_seed`` would be given in one process.
    """
    global _group
    before = _group
    _group = _Group(rank, world_size, whole, seed) if world_size > 1 else None
    try:
        yield
    finally:
        _group = before


def get_state() -> dict[str, list[int]] | None:
    """Of the common generators, by kind of device; None where there is one process, and torch's own are they."""
    if _group is None:
        return None
    _generator("cpu")
    return {kind: generator.get_state().tolist() for kind, generator in _group.generators.items()}


def set_state(state: dict[str, list[int]]) -> None:
    """Put back what ``get_state`` returned."""
    assert _group is not None
    for kind, values in state.items():
        if kind == "cpu" or (kind == "cuda" and torch.cuda.is_available()):
            _generator(kind).set_state(torch.tensor(values, dtype=torch.uint8))


def generators(kinds: Iterable[str]) -> list[torch.Generator]:
    """The common generators of these kinds of device; none where there is one process."""
    return [] if _group is None else [_generator(kind) for kind in sorted({"cpu", *kinds})]


def reseed(seed: int) -> None:
    """Start the common generators anew."""
    if _group is not None:
        _group.seed = seed
        _group.generators.clear()


def _generator(kind: str) -> torch.Generator:
    assert _group is not None
    if kind not in _group.generators:
        _group.generators[kind] = torch.Generator(kind).manual_seed(_group.seed)
    return _group.generators[kind]


def _draw(
    function: Any, shape: Sequence[int], batch_dim: int | None, *args: int, device: Any, **options: Any
) -> Tensor:
    if _group is None or not (_group.whole or batch_dim is None):
        return function(*args, tuple(shape), device=device, **options)
    generator = _generator(torch.device(device or "cpu").type)
    if batch_dim is None:
        return function(*args, tuple(shape), device=device, generator=generator, **options)
    n, size = shape[batch_dim], list(shape)
    size[batch_dim] = n * _group.world_size
    drawn: Tensor = function(*args, tuple(size), device=device, generator=generator, **options)
    # A copy, so that the numbers of the others are not kept.
    return drawn.narrow(batch_dim, _group.rank * n, n).clone(memory_format=torch.contiguous_format)


class _Sum(torch.autograd.Function):
    """x of all processes, added up. Of a loss that is the sum of all processes' losses, the gradient is the same."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _Sum.apply(grad)


class _Gather(torch.autograd.Function):
    """[n, ...] -> [N, ...]. The gradient of a row is the sum of what all processes make of it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        rows = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
        dist.all_gather(rows, x.contiguous())
        return torch.cat(rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        n, rank = len(grad) // dist.get_world_size(), dist.get_rank()
        return _Sum.apply(grad)[rank * n : (rank + 1) * n]
