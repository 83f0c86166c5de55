"""Where and how to compute: device, precision, memory format, threads. Says what it chose, and why."""

from __future__ import annotations

import os
import platform
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from ganzoo.data.ahead import available_cpus
from ganzoo.errors import RecipeError
from ganzoo.heap import keep_freed_memory
from ganzoo.recipe import SystemConfig


@dataclass
class System:
    """The choices in force. precision: 'fp32', or 'bf16' for convolutions and products (the rest stays fp32).

    Precision and memory format may change with the resolution of training (``choices``).
    """

    device: torch.device
    precision: str
    memory_format: torch.memory_format
    threads: int
    reason: str
    asked: str = ""  # 'fp32' or 'bf16', or 'auto' with the rule's answer

    def use(self, precision: str, memory_format: torch.memory_format) -> None:
        """From now on; TF32 goes with bf16."""
        self.precision, self.memory_format = precision, memory_format
        if self.device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "bf16"

    def autocast(self) -> AbstractContextManager:
        """The context in which the players and the loss run."""
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def describe(self) -> str:
        """One line for the log."""
        layout = name_of_format(self.memory_format)
        return f"{device_name(self.device)}, {self.precision}, {layout}, {self.threads} threads ({self.reason})"


def choose_system(config: SystemConfig, *, local_rank: int = 0, local_processes: int = 1) -> System:
    """Turn the recipe's ``system`` section into choices, and set torch's global switches accordingly."""
    device = choose_device(config.device, local_rank)
    precision, reason = (
        _choose_precision(device) if config.precision == "auto" else (config.precision, "as the recipe says")
    )
    memory_format = torch.channels_last
    if config.memory_format == "contiguous" or (config.memory_format == "auto" and device.type == "mps"):
        memory_format = torch.contiguous_format
    threads = config.threads if config.threads != "auto" else _share_of_cpus(local_processes)
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # denormals make CPU kernels many times slower, and nothing here needs them
    if device.type == "cpu":
        keep_freed_memory()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    asked = f"auto ({precision})" if config.precision == "auto" else precision
    system = System(device, precision, memory_format, threads, reason, asked)
    system.use(precision, memory_format)
    return system


def name_of_format(memory_format: torch.memory_format) -> str:
    """As recipes call it: 'channels_last' or 'contiguous'."""
    return "channels_last" if memory_format == torch.channels_last else "contiguous"


def format_called(name: str) -> torch.memory_format:
    """The memory format of that name."""
    return torch.channels_last if name == "channels_last" else torch.contiguous_format


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """'auto' takes a GPU, then Apple's, then the CPU. Raises RecipeError for one that is not here."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise RecipeError(f"system.device: {name!r} is no device to train on; use auto, cuda, cuda:1, mps or cpu")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise RecipeError("system.device: cuda, but torch sees no GPU here; use `--set system.device=cpu`")
        index = device.index if device.index is not None else local_rank
        if index >= torch.cuda.device_count():
            raise RecipeError(f"system.device: no GPU {index}; there are {torch.cuda.device_count()}, counted from 0")
        return torch.device("cuda", index)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise RecipeError("system.device: mps, but this machine has no Apple GPU; use `--set system.device=cpu`")
    return device


def device_name(device: torch.device) -> str:
    """For people: 'NVIDIA H100', 'cpu'."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _share_of_cpus(processes: int) -> int:
    """Threads for one of so many processes on this machine; alone, it heeds a lower OMP_NUM_THREADS."""
    share = max(1, available_cpus() // processes)
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    # Beside others it may be torchrun that has set it, to 1 whatever the machine has.
    return min(share, int(wanted)) if processes == 1 and wanted.isdecimal() and int(wanted) > 0 else share


def _choose_precision(device: torch.device) -> tuple[str, str]:
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "this GPU computes in bf16"
        return "fp32", "this GPU has no bf16"
    if device.type == "cpu" and cpu_computes_in_bf16():
        return "bf16", "this CPU computes in bf16"
    return "fp32", f"bf16 is no faster on this {device.type}"


def cpu_computes_in_bf16() -> bool:
    """Whether this CPU has instructions for it."""
    # torch has no public question for this; on a CPU without such instructions bf16 is slower than fp32.
    info = Path("/proc/cpuinfo")
    if platform.system() != "Linux" or not info.exists():
        return False
    return bool({"amx_bf16", "avx512_bf16"}.intersection(info.read_text().split()))
