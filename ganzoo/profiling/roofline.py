"""From counts to seconds: every kernel takes as long as its operations, its memory traffic, or its start, whichever is
longest; and collectives go round rings.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from ganzoo.profiling.gpus import Gpu

Operations = Mapping[tuple[int, int, torch.dtype | None], int]

# Shares of the data sheet's rates that kernels reach, and the seconds that a kernel takes at least. They are what
# brings the StyleGAN2 of benchmarks/plan_calibration.py closest to its published seconds.
OF_FLOPS, OF_BANDWIDTH, KERNEL_SECONDS = 0.45, 0.35, 10e-6
# Of links; and the seconds that every hop of a ring costs: within a machine, and between machines.
OF_LINKS, HOP_SECONDS, FAR_HOP_SECONDS = 0.7, 3e-6, 15e-6


@dataclass(frozen=True)
class Rates:
    """What a device reaches in practice. bf16, fp32: FLOP/s; bandwidth: bytes/s; kernel_seconds: the least a kernel
    takes."""

    bf16: float
    fp32: float
    bandwidth: float
    kernel_seconds: float


def rates_of(gpu: Gpu, precision: str) -> Rates:
    """By its data sheet. In bf16 runs, ganzoo lets fp32 products be TF32."""
    fp32 = gpu.tf32 if precision == "bf16" else gpu.fp32
    return Rates(gpu.bf16 * OF_FLOPS, fp32 * OF_FLOPS, gpu.bandwidth * OF_BANDWIDTH, KERNEL_SECONDS)


def seconds(operations: Operations, rates: Rates) -> float:
    """How long these kernels take one after another."""
    total = 0.0
    for (flops, moved, dtype), times in operations.items():
        rate = rates.bf16 if dtype in (torch.bfloat16, torch.float16) else rates.fp32
        total += times * max(flops / rate, moved / rates.bandwidth, rates.kernel_seconds)
    return total


def collective_seconds(collectives: Iterable[tuple[str, int]], gpu: Gpu, processes: int) -> float:
    """How long these collectives take, (name, bytes) each, of ``processes`` GPUs, with nothing else beside them.

    A ring within each machine and one of machines: an all-reduce passes 2 (n - 1) / n of its bytes, a gathering half as
    much. Hops within a machine are n - 1; between machines trees need as many as the number of machines has bits.
    """
    near = min(processes, gpu.per_machine)
    machines = math.ceil(processes / near)
    total = 0.0
    for name, size in collectives:
        rounds = 2 if "reduce" in name else 1
        total += rounds * (near - 1) * (size / near / (gpu.link * OF_LINKS) + HOP_SECONDS)
        if machines > 1:
            passed = (machines - 1) / machines * size / (gpu.network * OF_LINKS)
            total += rounds * (passed + math.ceil(math.log2(machines)) * FAR_HOP_SECONDS)
    return total
