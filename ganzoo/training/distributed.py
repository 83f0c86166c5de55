"""Several processes, started by torchrun, that train as one. Gradients are averaged by hand.

DistributedDataParallel gives wrong gradients when the penalty's backward does not reach every parameter, and wrong or
no answers when backward runs twice; one flat buffer reduced before each optimiser step is exact, and simpler.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Processes:
    """Which process this is. rank 0 alone writes files."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1  # processes on this machine

    @property
    def is_main(self) -> bool:
        return self.rank == 0


def start(device_type: str, *, timeout_minutes: float = 10) -> Processes:
    """Join the process group that torchrun announces in the environment; alone, there is none."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        return Processes()
    if not dist.is_initialized():
        backend = "nccl" if device_type == "cuda" else "gloo"
        timeout = timedelta(minutes=timeout_minutes)
        store, rank, world_size = next(dist.rendezvous("env://", timeout=timeout))
        # The store may outlive a group that lost a process, and the next one must not find its addresses there.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = dist.PrefixStore(f"ganzoo/{attempt}", store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)
    local_rank, local_world_size = (
        int(os.environ.get(k, d)) for k, d in (("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "1"))
    )
    return Processes(dist.get_rank(), world_size, local_rank, local_world_size)


def open_store() -> Any:
    """A connection of its own to the store that the processes met at."""
    store = dist.distributed_c10d._get_default_store()
    try:
        return store.clone()  # type: ignore[attr-defined]
    except Exception:  # not every kind can
        return store


def is_loss(error: RuntimeError) -> bool:
    """Whether ``error`` of a collective says that another process is gone, or does not answer."""
    if isinstance(error, dist.DistError):
        return True
    return bool(re.search(r"gloo|NCCL|onnection (closed|reset|refused)|[Tt]imed out|Broken pipe", str(error)))


def stop() -> None:
    """Leave the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def all_reduce_grads(parameters: Iterable[Tensor]) -> None:
    """Replace each gradient by its mean over all processes. A missing one counts as zeros, so that ranks agree.

    A parameter that has no gradient anywhere (a block that is not grown yet) keeps none, so that Adam leaves it alone.
    """
    if not dist.is_initialized():
        return
    parameters = [p for p in parameters if p.requires_grad]
    used = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float32, device=parameters[0].device)
    flat = torch.cat([*[(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters], used])
    dist.all_reduce(flat)
    flat, used = flat[: -len(parameters)], flat[-len(parameters) :]
    flat /= dist.get_world_size()
    chunks = flat.split([p.numel() for p in parameters])
    for parameter, chunk, count in zip(parameters, chunks, used.tolist(), strict=True):
        if count:
            # In the parameter's memory format: fused Adam walks through both as they lie in memory.
            parameter.grad = torch.empty_like(parameter).copy_(chunk.view_as(parameter))


def any_process(flag: bool, device: torch.device) -> bool:
    """True everywhere if it is True anywhere: a signal may reach only one of the processes."""
    if not dist.is_initialized():
        return flag
    tensor = torch.tensor([float(flag)], device=device)
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return bool(tensor.item())


def mean(tensor: Tensor) -> Tensor:
    """The mean of ``tensor`` over all processes."""
    if dist.is_initialized():
        tensor = tensor.clone()
        dist.all_reduce(tensor)
        tensor /= dist.get_world_size()
    return tensor


def gather(tensor: Tensor) -> Tensor:
    """``tensor`` [n, ...] (the same shape everywhere) of all processes, by rank: [world_size * n, ...]."""
    if not dist.is_initialized():
        return tensor
    gathered = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, tensor.contiguous())
    return torch.cat(gathered)


def gather_bytes(data: Tensor, device: torch.device) -> list[Tensor]:
    """``data`` (uint8 [n], n may differ) of every process, by rank, on the CPU."""
    if not dist.is_initialized():
        return [data]
    world_size = dist.get_world_size()
    size = torch.tensor([data.numel()], device=device)
    sizes = [torch.zeros_like(size) for _ in range(world_size)]
    dist.all_gather(sizes, size)
    longest = int(max(s.item() for s in sizes))
    padded = torch.zeros(longest, dtype=torch.uint8, device=device)
    padded[: data.numel()] = data.to(device)
    gathered = [torch.zeros_like(padded) for _ in range(world_size)]
    dist.all_gather(gathered, padded)
    return [g[: int(s.item())].cpu() for g, s in zip(gathered, sizes, strict=True)]
