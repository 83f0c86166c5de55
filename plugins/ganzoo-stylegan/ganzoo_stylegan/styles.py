"""What StyleGAN 1 and 2 do to styles while they are trained."""

from __future__ import annotations

import torch
from torch import Tensor

import ganzoo
from ganzoo import GrowthState, whole_batch


class MixingGenerator(ganzoo.StyleGenerator):
    """In training mode noise is drawn anew, styles of two latents are mixed, and w_avg follows the mean of w; in eval
    mode the stored noise is used, so that a latent always gives the same image.

    mixing_prob: how often a batch is mixed. w_avg_beta: weight of the past in the mean of w.
    """

    mixing_prob: float
    w_avg_beta: float

    def forward(self, z: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        w = self.mapping(z, c)
        if not self.training:
            return self.synthesis(self.broadcast(w), growth=growth, noise="const")
        self.w_avg.lerp_(whole_batch.mean(w.detach().mean(dim=0)), 1 - self.w_avg_beta)
        return self.synthesis(self._mix(self.broadcast(w), z, c, growth), growth=growth)

    def _mix(self, ws: Tensor, z: Tensor, c: Tensor | None, growth: GrowthState) -> Tensor:
        """Mixing regularisation (Karras et al. 2019, section 3.1): from a random layer on, the styles of other latents.

        Same labels. One draw for the whole batch, as in the official code, and on the CPU: nobody waits for a GPU. All
        numbers are drawn whether or not they are needed, so that compiled and other code draw the same ones.
        """
        if self.mixing_prob == 0:
            return ws
        coin = whole_batch.rand(batch_dim=None)
        cutoff = whole_batch.randint(1, self.num_ws_at(growth.resolution), [], batch_dim=None)
        others = whole_batch.randn(*z.shape, device=z.device, dtype=z.dtype)
        if torch.compiler.is_compiling():  # a cutoff that is known would be compiled for anew, layer by layer
            own = torch.arange(self.num_ws, device=z.device)[:, None] < cutoff
            return torch.where((coin >= self.mixing_prob) | own, ws, self.broadcast(self.mapping(others, c)))
        if coin.item() >= self.mixing_prob:
            return ws
        first = int(cutoff)
        return torch.cat([ws[:, :first], self.broadcast(self.mapping(others, c))[:, first:]], dim=1)
