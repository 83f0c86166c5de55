"""The image grids of a run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from ganzoo import Generator, GrowthState
from ganzoo.data import TrainingData
from ganzoo.data.fit import mip_levels
from ganzoo.data.training_data import DataInfo, LevelArrays
from ganzoo.training.grids import GridMaker

R = 16
GROWTH = GrowthState(R, 1.0, 4, 0.001, 0.001)


class Painter(Generator):
    """Red is the class times 10, green the first latent."""

    def __init__(self, c_dim: int) -> None:
        super().__init__(z_dim=4, c_dim=c_dim, img_resolution=R, img_channels=3)

    def forward(self, z, c=None, *, growth):
        red = torch.zeros(len(z)) if c is None else c.argmax(1) * 10.0
        pixels = torch.stack([red, 100 + 10 * z[:, 0], torch.zeros(len(z))], 1)
        return (((pixels - 127.5) / 127.5)[..., None, None]).expand(-1, -1, R, R)


def make_data(labels: np.ndarray | None, c_dim: int = 0, num: int = 60) -> TrainingData:
    """Image i is red 10 * label + 1 and green i all over."""
    images = np.zeros((num, 3, R, R), np.uint8)
    if labels is not None and labels.ndim == 1:
        images[:, 0] = (labels * 10 + 1)[:, None, None]
    images[:, 1] = np.arange(num)[:, None, None]
    info = DataInfo("tiny", num, R, 3, c_dim, None, "")
    return TrainingData(info, LevelArrays(mip_levels(images)), labels)


def draw(tmp_path, data: TrainingData, shape=None) -> tuple[np.ndarray, np.ndarray]:
    """The middle pixel of every cell [rows, cols, 3] of fakes and reals."""
    G = Painter(data.info.c_dim)
    grids = GridMaker(data, G, shape=shape, seed=0, device=torch.device("cpu"))
    grids.save_fakes(G, GROWTH, tmp_path / "fakes.png")
    grids.save_reals(tmp_path)
    found = []
    for name in ("fakes.png", "reals.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.width <= 1024 or shape
            found.append(np.asarray(picture)[48::96, 48::96].astype(int))
    return found[0], found[1]


def test_classes_are_rows_and_latents_columns(tmp_path):
    fakes, reals = draw(tmp_path, make_data(np.arange(60) % 3, c_dim=3))
    assert fakes.shape == reals.shape == (3, 10, 3)
    assert (fakes[..., 0] // 10 == np.arange(3)[:, None]).all()
    assert (fakes[..., 1] == fakes[0, :, 1]).all() and len(set(fakes[0, :, 1])) > 3
    assert (reals[..., 0] == 10 * np.arange(3)[:, None] + 1).all()
    assert len({int(cell) for cell in reals[..., 1].flatten()}) == 30  # no image twice


@pytest.mark.parametrize(
    ("num_classes", "shape", "rows", "cols"),
    [
        (20, None, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18], 10),
        (3, [8, 4], [0, 1, 2], 4),
        (20, [2, 4], [0, 10], 4),
    ],
)
def test_rows_are_as_many_as_classes_or_as_fit(tmp_path, num_classes, shape, rows, cols):
    fakes, reals = draw(tmp_path, make_data(np.arange(60) % num_classes, c_dim=num_classes), shape)
    assert fakes.shape == (len(rows), cols, 3)
    assert (fakes[:, 0, 0] // 10).tolist() == (reals[:, 0, 0] // 10).tolist() == rows


def test_a_class_with_few_images_leaves_cells_white_and_one_without_has_no_row(tmp_path):
    labels = np.zeros(60, np.int64)
    labels[7] = 2
    fakes, reals = draw(tmp_path, make_data(labels, c_dim=4), [6, 3])
    assert fakes.shape == reals.shape == (2, 3, 3)
    assert (fakes[:, 0, 0] // 10).tolist() == [0, 2]
    assert reals[1].tolist() == [[21, 7, 0], [255] * 3, [255] * 3]


@pytest.mark.parametrize("labels", [None, np.random.RandomState(0).rand(60, 3).astype(np.float32)])
def test_without_classes_every_cell_has_a_latent_of_its_own(tmp_path, labels):
    fakes, _ = draw(tmp_path, make_data(labels, c_dim=0 if labels is None else 3))
    assert fakes.shape == (6, 10, 3) and not (fakes[..., 1] == fakes[0, :, 1]).all()


def test_drawing_draws_no_random_numbers(tmp_path):
    state = torch.get_rng_state()
    draw(tmp_path, make_data(np.arange(60) % 3, c_dim=3))
    assert torch.equal(state, torch.get_rng_state())
