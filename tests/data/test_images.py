from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from ganzoo.data.images import float_to_uint8, image_grid, premultiply, save_image, uint8_to_float, unpremultiply
from ganzoo.errors import DataError


def test_float_to_uint8_follows_the_official_convention():
    x = torch.tensor([-1.0, -2.0, 0.0, 1.0, 9.0, 0.5, float("nan"), float("inf"), -float("inf")])
    assert float_to_uint8(x).tolist() == [0, 0, 128, 255, 255, 191, 128, 255, 0]


def test_every_grey_level_survives_the_way_to_the_network_and_back():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(float_to_uint8(uint8_to_float(levels)), levels)


def test_premultiplying_is_undone_where_anything_is_visible(pixels):
    straight = pixels(0, 16, 4)
    straight[..., 3] = 255
    straight[:4, ..., 3] = 0
    back = unpremultiply(premultiply(straight))
    assert (back[4:] == straight[4:]).all() and not back[:4].any()


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_save_image(tmp_path, pixels, channels, mode):
    image = pixels(0, 8, channels).transpose(2, 0, 1)
    image[3:] = 255
    save_image(tmp_path / "new" / "x.png", image)
    saved = Image.open(tmp_path / "new" / "x.png")
    assert saved.mode == mode
    assert (np.asarray(saved).reshape(8, 8, channels) == image.transpose(1, 2, 0)).all()


def test_saved_rgba_has_straight_alpha(tmp_path):
    save_image(tmp_path / "x.png", np.full((4, 2, 2), 100, np.uint8))
    assert Image.open(tmp_path / "x.png").getpixel((0, 0)) == (255, 255, 255, 100)


def test_unwritable_place_is_a_data_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        save_image(tmp_path / "file" / "x.png", np.zeros((3, 2, 2), np.uint8))


def test_grid_fills_rows_and_leaves_missing_cells_white(pixels):
    images = np.stack([pixels(i, 4).transpose(2, 0, 1) for i in range(5)])
    grid = np.asarray(image_grid(images, 2, 3))
    assert grid.shape == (8, 12, 3)
    assert (grid[:4, 4:8] == images[1].transpose(1, 2, 0)).all()
    assert (grid[4:, :4] == images[3].transpose(1, 2, 0)).all()
    assert (grid[4:, 8:] == 255).all()


def test_grid_of_grey_and_of_too_many(pixels):
    grid = np.asarray(image_grid(np.full((9, 1, 4, 4), 9, np.uint8), 1, 2))
    assert grid.shape == (4, 8, 3) and (grid == 9).all()


def test_grid_shows_transparency_over_a_checkerboard():
    images = np.zeros((2, 4, 16, 16), np.uint8)
    images[1, [0, 3]] = 255  # opaque red
    grid = np.asarray(image_grid(images, 1, 2))
    assert len(np.unique(grid[:, :16].reshape(-1, 3), axis=0)) == 2
    assert (grid[:, 16:] == (255, 0, 0)).all()
