"""What degradations leave of an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from ganzoo_translation.degradations import Grey, Inpaint, Sketch, SuperResolution


def test_super_resolution_averages_and_enlarges():
    img = torch.randn(2, 3, 8, 8).clamp(-1, 1)
    out = SuperResolution(factor=4, enlarge="nearest")(img)
    means = img.reshape(2, 3, 2, 4, 2, 4).mean(dim=(3, 5))
    torch.testing.assert_close(out, means.repeat_interleave(4, 2).repeat_interleave(4, 3))
    for enlarge in ("bilinear", "bicubic"):
        flat = torch.full((1, 3, 16, 16), 0.25)
        torch.testing.assert_close(SuperResolution(factor=4, enlarge=enlarge)(flat), flat)
        smooth = SuperResolution(factor=4, enlarge=enlarge)(img)
        assert smooth.shape == img.shape and not torch.allclose(smooth, out)


def test_grey_is_the_brightness_that_pillow_sees():
    pixels = np.random.RandomState(0).randint(0, 256, (8, 8, 3)).astype(np.uint8)
    img = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1
    wanted = np.asarray(Image.fromarray(pixels).convert("L")).astype(float)
    found = (Grey()(img)[0, 0].numpy() + 1) * 127.5
    assert np.abs(found - wanted).max() < 1
    with_alpha = torch.cat([img, torch.ones_like(img[:, :1])], 1)
    assert torch.equal(Grey()(with_alpha), Grey()(img)) and Grey().out_channels(4) == 1
    with pytest.raises(ValueError, match=r"grey already: set data\.img_channels to 3"):
        Grey().out_channels(1)


def test_inpaint_fills_a_rectangle_with_the_mean_of_the_rest():
    torch.manual_seed(0)
    img = torch.randn(64, 3, 32, 32).clamp(-1, 1)
    out = Inpaint(min_size=0.25, max_size=0.5, mask=True)(img)
    assert Inpaint(mask=True).out_channels(3) == 4 and Inpaint().out_channels(3) == 3
    hole = out[:, 3] > 0
    sides = []
    for i in range(64):
        rows, cols = hole[i].any(1).nonzero().flatten(), hole[i].any(0).nonzero().flatten()
        height, width = len(rows), len(cols)
        assert hole[i].sum() == height * width  # a rectangle
        assert rows[-1] - rows[0] + 1 == height and cols[-1] - cols[0] + 1 == width
        sides += [height, width]
        assert torch.equal(out[i, :3, ~hole[i]], img[i, :, ~hole[i]])
        mean = img[i, :, ~hole[i]].mean(1, keepdim=True)
        torch.testing.assert_close(out[i, :3, hole[i]], mean.expand(-1, height * width), rtol=1e-4, atol=1e-5)
    assert min(sides) == 8 and max(sides) == 16 and len(set(sides)) == 9
    assert set(out[:, 3].unique().tolist()) == {-1.0, 1.0}
    reached = hole.any(0)
    assert reached[0].any() and reached[-1].any() and reached[:, 0].any() and reached[:, -1].any()


def test_inpaint_of_everything_and_of_several():
    img = torch.randn(2, 1, 8, 8).clamp(-1, 1)
    assert torch.equal(Inpaint(min_size=1.0, max_size=1.0)(img), torch.zeros_like(img))  # nothing is left
    torch.manual_seed(0)
    one = (Inpaint(mask=True)(img.expand(2, 1, 8, 8))[:, 1] > 0).float().mean()
    torch.manual_seed(0)
    many = (Inpaint(mask=True, holes=8)(img)[:, 1] > 0).float().mean()
    assert many > one
    with pytest.raises(ValueError, match=r"min_size 0\.6 is larger than max_size 0\.5"):
        Inpaint(min_size=0.6, max_size=0.5)


def test_sketch_draws_edges_dark_on_white():
    img = torch.full((1, 3, 16, 16), -1.0)
    img[..., 8:] = 1.0
    sobel = Sketch()(img)
    assert sobel.shape == (1, 1, 16, 16)
    torch.testing.assert_close(sobel[0, 0, 5], torch.tensor([1.0] * 7 + [-1.0] * 2 + [1.0] * 7))
    dog = Sketch(method="dog")(img)[0, 0, 5]
    assert dog[:4].min() > 0.9 and dog[12:].min() > 0.9 and dog[7] < 0 and dog[8:].min() > 0.9  # on the dark side
    assert torch.equal(Sketch()(torch.full_like(img, 0.3)), torch.ones(1, 1, 16, 16))
    torch.testing.assert_close(Sketch(strength=0.5)(img)[0, 0, 5, 7], torch.tensor(0.0))


def test_sketch_sees_colours_of_one_brightness_and_alpha():
    red_and_green = torch.full((1, 3, 8, 8), -1.0)
    red_and_green[:, 0, :, :4] = 0.0
    red_and_green[:, 1, :, 4:] = -1 + 0.299 / 0.587
    assert Grey()(red_and_green).std() < 1e-6 and Sketch()(red_and_green).min() < 0.5
    black = torch.full((1, 4, 8, 8), -1.0)
    black[:, 3, :, 4:] = 1.0
    assert Sketch()(black).min() == -1


@pytest.mark.parametrize("degradation", [SuperResolution(), Inpaint(), Sketch()])
def test_images_do_not_depend_on_each_other(degradation):
    img = torch.randn(3, 3, 16, 16).clamp(-1, 1)
    torch.manual_seed(0)
    out = degradation(img)
    torch.manual_seed(0)
    assert torch.equal(out[0], degradation(torch.cat([img[:1], img[:2]]))[0])
