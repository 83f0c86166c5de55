"""What can be done with w, and the pictures made for people."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from ganzoo.errors import GanzooError
from ganzoo.generation import opaque, sample, sample_w, save_grid, seeds_to_latents, walk_w


@pytest.fixture
def style(make_generator):
    return make_generator(generator="small-style", c_dim=2)


def test_synthesis_of_mapping_is_the_generator(style):
    z, c = seeds_to_latents([0, 1], 8), torch.eye(2)
    w = style.mapping(z, c)
    assert style.is_style and style.num_ws == 2 and w.shape == (2, 6)
    assert torch.equal(style.synthesis(w), style(z, c))
    assert torch.equal(style.synthesis(torch.stack([w, w], dim=1)), style(z, c))
    assert np.array_equal(np.stack(list(sample(style, z, c))), np.stack(list(sample_w(style, w))))
    assert np.array_equal(np.stack(list(sample(style, z, c, trunc=0.3))), np.stack(list(sample_w(style, w, trunc=0.3))))


def test_other_generators_have_no_w(make_generator):
    generator = make_generator()
    assert not generator.is_style
    for use in (
        lambda: generator.mapping(torch.zeros(1, 8)),
        lambda: generator.synthesis(torch.zeros(1, 6)),
        lambda: generator.num_ws,
        lambda: walk_w(generator, [0, 1]),
        lambda: sample_w(generator, torch.zeros(1, 6)),
    ):
        with pytest.raises(GanzooError, match="'small' is no style generator"):
            use()


def test_gradients_reach_w(style):
    w = torch.randn(1, 6, requires_grad=True)
    style.synthesis(w).square().sum().backward()
    assert w.grad is not None and w.grad.abs().sum() > 0


def test_walk_in_w_is_straight_and_stops_at_every_seed(style):
    w = walk_w(style, [3, 1, 4], frames=10, chosen=1)
    with torch.no_grad():
        stops = style.mapping(seeds_to_latents([3, 1, 4], 8), torch.eye(2)[[1, 1, 1]])
    assert w.shape == (21, 6) and torch.allclose(w[[0, 10, 20]], stops, atol=1e-6)
    assert torch.allclose(w[:11].diff(dim=0), (stops[1] - stops[0]).expand(10, 6) / 10, atol=1e-6)
    assert walk_w(style, [3, 1, 4], frames=10, loop=True).shape == (30, 6)


def test_transparency_gives_way_to_the_background():
    half_blue = np.zeros((4, 2, 2), np.uint8)
    half_blue[2:] = 128
    assert np.abs(opaque(half_blue, "#ff0000")[:, 0, 0] - np.array([127, 0, 128])).max() <= 1
    assert (opaque(np.full((1, 2, 2), 7, np.uint8), "white") == np.full((3, 2, 2), 7)).all()


def test_grid_shows_small_images_large_and_missing_ones_white(tmp_path):
    images = [None, *(np.full((3, 20, 20), 50 * i, np.uint8) for i in range(1, 4))]
    save_grid(tmp_path / "new" / "grid.png", images, 2, 2)
    with Image.open(tmp_path / "new" / "grid.png") as picture:
        assert picture.size == (200, 200) and picture.mode == "RGB"
        corners = [picture.getpixel((x, y))[0] for y in (1, 199) for x in (1, 199)]
    assert corners == [255, 50, 100, 150]


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [("grid.gif", 1, r"use \.png or \.jpg"), ("grid", 1, r"use \.png"), ("grid.png", 10**5, "too many for one")],
)
def test_grids_that_cannot_be_written(tmp_path, name, rows, message):
    with pytest.raises(GanzooError, match=message):
        save_grid(tmp_path / name, [np.zeros((3, 8, 8), np.uint8)], rows, 1)
    assert not list(tmp_path.iterdir())
