"""What GPUs can do, by their makers' data sheets: rates without sparsity, in SI units."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo.errors import GanzooError
from ganzoo.registry import did_you_mean

T, G = 1e12, 1e9


@dataclass(frozen=True)
class Gpu:
    """One GPU, and how those of a machine and machines are joined.

    bf16, tf32, fp32: dense FLOP/s of matrix products with fp32 accumulation; bf16 0: it has none, so that ganzoo
    computes in fp32. memory: bytes. bandwidth: of the memory, bytes/s. watts: of the board at most. link: bytes/s in
    one direction from each GPU to the others of its machine. network: bytes/s in one direction from a machine of
    ``per_machine`` GPUs to others.
    """

    name: str
    bf16: float
    tf32: float
    fp32: float
    memory: float
    bandwidth: float
    watts: float
    link: float
    network: float
    per_machine: int = 8


# PCI Express 4.0 x16 moves 31.5 GB/s in a direction. Where the maker sells no machine, its network is taken to be one
# of 100 Gbit/s.
_PCIE4, _ETHERNET = 31.5 * G, 12.5 * G

GPUS = {
    gpu.name: gpu
    for gpu in (
        # NVIDIA V100 data sheet (SXM2, 32 GB; its 125 TFLOP/s are fp16); DGX-1: four ports of 100 Gbit/s.
        Gpu("v100", 0, 15.7 * T, 15.7 * T, 32 * G, 900 * G, 300, 150 * G, 50 * G),
        # NVIDIA A100 data sheet (SXM4); DGX A100: eight ports of 200 Gbit/s.
        Gpu("a100-40", 312 * T, 156 * T, 19.5 * T, 40 * G, 1555 * G, 400, 300 * G, 200 * G),
        Gpu("a100-80", 312 * T, 156 * T, 19.5 * T, 80 * G, 2039 * G, 400, 300 * G, 200 * G),
        # NVIDIA H100 data sheet (SXM5; half of the rates given there with sparsity); DGX H100: eight of 400 Gbit/s.
        Gpu("h100", 989 * T, 494 * T, 67 * T, 80 * G, 3350 * G, 700, 450 * G, 400 * G),
        # NVIDIA H200 data sheet (SXM); DGX H200.
        Gpu("h200", 989 * T, 494 * T, 67 * T, 141 * G, 4800 * G, 700, 450 * G, 400 * G),
        # NVIDIA DGX B200 data sheet, an eighth of it; Blackwell architecture brief.
        Gpu("b200", 2250 * T, 1120 * T, 75 * T, 180 * G, 8000 * G, 1000, 900 * G, 400 * G),
        # NVIDIA L4 and L40S data sheets.
        Gpu("l4", 121 * T, 60 * T, 30.3 * T, 24 * G, 300 * G, 72, _PCIE4, _ETHERNET),
        Gpu("l40s", 362 * T, 183 * T, 91.6 * T, 48 * G, 864 * G, 350, _PCIE4, _ETHERNET),
        # NVIDIA Ampere GA102 and Ada architecture white papers, appendices.
        Gpu("rtx3090", 71 * T, 35.6 * T, 35.6 * T, 24 * G, 936 * G, 350, _PCIE4, _ETHERNET, 4),
        Gpu("rtx4090", 165 * T, 82.6 * T, 82.6 * T, 24 * G, 1008 * G, 450, _PCIE4, _ETHERNET, 4),
    )
}
_ALSO = {"a100": "a100-80"}


def find_gpu(name: str) -> Gpu:
    """By its name in the table, in any case; 'A100' is the one of 80 GB. Raises GanzooError for others."""
    wanted = name.lower().replace(" ", "-")
    gpu = GPUS.get(_ALSO.get(wanted, wanted))
    if gpu is None:
        near = did_you_mean(wanted, list(GPUS))
        raise GanzooError(f"no GPU {name!r} in the table{near or '; there are: ' + ', '.join(GPUS)}")
    return gpu
