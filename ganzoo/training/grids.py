"""Image grids of a run: the same latents every time, so that pictures can be laid side by side.

Those of a translator have the image that it was given on the left of each cell and, if pairs are known, what was wanted
on the right.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ganzoo.data import TrainingData
from ganzoo.data.images import float_to_uint8, image_grid, visible
from ganzoo.data.labels import to_vectors
from ganzoo.data.subset import spread
from ganzoo.files import atomic
from ganzoo.interfaces import Degradation, Generator, GrowthState, Translator
from ganzoo.training.reals import inputs_at

_SMALLEST_CELL = 96  # pixels


class GridMaker:
    """Draws ``reals.png`` and ``fakes_*.png`` into a run folder."""

    def __init__(
        self,
        data: TrainingData,
        G: Generator,
        *,
        shape: list[int] | None,
        seed: int,
        device: torch.device,
        degradation: Degradation | None = None,
    ) -> None:
        """shape: [rows, columns], None = as many as fit about 1,000 pixels. degradation: of ``RealImages``.

        With classes, each row is a class, in their order, and each column of ``fakes_*.png`` a latent. There are as
        many rows as classes, but no more than those of ``shape``, or than fit 1,000 pixels; if that are too few, the
        classes are spread evenly over all. Cells of ``reals.png`` that a class has no images for stay white.
        """
        # An own generator: drawing a picture must not change what is trained.
        generator = torch.Generator().manual_seed(seed)
        self.resolution = data.info.img_resolution
        self._data, self._degradation, self._seed, self._device = data, degradation, seed, device
        self._translates = isinstance(G, Translator)
        self._c: Tensor | None
        self._indices: list[int | None]
        self._by_class = data.classes is not None and not self._translates
        if data.classes is None or self._translates:
            panels = 1 if not self._translates else 3 if data.paired else 2
            self.rows, self.cols = shape or _default_shape(self.resolution, panels)
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
        self._indices_of_inputs = self._there
        if data.inputs is not None and not data.paired:
            total = data.inputs.info.num_images
            self._indices_of_inputs = torch.randint(total, (len(z),), generator=generator).tolist()
        self._z = z.to(device)
        self._c = None if self._c is None else self._c.to(device)

    @property
    def _there(self) -> list[int]:
        """The real images, without the cells that have none."""
        return [index for index in self._indices if index is not None]

    def save_reals(self, run_dir: Path) -> None:
        """Write a grid of real images at the final resolution; for a translator, beside images of the other domain."""
        images = self._data.read(self._there, self.resolution)
        if self._translates:
            images = beside(self._shown(self._inputs(self.resolution)), images)
        cells = np.full((len(self._indices), *images.shape[1:]), 255, np.uint8)
        cells[[cell for cell, index in enumerate(self._indices) if index is not None]] = images
        self._save(cells, run_dir / "reals.png")

    def save_fakes(self, G_ema: Generator, growth: GrowthState, path: Path) -> np.ndarray:
        """Write the grid of what G_ema makes of the fixed latents, or images. Returns that: uint8 [cells, C, R, R]."""
        if not self._translates:
            fakes = generate(G_ema, self._z, self._c, growth).numpy()
            self._save(fakes, path)
            return fakes
        inputs = self._inputs(growth.resolution)
        fakes = generate(G_ema, inputs, self._c, growth).numpy()
        panels = [self._shown(inputs), fakes]
        if self._data.paired:
            panels.append(self._data.read(self._there, growth.resolution))
        self._save(beside(*panels), path)
        return fakes

    def reals_by_group(self, resolution: int) -> tuple[np.ndarray, list[list[int]]]:
        """Real images uint8 [cells, C, R, R], zeros where a cell has none, and the cells of each class."""
        images = self._data.read(self._there, resolution)
        there = [cell for cell, index in enumerate(self._indices) if index is not None]
        cells = np.zeros((len(self._indices), *images.shape[1:]), np.uint8)
        cells[there] = images
        of_row = [[cell for cell in there if cell // self.cols == row] for row in range(self.rows)]
        return cells, of_row if self._by_class else [there]

    def _inputs(self, resolution: int) -> Tensor:
        return inputs_at(
            self._data,
            self._degradation,
            self._indices_of_inputs,
            resolution,
            seed=self._seed,
            device=self._device,
        )

    def _shown(self, inputs: Tensor) -> np.ndarray:
        """uint8 [n, 1, 3 or 4, R, R]: of what a degradation made, only the channels that are colours."""
        channels = inputs.shape[1]
        if channels not in (1, 3) and self._degradation is not None and channels != self._data.info.img_channels:
            inputs = inputs[:, : 3 if channels > 3 else 1]
        return float_to_uint8(inputs).cpu().numpy()

    def _save(self, images: np.ndarray, path: Path) -> None:
        # Small images, and those of early stages, are enlarged: people look at these.
        factor = max(self.resolution, _SMALLEST_CELL // self.resolution * self.resolution) // images.shape[-2]
        images = images.repeat(factor, axis=2).repeat(factor, axis=3)
        with atomic(path) as temporary:
            image_grid(images, self.rows, self.cols).save(temporary)


def beside(*panels: np.ndarray) -> np.ndarray:
    """Images uint8 [n, C, R, R] of several kinds -> [n, 3, R, R * kinds], one beside the other, nothing transparent."""
    return np.concatenate([visible(images) for images in panels], axis=3)


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


def _default_shape(resolution: int, panels: int = 1) -> tuple[int, int]:
    cols = _cells_in_line(resolution)
    return max(2, cols * 5 // 8), max(1, cols // panels)
