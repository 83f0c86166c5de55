"""Several processes, started by torchrun, that train as one. Gradients are averaged by hand.

DistributedDataParallel gives wrong gradients when the penalty's backward does not reach every parameter, and wrong or
no answers when backward runs twice; one flat buffer reduced before each optimiser step is exact, and simpler.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ganzoo.errors import GanzooError, LostProcessError

_UNSET = "Start several processes with torchrun, which sets it all; for one process, `unset WORLD_SIZE`"


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
    """Join the process group that torchrun announces in the environment; alone, there is none.

    Raises GanzooError if what is in the environment is not from torchrun, or the others cannot be met.
    """
    world_size = _announced("WORLD_SIZE", 1, least=1)
    if world_size == 1:
        return Processes()
    if not dist.is_initialized():
        # What processes tell each other of themselves goes from host to host: nobody waits for a GPU to hear of it.
        backend = "cpu:gloo,cuda:nccl" if device_type == "cuda" else "gloo"
        timeout = timedelta(minutes=timeout_minutes)
        try:
            store, rank, world_size = next(dist.rendezvous("env://", timeout=timeout))
            # The store may outlive a group that lost a process, and the next one must not find its addresses there.
            store = dist.PrefixStore(f"ganzoo/{_announced('TORCHELASTIC_RESTART_COUNT', 0)}", store)
            dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)
        except (ValueError, RuntimeError) as error:  # torch's own name what is missing, or whom they waited for
            raise GanzooError(f"{world_size} processes cannot be joined: {error}. {_UNSET}") from error
    local_rank, local_world_size = _announced("LOCAL_RANK", 0), _announced("LOCAL_WORLD_SIZE", 1, least=1)
    return Processes(dist.get_rank(), world_size, local_rank, local_world_size)


def _announced(name: str, default: int, *, least: int = 0) -> int:
    """A number that torchrun puts into the environment."""
    text = os.environ.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
        raise GanzooError(f"{name}={text!r} in the environment is no number of processes. {_UNSET}")
    return int(text)


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


def all_reduce_grads(parameters: Iterable[Tensor], loss: Tensor) -> Tensor:
    """Replace each gradient by its mean over all processes; returns the mean of ``loss``, which travels with them.

    A missing gradient counts as zeros, so that ranks agree. A parameter that has none anywhere (a block that is not
    grown yet) keeps none, so that Adam leaves it alone.
    """
    if not dist.is_initialized():
        return loss
    parameters = [p for p in parameters if p.requires_grad]
    used = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float32)
    grads = [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters]
    on_host = _is_waited_for(parameters[0].device)  # then it goes apart, to be read without waiting for the gradients
    flat = torch.cat([*grads, *([] if on_host else [used]), loss.detach().reshape(1)])
    with _together():
        if on_host:
            dist.all_reduce(used)
        dist.all_reduce(flat)
    if on_host:
        flat, loss = flat.split([flat.numel() - 1, 1])
    else:
        flat, used, loss = flat.split([flat.numel() - len(parameters) - 1, len(parameters), 1])
    flat /= dist.get_world_size()
    chunks = flat.split([p.numel() for p in parameters])
    for parameter, chunk, count in zip(parameters, chunks, used.tolist(), strict=True):
        if count:
            # In the parameter's memory format: fused Adam walks through both as they lie in memory.
            parameter.grad = torch.empty_like(parameter).copy_(chunk.view_as(parameter))
    return loss[0] / dist.get_world_size()


def any_process(flag: bool, device: torch.device) -> bool:
    """True everywhere if it is True anywhere: a signal may reach only one of the processes."""
    return bool(largest(int(flag), device))


def _is_waited_for(device: torch.device) -> bool:
    """Whether to read a number on ``device`` is to wait until all that was asked of it is done."""
    return device.type == "cuda"


def largest(number: int, device: torch.device) -> int:
    """The largest ``number`` of all processes, which train on ``device``."""
    if not dist.is_initialized():
        return number
    tensor = torch.tensor([number], device="cpu" if _is_waited_for(device) else device)
    with _together():
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return int(tensor.item())


def mean(tensor: Tensor) -> Tensor:
    """The mean of ``tensor`` over all processes."""
    if dist.is_initialized():
        tensor = tensor.clone()
        with _together():
            dist.all_reduce(tensor)
        tensor /= dist.get_world_size()
    return tensor


def gather(tensor: Tensor) -> Tensor:
    """``tensor`` [n, ...] (the same shape everywhere) of all processes, by rank: [world_size * n, ...]."""
    if not dist.is_initialized():
        return tensor
    gathered = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    with _together():
        dist.all_gather(gathered, tensor.contiguous())
    return torch.cat(gathered)


def gather_bytes(data: Tensor, device: torch.device) -> list[Tensor]:
    """``data`` (uint8 [n], n may differ) of every process, by rank, on the CPU."""
    if not dist.is_initialized():
        return [data]
    world_size = dist.get_world_size()
    size = torch.tensor([data.numel()], device=device)
    sizes = [torch.zeros_like(size) for _ in range(world_size)]
    with _together():
        dist.all_gather(sizes, size)
    longest = int(max(s.item() for s in sizes))
    padded = torch.zeros(longest, dtype=torch.uint8, device=device)
    padded[: data.numel()] = data.to(device)
    gathered = [torch.zeros_like(padded) for _ in range(world_size)]
    with _together():
        dist.all_gather(gathered, padded)
    return [g[: int(s.item())].cpu() for g, s in zip(gathered, sizes, strict=True)]


@contextmanager
def _together() -> Iterator[None]:
    """What all processes do. Raises LostProcessError if that fails, most likely because one of them has ended."""
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise LostProcessError(
            f"process {dist.get_rank()} of {dist.get_world_size()} has lost the others: {error}. Look at what the one "
            "that ended first said. Start all of them again with --resume: training goes on from the newest checkpoint."
        ) from error
