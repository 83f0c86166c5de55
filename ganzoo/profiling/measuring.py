"""What this machine reaches: a plain convolution, a plain copy, a small kernel; and the seconds of a step's parts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from ganzoo.profiling.roofline import Rates
from ganzoo.profiling.step import StepCase
from ganzoo.training.system import System


def time_of(call: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Mean seconds of a call, over as many as fit into ``seconds`` and at least one, after one that does not count."""
    call()
    _wait(device)
    count, start = 0, time.perf_counter()
    while True:
        call()
        _wait(device)
        count += 1
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return elapsed / count


class PlainConvolution:
    """A 3x3 convolution of 128 to 128 channels at 32 x 32, batch 16: what the device can do at best, in practice."""

    flops = 2 * 16 * 32 * 32 * 128 * 128 * 9

    def __init__(self, device: torch.device, precision: str) -> None:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        x, w = torch.randn(16, 128, 32, 32), torch.randn(128, 128, 3, 3)
        self._x, self._w = (t.to(device, dtype).to(memory_format=torch.channels_last) for t in (x, w))

    @torch.no_grad()
    def run(self) -> None:
        """Once."""
        F.conv2d(self._x, self._w, padding=1)

    def rate(self, seconds: float) -> float:
        """FLOP/s."""
        return self.flops / time_of(self.run, self._x.device, seconds)


@torch.no_grad()
def measure_rates(system: System, seconds: float = 0.3) -> Rates:
    """Of the system's device, as it is now. Takes about four times ``seconds``."""
    device = system.device
    bf16, fp32 = (PlainConvolution(device, precision).rate(seconds) for precision in ("bf16", "fp32"))
    big, small = torch.zeros(2**24, device=device), torch.zeros(16, device=device)
    copying = time_of(lambda: big.add(1.0), device, seconds)
    starting = min(time_of(lambda: small.add(1.0), device, seconds / 10) for _ in range(3))
    return Rates(bf16, fp32, 2 * big.numel() * 4 / copying, starting)


def measure_parts(case: StepCase, *, seconds: float, rounds: int = 3) -> dict[str, float]:
    """Median seconds of one call of each part, in interleaved rounds of about ``seconds`` in all."""
    parts = case.parts()
    share = seconds / rounds / len(parts)
    case.state.d_step = case.state.g_step = 1
    case.step()
    case.synchronize()
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        for part in parts:
            times.setdefault(part.name, []).append(once_or_more(part.run, case.synchronize, share))
    return {name: statistics.median(values) for name, values in times.items()}


def step_seconds(case: StepCase, of_parts: dict[str, float]) -> float:
    """Seconds of a step in the mean, from those of its parts."""
    return sum(part.per_step * of_parts[part.name] for part in case.parts())


def once_or_more(call: Callable[[], object], synchronize: Callable[[], None], seconds: float) -> float:
    """Mean seconds of a call, over as many as fit into ``seconds`` and at least one; the first one counts."""
    count, start = 0, time.perf_counter()
    while True:
        call()
        synchronize()
        count += 1
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return elapsed / count


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
