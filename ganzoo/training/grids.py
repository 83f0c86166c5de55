"""Image grids of a run: the same latents every time, so that pictures can be laid side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ganzoo.data import TrainingData
from ganzoo.data.images import float_to_uint8, image_grid
from ganzoo.data.labels import to_vectors
from ganzoo.data.subset import spread
from ganzoo.files import atomic
from ganzoo.interfaces import Generator, GrowthState

_SMALLEST_CELL = 96  # pixels


class GridMaker:
    """Draws ``reals.png`` and ``fakes_*.png`` into a run folder."""

    def __init__(
        self, data: TrainingData, G: Generator, *, shape: list[int] | None, seed: int, device: torch.device
    ) -> None:
        """shape: [rows, columns], None = as many as fit about 1,000 pixels.

        With classes, each row is a class, in their order, and each column of ``fakes_*.png`` a latent. There are as
        many rows as classes, but no more than those of ``shape``, or than fit 1,000 pixels; if that are too few, the
        classes are spread evenly over all. Cells of ``reals.png`` that a class has no images for stay white.
        """
        # An own generator: drawing a picture must not change what is trained.
        generator = torch.Generator().manual_seed(seed)
        self.resolution = data.info.img_resolution
        self._data = data
        self._c: Tensor | None
        self._indices: list[int | None]
        if data.classes is None:
            self.rows, self.cols = shape or _default_shape(self.resolution)
            n = self.rows * self.cols
            z = torch.randn(n, G.z_dim, generator=generator)
            indices = torch.randint(data.info.num_images, (n,), generator=generator).tolist()
            self._indices = indices
            self._c = data.labels(indices)
        else:
            most, self.cols = shape or (_cells_in_line(self.resolution),) * 2
            present = np.unique(data.classes)
            shown = present[spread(len(present), most)]
            self.rows = len(shown)
            z = torch.randn(self.cols, G.z_dim, generator=generator).repeat(self.rows, 1)
            self._indices = [i for k in shown for i in _of_class(data.classes, k, self.cols, generator)]
            self._c = to_vectors(shown.repeat(self.cols), data.info.c_dim)
        self._z = z.to(device)
        self._c = None if self._c is None else self._c.to(device)

    def save_reals(self, run_dir: Path) -> None:
        """Write a grid of real images at the final resolution."""
        there = [cell for cell, index in enumerate(self._indices) if index is not None]
        images = self._data.read([index for index in self._indices if index is not None], self.resolution)
        cells = np.full((len(self._indices), *images.shape[1:]), 255, np.uint8)
        cells[there] = images
        self._save(cells, run_dir / "reals.png")

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


def _of_class(classes: np.ndarray, k: int, n: int, generator: torch.Generator) -> list[int | None]:
    """n different images of class k, by index; None where it has no more."""
    members = np.flatnonzero(classes == k)
    chosen = members[torch.randperm(len(members), generator=generator)[:n].numpy()].tolist()
    return [*chosen, *[None] * (n - len(chosen))]


def _cells_in_line(resolution: int) -> int:
    return max(3, 1024 // max(resolution, _SMALLEST_CELL))


def _default_shape(resolution: int) -> tuple[int, int]:
    cols = _cells_in_line(resolution)
    return max(2, cols * 5 // 8), cols
