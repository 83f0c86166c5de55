"""Networks of any size without memory: tensors that have shapes, types and devices, and no numbers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ganzoo import build, whole_batch
from ganzoo.errors import GanzooError
from ganzoo.recipe import Recipe
from ganzoo.registry import Registry
from ganzoo.training.players import Players, equip
from ganzoo.training.system import System


class FakeMode:
    """The context in which tensors are fake, and their numbers, where Python asks for one, are zero.

    May be entered again within itself. (On the meta device alone, autocast would do nothing.)
    """

    def __init__(self) -> None:
        from torch._subclasses.fake_tensor import FakeTensorMode

        self._modes = (FakeTensorMode(allow_non_fake_inputs=True), _Zeros())
        self._depth, self._entered = 0, ExitStack()

    def __enter__(self) -> None:
        if self._depth == 0:
            for mode in self._modes:
                self._entered.enter_context(mode)
        self._depth += 1

    def __exit__(self, *error: Any) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._entered.close()


@contextmanager
def pretended_group(world_size: int, *, whole: bool = True) -> Iterator[None]:
    """Inside, this is process 0 of so many that train together; what it sends goes nowhere.

    whole: as ``system.whole_batch``.
    """
    if world_size == 1:
        yield
        return
    if not dist.is_available():
        raise GanzooError(
            "this torch has no torch.distributed, so several processes cannot be planned; leave out --gpus"
        )
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=world_size)
    try:
        with whole_batch.together(0, world_size, seed=0, whole=whole):
            yield
    finally:
        dist.destroy_process_group()


class _Zeros(TorchDispatchMode):
    """Lets a program go on that decides by a number: it is 0, 0.0 or False."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._overloadpacket is torch.ops.aten._local_scalar_dense:
            dtype = args[0].dtype
            return False if dtype == torch.bool else 0.0 if dtype.is_floating_point else 0
        return func(*args, **(kwargs or {}))


def fake_players(mode: FakeMode, recipe: Recipe, registry: Registry, system: System, sizes: dict[str, int]) -> Players:
    """As ``players.build_players``, with fake tensors. sizes: img_channels, c_dim, in_channels."""
    G, D = build.build_networks(recipe, registry, **sizes, device="meta")
    for player in (G, D):
        player.to(memory_format=system.memory_format)  # type: ignore[call-overload]
    with mode, _deepcopy_of_fakes():
        _make_fake(G, system.device)
        _make_fake(D, system.device)
        return equip(recipe, registry, system, G, D)


def _make_fake(module: nn.Module, device: torch.device) -> None:
    """Replace all tensors on the meta device. (Module.to cannot: it swaps, which fake tensors do not allow.)"""
    made: dict[int, Tensor] = {}
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, x in tensors.items():
                if x is None:
                    continue
                if id(x) not in made:
                    fake: Tensor = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=device)
                    made[id(x)] = nn.Parameter(fake, x.requires_grad) if isinstance(x, nn.Parameter) else fake
                tensors[name] = made[id(x)]  # type: ignore[assignment]


@contextmanager
def _deepcopy_of_fakes() -> Iterator[None]:
    """torch asks fakes for their address when it copies them, and warns of itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
        yield
