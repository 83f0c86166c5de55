"""The state of every random number generator that training may draw from, as one byte string."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from ganzoo import whole_batch


def seed_all(seed: int, *more: int) -> None:
    """Start every generator; other numbers in ``more`` give others."""
    sequence = np.random.SeedSequence([seed, *(more or (0,))]).generate_state(3)
    random.seed(int(sequence[0]))
    np.random.seed(int(sequence[1]))
    torch.manual_seed(int(sequence[2]))


def seed_own(seed: int, rank: int, world_size: int, *, nimg: int = 0) -> None:
    """Start the generators of one of several processes, which no two share; one process has those of ``seed_all``."""
    if world_size == 1 and nimg == 0:
        seed_all(seed)
    else:
        seed_all(seed, rank + 1, *([nimg] if nimg else []))


def common_seed(seed: int) -> int:
    """What ``torch.manual_seed`` is given in one process; several share a generator that starts with it."""
    return int(np.random.SeedSequence([seed, 0]).generate_state(3)[2])


def get_state() -> Tensor:
    """Python's, numpy's, torch's, (if in use) the GPU's and the processes' common generators, as uint8 [n]."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    assert isinstance(keys, np.ndarray)
    state = {
        "python": random.getstate(),
        "numpy": [kind, keys.tolist(), position, has_gauss, cached],
        "torch": torch.get_rng_state().tolist(),
        "cuda": torch.cuda.get_rng_state().tolist() if _cuda_in_use() else None,
        "common": whole_batch.get_state(),
    }
    return torch.frombuffer(bytearray(json.dumps(state).encode()), dtype=torch.uint8)


def set_state(data: Tensor) -> None:
    """Put back what ``get_state`` returned."""
    state = json.loads(data.numpy().tobytes())
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(torch.tensor(state["torch"], dtype=torch.uint8))
    if state["cuda"] is not None and _cuda_in_use():
        torch.cuda.set_rng_state(torch.tensor(state["cuda"], dtype=torch.uint8))
    if state.get("common") is not None and whole_batch.get_state() is not None:
        whole_batch.set_state(state["common"])


def set_common_state(data: Tensor) -> None:
    """Go on drawing for the whole batch where ``data``, of any process of a group of any size, left off."""
    state = json.loads(data.numpy().tobytes())
    common = state.get("common") or {kind: state[of] for kind, of in (("cpu", "torch"), ("cuda", "cuda")) if state[of]}
    if whole_batch.get_state() is not None:
        whole_batch.set_state(common)
        return
    torch.set_rng_state(torch.tensor(common["cpu"], dtype=torch.uint8))
    if "cuda" in common and _cuda_in_use():
        torch.cuda.set_rng_state(torch.tensor(common["cuda"], dtype=torch.uint8))


@contextmanager
def preserved() -> Iterator[None]:
    """What happens inside leaves every generator as it was."""
    state = get_state()
    try:
        yield
    finally:
        set_state(state)


def _cuda_in_use() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_initialized()
