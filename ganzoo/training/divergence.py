"""What is no finite number is kept out of the weights, and the recipe's ``train.on_divergence`` says what then.

An update is left out on the device itself, and counted there: to read a number there is to wait for the GPU. The counts
are looked at where something is about to be written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ganzoo.training.checkpoint import TrainingState


@torch.no_grad()
def step_if_finite(optimizer: Optimizer, loss: Tensor) -> Tensor:
    """The optimiser's step, unless ``loss`` or a gradient is not finite. Returns 1.0 if it was left out, else 0.0.

    Weights and the optimiser's state then stay as they were. Adam decides on the device; for another optimiser the
    program waits for the answer. A gradient whose squares overflow counts as infinite.
    """
    grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    sizes = torch.stack([loss.detach().float(), *(norm.float() for norm in _norms(grads))])
    left_out = 1.0 - torch.isfinite(sizes).all().float()
    if isinstance(optimizer, Adam):
        optimizer.found_inf = left_out  # type: ignore[attr-defined]  # how GradScaler tells fused optimisers
        optimizer.step()
    elif not left_out.item():
        optimizer.step()
    return left_out


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all numbers in floating-point ``tensors`` are finite; those of other types are."""
    norms = _norms([tensor.detach() for tensor in tensors if tensor.is_floating_point() and tensor.numel()])
    return not norms or bool(torch.isfinite(torch.stack([norm.float() for norm in norms])).all())


def _norms(tensors: list[Tensor]) -> list[Tensor]:
    return list(torch._foreach_norm(tensors)) if tensors else []


class LeftOut:
    """Counts the steps of training of which an update was left out: in all, one after another until now, and at most.

    keep: modules whose buffers (running statistics) are put back after such a step; none where training does not go on.
    """

    def __init__(self, state: TrainingState, keep: Mapping[str, nn.Module], device: torch.device) -> None:
        self._keep = keep
        self._kept: list[tuple[nn.Module, str, Tensor]] = []
        self._now = torch.zeros((), device=device)
        self._device = device
        self.load(state)

    def load(self, state: TrainingState) -> None:
        """The counts of a checkpoint."""
        self._counts = torch.tensor(state.left_out, device=self._device)

    def read(self) -> list[float]:
        """[in all, one after another until now, longest such row since the last ``reset``]; waits for the device."""
        return self._counts.tolist()

    def reset(self) -> None:
        """Forget the longest row, after a look at it."""
        self._counts[2] = 0

    def begin(self) -> None:
        """Before a step of training."""
        self._now.zero_()
        self._kept = [
            (part, name, buffer.clone())
            for module in self._keep.values()
            for part in module.modules()
            for name, buffer in part.named_buffers(recurse=False)
        ]

    def add(self, left_out: Tensor) -> None:
        """After an update of either player: 1.0 if it was left out."""
        torch.maximum(self._now, left_out, out=self._now)

    @torch.no_grad()
    def end(self) -> None:
        """After the updates of a step: count it, and put back what it did to running statistics if it was left out."""
        total, row, longest = self._counts.unbind()
        row = (row + 1) * self._now
        self._counts = torch.stack([total + self._now, row, torch.maximum(longest, row)])
        for part, name, kept in self._kept:
            buffer = getattr(part, name)
            if buffer.shape == kept.shape:
                buffer.copy_(torch.where(self._now > 0, kept, buffer))
            elif self._now.item():  # one that has grown, as a pool of images does at first: worth waiting for
                setattr(part, name, kept)
