"""Image grids of a run: the same latents every time, so that pictures can be laid side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ganzoo.data import TrainingData
from ganzoo.data.images import float_to_uint8, image_grid
from ganzoo.files import atomic
from ganzoo.interfaces import Generator, GrowthState

_SMALLEST_CELL = 96  # pixels


class GridMaker:
    """Draws ``reals.png`` and ``fakes_*.png`` into a run folder."""

    def __init__(
        self, data: TrainingData, G: Generator, *, shape: list[int] | None, seed: int, device: torch.device
    ) -> None:
        """shape: [rows, columns], None = as many as fit about 1,000 pixels."""
        self.rows, self.cols = shape or _default_shape(data.info.img_resolution)
        self.resolution = data.info.img_resolution
        self._data = data
        self._n = self.rows * self.cols
        # An own generator: drawing a picture must not change what is trained.
        generator = torch.Generator().manual_seed(seed)
        self._z = torch.randn(self._n, G.z_dim, generator=generator).to(device)
        indices = torch.randint(data.info.num_images, (self._n,), generator=generator).tolist()
        labels = data.labels(indices)
        self._c = labels.to(device) if labels is not None else None
        self._indices = indices

    def save_reals(self, run_dir: Path) -> None:
        """Write a grid of real images at the final resolution."""
        self._save(self._data.read(self._indices, self.resolution), run_dir / "reals.png")

    def save_fakes(self, G_ema: Generator, growth: GrowthState, path: Path) -> None:
        """Write the grid of what G_ema makes of the fixed latents."""
        images = generate(G_ema, self._z, self._c, growth).numpy()
        self._save(images, path)

    def _save(self, images: np.ndarray, path: Path) -> None:
        # Small images, and those of early stages, are enlarged: people look at these.
        factor = max(self.resolution, _SMALLEST_CELL // self.resolution * self.resolution) // images.shape[-1]
        images = images.repeat(factor, axis=2).repeat(factor, axis=3)
        with atomic(path) as temporary:
            image_grid(images, self.rows, self.cols).save(temporary)


@torch.no_grad()
def generate(G: Generator, z: Tensor, c: Tensor | None, growth: GrowthState, *, batch_size: int = 32) -> Tensor:
    """Images uint8 [N, C, R, R] on the CPU, without touching G's mode or any random generator."""
    devices = [z.device] if z.device.type == "cuda" else []
    training = G.training
    with torch.random.fork_rng(devices):
        G.eval()
        chunks = [
            float_to_uint8(
                G(z[i : i + batch_size], None if c is None else c[i : i + batch_size], growth=growth).float()
            )
            for i in range(0, len(z), batch_size)
        ]
        G.train(training)
    return torch.cat([chunk.cpu() for chunk in chunks])


def _default_shape(resolution: int) -> tuple[int, int]:
    cols = max(3, 1024 // max(resolution, _SMALLEST_CELL))
    return max(2, cols * 5 // 8), cols
