"""The check of networks whose blocks are run through ``ganzoo.recompute``."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ganzoo.recomputation import recomputing
from ganzoo.testing.contract import Contract, close, shake_parameters


def check_recompute(contract: Contract, network: nn.Module, run: Callable[[nn.Module], Tensor]) -> None:
    """Training with every block computed again for its gradient is training without."""
    shaken = copy.deepcopy(network).train()
    shake_parameters(shaken)
    found = []
    for from_resolution in (None, 1):
        torch.manual_seed(1)
        trained = copy.deepcopy(shaken)
        with recomputing(from_resolution):
            out = run(trained)
        with contract.attempt("training with system.recompute"):
            (out * torch.randn_like(out)).sum().backward()
        found.append((out.detach(), trained))
    (out, plain), (again, recomputed) = found
    contract.require(close(again, out), "with system.recompute the output is another")
    others = dict(recomputed.named_parameters())
    wrong = [name for name, p in plain.named_parameters() if not _alike(p.grad, others[name].grad)]
    contract.require(
        not wrong,
        f"with system.recompute the gradient of {', '.join(wrong[:4])} is another: does a block that is given to "
        "ganzoo.recompute read what is neither an argument nor a parameter or buffer of its own?",
    )
    buffers = dict(recomputed.named_buffers())
    changed = [name for name, b in plain.named_buffers() if not close(b.double(), buffers[name].double())]
    contract.require(not changed, f"with system.recompute the buffer {', '.join(changed[:4])} is another afterwards")


def _alike(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b if a is None or b is None else close(a, b)
