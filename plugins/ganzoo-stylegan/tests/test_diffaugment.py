"""DiffAugment's transforms, one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ganzoo_stylegan.diffaugment import DiffAugment, cut_out, jitter, translate

POLICY = ("color", "translation", "cutout")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def images(n: int = 8, channels: int = 3, size: int = 16, dtype: torch.dtype = torch.float32) -> Tensor:
    img = torch.rand(n, channels, size, size, dtype=dtype)
    if channels == 4:
        img[..., : size // 2] = 0
        img[:, :3] *= img[:, 3:]
    return img * 2 - 1


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shape_type_layout_and_seed(channels, memory_format, dtype):
    img = images(channels=channels).to(dtype).contiguous(memory_format=memory_format)
    augment = DiffAugment()
    torch.manual_seed(1)
    out = augment(img)
    assert out.shape == img.shape and out.dtype == dtype and out.is_contiguous(memory_format=memory_format)
    assert (out != img).flatten(1).any(dim=1).all()
    torch.manual_seed(1)
    assert torch.equal(augment(img), out)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_differentiable_twice(channels):
    def gradient_of_score(img: Tensor, weight: Tensor) -> Tensor:
        torch.manual_seed(1)
        score = (DiffAugment(policy=POLICY)(img) * weight).tanh().sum()
        return torch.autograd.grad(score, img, create_graph=True)[0]

    img = images(2, channels, 4, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(gradient_of_score, (img, torch.rand_like(img).requires_grad_()))


def test_order_is_that_of_the_policy():
    img = images()
    torch.manual_seed(1)
    out = DiffAugment(policy=["cutout", "color"])(img)
    torch.manual_seed(1)
    assert torch.equal(out, jitter(cut_out(img)))


def test_brightness_saturation_and_contrast_in_their_ranges():
    img = images(2000, size=4)
    out = jitter(img)
    shift = (out - img).mean(dim=(1, 2, 3))
    assert -0.5 <= shift.min() < -0.48 and 0.48 < shift.max() <= 0.5

    def spread(x: Tensor) -> Tensor:
        """Of the luma, which contrast scales, and of colours, which saturation scales as well."""
        luma = x.mean(dim=1, keepdim=True)
        return torch.stack([luma.std(dim=(1, 2, 3)), (x - luma).std(dim=(1, 2, 3))])

    contrast, colour = spread(out) / spread(img)
    assert 0.5 - 1e-4 <= contrast.min() < 0.52 and 1.48 < contrast.max() <= 1.5 + 1e-4
    saturation = colour / contrast
    assert -1e-4 <= saturation.min() < 0.04 and 1.96 < saturation.max() <= 2 + 1e-4
    for strength, middle in ((shift, 0), (contrast, 1), (saturation, 1)):
        assert strength.mean().item() == pytest.approx(middle, abs=0.05)


def test_opaque_colours_change_as_rgb_and_alpha_stays():
    img = images()
    torch.manual_seed(1)
    expected = jitter(img)
    torch.manual_seed(1)
    out = jitter(torch.cat([img, torch.ones(8, 1, 16, 16)], dim=1))
    torch.testing.assert_close(out[:, :3], expected)
    assert (out[:, 3] == 1).all()


def test_no_colour_appears_where_there_is_no_alpha():
    img = images(200, channels=4)
    out = DiffAugment()(img)
    transparent = out[:, 3] == -1
    assert 0.5 < transparent.float().mean() < 0.9
    torch.testing.assert_close(out[:, :3].movedim(1, 3)[transparent], torch.full((int(transparent.sum()), 3), -1.0))


@pytest.mark.parametrize(("channels", "empty"), [(1, 0), (3, 0), (4, -1)])
def test_translation_by_whole_pixels(channels, empty):
    img = images(400, channels)
    padded = torch.nn.functional.pad(img, (2, 2, 2, 2), value=empty)
    seen = torch.zeros(5, 5)
    for i, out in enumerate(translate(img)):
        windows = [(y, x) for y in range(5) for x in range(5) if torch.equal(out, padded[i, :, y : y + 16, x : x + 16])]
        seen[windows[0]] += 1
        assert len(windows) == 1
    assert (seen > 4).all()


@pytest.mark.parametrize(("channels", "empty"), [(1, 0), (3, 0), (4, -1)])
@pytest.mark.parametrize("size", [16, 10])
def test_cutout_is_a_square_of_half_the_size(channels, empty, size):
    img = torch.full((1000, channels, size, size), 0.5)
    out = cut_out(img)
    cut = out[:, -1] == empty
    assert torch.equal(out, torch.where(cut[:, None], float(empty), img))
    rows, columns = cut.any(dim=2).sum(dim=1), cut.any(dim=1).sum(dim=1)
    assert torch.equal(cut.sum(dim=(1, 2)), rows * columns)
    assert rows.max() == columns.max() == size // 2
    assert rows.min() == columns.min() == size // 4 + (size // 2) % 2
