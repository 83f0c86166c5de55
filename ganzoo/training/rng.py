"""The state of every random number generator that training may draw from, as one byte string."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def seed_all(seed: int, rank: int = 0, rollbacks: int = 0) -> None:
    """Start every generator; ranks draw different latents from one seed, and so does a run after each rollback."""
    sequence = np.random.SeedSequence([seed, rank, *[rollbacks] * bool(rollbacks)]).generate_state(3)
    random.seed(int(sequence[0]))
    np.random.seed(int(sequence[1]))
    torch.manual_seed(int(sequence[2]))


def get_state() -> Tensor:
    """Python's, numpy's, torch's and (if in use) the GPU's generator, as uint8 [n]."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    assert isinstance(keys, np.ndarray)
    state = {
        "python": random.getstate(),
        "numpy": [kind, keys.tolist(), position, has_gauss, cached],
        "torch": torch.get_rng_state().tolist(),
        "cuda": torch.cuda.get_rng_state().tolist() if _cuda_in_use() else None,
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
