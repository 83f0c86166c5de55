"""ADA against torch's own flips, analytic pictures, explicit colour matrices and closed forms of its filters."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganzoo_stylegan.ada import (
    BAND_POWER,
    SYM2,
    SYM6,
    AdaptiveAugmentation,
    _lookup,
    band_filters,
    band_gains,
    compose,
    filter_separable,
    lookup,
    move_pixels,
    recolour,
    warp,
)

GROUPS = ("blit", "geom", "color", "filter", "noise", "cutout")
TAPS = torch.tensor(SYM6)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def images(n: int = 8, channels: int = 3, size: int = 16, dtype: torch.dtype = torch.float32) -> Tensor:
    """Random images; RGBA ones are premultiplied, and transparent in their left half."""
    img = torch.rand(n, channels, size, size, dtype=dtype)
    if channels == 4:
        img[..., : size // 2] = 0
        img[:, :3] *= img[:, 3:]
    return img * 2 - 1


def affine(xx: float, xy: float, x: float, yx: float, yy: float, y: float, n: int = 1) -> Tensor:
    return torch.tensor([[xx, xy, x], [yx, yy, y]]).expand(n, 2, 3)


def rotation(degrees: float) -> Tensor:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return affine(cos, -sin, 0, sin, cos, 0)


# The whole


def test_the_plain_lookup_is_torchs():
    """Which is what is compiled."""
    img, grid = torch.randn(2, 3, 5, 7, dtype=torch.float64), torch.rand(2, 4, 6, 2, dtype=torch.float64) * 3 - 1.5
    img.requires_grad_()
    grid[0, 0, :2] = torch.tensor([[-1.0, 1.0], [1.0, -1.0]])  # corners
    torch.testing.assert_close(_lookup(img, grid), lookup(img, grid))
    torch.autograd.gradcheck(lambda x: _lookup(x, grid), img)
    torch.autograd.gradgradcheck(lambda x: _lookup(x.square(), grid), img)


def test_single_pixels_are_refused():
    ada = AdaptiveAugmentation()
    ada.check(None, SimpleNamespace(img_channels=3, img_resolution=2))
    with pytest.raises(ValueError, match="2 px or more"):
        ada.check(None, SimpleNamespace(img_channels=3, img_resolution=1))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [2, 4, 16, 33])
def test_nothing_happens_at_p_0(channels, size):
    img = images(4, channels, size)
    assert torch.equal(AdaptiveAugmentation(groups=GROUPS)(img), img)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("group", GROUPS)
def test_each_group_changes_images_at_p_1(group, channels):
    # Not all of them: a turn may be by 0 degrees, and what is cut may be transparent already.
    img = images(100, channels)
    out = AdaptiveAugmentation(groups=[group], p=1)(img)
    assert out.shape == img.shape and out.isfinite().all()
    changed = (out != img).flatten(1).any(dim=1)
    assert changed.float().mean() > 0.6
    if channels == 4 and group in ("color", "noise"):
        assert torch.equal(out[:, 3], img[:, 3])


@pytest.mark.parametrize("group", ["noise", "cutout"])
def test_share_of_images_changed_is_p(group):
    img = images(4000, 1, 4)
    changed = (AdaptiveAugmentation(groups=[group], p=0.3)(img) != img).flatten(1).any(dim=1)
    assert changed.float().mean() == pytest.approx(0.3, abs=0.03)


def test_seed_decides():
    augment, img = AdaptiveAugmentation(groups=GROUPS, p=0.7), images()
    torch.manual_seed(1)
    first, other = augment(img), augment(img)
    torch.manual_seed(1)
    assert torch.equal(augment(img), first)
    assert not torch.equal(other, first)


def test_images_do_not_touch_each_other():
    img = images(4).requires_grad_()
    out = AdaptiveAugmentation(groups=GROUPS, p=0.9)(img)
    (gradient,) = torch.autograd.grad(out[1].square().sum(), img)
    assert gradient[1].abs().sum() > 0
    assert gradient[[0, 2, 3]].abs().sum() == 0


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_computes_in_float32_under_autocast(dtype, memory_format):
    augment, img = AdaptiveAugmentation(groups=GROUPS, p=0.7), images().to(dtype)
    torch.manual_seed(1)
    expected = augment(img.float()).to(dtype)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        out = augment(img.contiguous(memory_format=memory_format))
    assert out.dtype == dtype and out.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_differentiable_twice(channels):
    augment = AdaptiveAugmentation(groups=GROUPS, p=0.7)

    def augmented(img: Tensor) -> Tensor:
        torch.manual_seed(1)
        return augment(img)

    img = images(2, channels, 4, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(augmented, img)

    # The transforms are affine, so their own second derivative says little: differentiate what they depend on as well.
    def gradient_of_score(img: Tensor, weight: Tensor) -> Tensor:
        score = (augmented(img) * weight).tanh().sum()
        return torch.autograd.grad(score, img, create_graph=True)[0]

    weight = torch.rand_like(img).requires_grad_()
    assert torch.autograd.gradcheck(gradient_of_score, (img, weight))


def test_r1_through_all_groups_reaches_the_weights_of_d():
    D = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Flatten(), nn.LazyLinear(1))
    img = images().requires_grad_()
    score = D(AdaptiveAugmentation(groups=GROUPS, p=1)(img)).sum()
    (gradient,) = torch.autograd.grad(score, img, create_graph=True)
    gradient.square().sum().backward()
    for name, parameter in D.named_parameters():
        if name != "3.bias":  # adds to the score, not to its gradient
            assert parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0


def test_works_inside_torch_func():
    img, inverse = images(2, 3, 8), rotation(20).expand(2, 2, 3)

    def score(x: Tensor) -> Tensor:
        return warp(x, inverse, TAPS).pow(3).sum()

    leaf = img.clone().requires_grad_()
    torch.testing.assert_close(torch.func.grad(score)(img), torch.autograd.grad(score(leaf), leaf)[0])


# p


def test_p_rises_while_d_is_too_sure():
    augment = AdaptiveAugmentation()
    assert augment.adapts_every == 4
    for _ in range(3):
        augment.adapt(torch.tensor([5.0, 1.0, 1.0, 0.1]), 1000)
    assert augment.p.item() == pytest.approx(3 * 1000 / 500_000)
    augment.adapt(torch.tensor([9.0, 1.0, 1.0, -0.1]), 500)  # mean sign 0.5: below the target of 0.6
    assert augment.p.item() == pytest.approx(2500 / 500_000)


def test_p_stays_a_probability():
    augment = AdaptiveAugmentation(p_start=0.5, ada_kimg=1)
    augment.adapt(torch.ones(4, 1), 700)
    assert augment.p == 1
    augment.adapt(-torch.ones(4, 1), 1500)
    assert augment.p == 0


def test_p_stays_below_its_bound():
    augment = AdaptiveAugmentation(p_start=0.25, p_max=0.5, ada_kimg=1)
    augment.adapt(torch.ones(4, 1), 125)
    assert augment.p == 0.375
    augment.adapt(torch.ones(4, 1), 700)
    assert augment.p == 0.5
    augment.adapt(-torch.ones(4, 1), 125)
    assert augment.p == 0.375


def test_fixed_p_does_not_adapt():
    augment = AdaptiveAugmentation(p=0.25)
    augment.adapt(torch.ones(4), 100_000)
    assert augment.p == 0.25 and augment.adapts_every == 0


def test_p_is_all_that_is_saved():
    saved = AdaptiveAugmentation(p_start=0.375).state_dict()
    assert set(saved) == {"p"} and saved["p"].dtype == torch.float32
    other = AdaptiveAugmentation()
    other.load_state_dict(saved)
    assert other.p == 0.375


def test_refusals():
    for bounds in ({"p_start": 0.1}, {"p_max": 0.8}):
        with pytest.raises(ValueError, match="p_start and p_max have no meaning"):
            AdaptiveAugmentation(p=0.5, **bounds)
    with pytest.raises(ValueError, match="above p_max, which is"):
        AdaptiveAugmentation(p_start=0.5, p_max=0.4)
    with pytest.raises(ValueError, match="1, 3, 4 channels"):
        AdaptiveAugmentation()(images(2, 2))
    with pytest.raises(ValueError, match="6 channels"):
        AdaptiveAugmentation().check(None, SimpleNamespace(img_channels=6))


# Geometry


def test_flips_and_quarter_turns_are_exact():
    img = images(3)
    flips = affine(-1, 0, 0, 0, 1, 0, n=3)
    assert torch.equal(move_pixels(img, flips), img.flip(3))
    quarter = affine(0, -1, 0, 1, 0, 0, n=3)  # (1, 0), right of the centre, comes from (0, 1), below it
    assert torch.equal(move_pixels(img, quarter), img.rot90(1, (2, 3)))
    assert torch.equal(move_pixels(img, compose(quarter, quarter, quarter)), img.rot90(3, (2, 3)))


def test_shift_moves_pixels_and_reflects():
    img = images(2, size=8)
    out = move_pixels(img, affine(1, 0, -3, 0, 1, 2, n=2))  # 3 to the right, 2 up
    assert torch.equal(out, F.pad(img, (3, 0, 0, 2), mode="reflect")[:, :, 2:, :8])


def test_far_places_are_reflected_again_and_again():
    img = images(1, size=4)
    once = torch.cat([img, img[..., [2, 1]]], dim=3)  # period 6
    out = move_pixels(img, affine(1, 0, 14, 0, 1, 0))
    assert torch.equal(out, once.repeat(1, 1, 1, 4)[..., 14:18])


def test_composition_applies_the_last_map_first():
    a, b = torch.randn(2, 5, 2, 3)
    place = torch.randn(5, 2, 1)

    def apply(m: Tensor, x: Tensor) -> Tensor:
        return m[:, :, :2] @ x + m[:, :, 2:]

    torch.testing.assert_close(apply(compose(a, b), place), apply(a, apply(b, place)))


def test_blit_draws():
    augment = AdaptiveAugmentation(p=0.5)
    maps = augment._draw_blit(images(20_000, 1, 16))
    linear, shift = maps[:, :, :2], maps[:, :, 2]
    assert set(linear.unique().tolist()) == {-1, 0, 1}
    assert (torch.linalg.det(linear) < 0).float().mean() == pytest.approx(0.25, abs=0.015)  # p, and half of those
    turned = linear[:, 0, 0] == 0  # a quarter or three: half of p
    assert turned.float().mean() == pytest.approx(0.25, abs=0.015)
    assert set(shift.unique().tolist()) == {-2, -1, 0, 1, 2}  # an eighth of 16
    unshifted = (shift == 0).all(dim=1).float().mean().item()
    assert unshifted == pytest.approx(0.5 + 0.5 / 16, abs=0.015)


def test_geometric_draws():
    augment = AdaptiveAugmentation(p=0.3)
    maps = augment._draw_geom(images(30_000, 1, 16))
    linear, shift = maps[:, :, :2], maps[:, :, 2]
    rotated = linear[:, 0, 1] != 0
    assert rotated.float().mean() == pytest.approx(0.3, abs=0.015)  # by one or both of the rotations

    pure = rotated & ((linear @ linear.mT - torch.eye(2)).abs().amax(dim=(1, 2)) < 1e-5)
    angles = torch.atan2(linear[pure, 1, 0], linear[pure, 0, 0]).sort().values / (2 * math.pi) + 0.5
    steps = (torch.arange(len(angles)) + 0.5) / len(angles)
    assert len(angles) > 2000 and (angles - steps).abs().max() < 1.95 / len(angles) ** 0.5  # Kolmogorov-Smirnov

    log_area = -torch.linalg.det(linear).log2() / 2
    scaled = log_area.abs() > 1e-5
    assert scaled.float().mean() == pytest.approx(0.3, abs=0.015)
    assert log_area[scaled].std() == pytest.approx(0.2, abs=0.01)

    shifted = (shift != 0).any(dim=1)
    assert shifted.float().mean() == pytest.approx(0.3, abs=0.015)
    still = shifted & ~scaled & ~rotated & (linear == torch.eye(2)).all(dim=2).all(dim=1)
    assert shift[still].std().item() == pytest.approx(0.125 * 16, rel=0.05)


def test_warp_by_nothing_gives_the_image_back():
    img = images()
    torch.testing.assert_close(warp(img, affine(1, 0, 0, 0, 1, 0, n=8), TAPS), img, atol=5e-5, rtol=0)


def picture(x: Tensor, y: Tensor) -> Tensor:
    """A smooth picture without symmetry; x and y in pixels from the centre."""
    return torch.sin(0.25 * x + 0.1 * y) + 0.5 * torch.cos(0.15 * x - 0.3 * y + 1) - 0.02 * x


MAPS = {
    "shift by a whole pixel": affine(1, 0, 2, 0, 1, -1),
    "shift by half a pixel": affine(1, 0, 0.5, 0, 1, 0),
    "mirror": affine(-1, 0, 0, 0, 1, 0),
    "quarter turn": rotation(90),
    "turn by 33 degrees": rotation(33),
    "larger": affine(0.7, 0, 0, 0, 0.7, 0),
    "everything": compose(affine(-0.9, 0, 0, 0, 1.2, 0), rotation(-70), affine(1, 0, 1.3, 0, 1, -2.7)),
}


@pytest.mark.parametrize("name", MAPS)
def test_warped_picture_is_the_picture_at_warped_places(name):
    """Within the error of bilinear lookup; an offset of a quarter of a pixel would be ten times that."""
    inverse, half = MAPS[name], 15.5
    y, x = torch.meshgrid(torch.arange(32) - half, torch.arange(32) - half, indexing="ij")
    out = warp(picture(x, y)[None, None], inverse, TAPS)[0, 0]
    u, v = (row[0] * x + row[1] * y + row[2] for row in inverse[0])
    inner = (u.abs() < half - 4) & (v.abs() < half - 4) & (x.abs() < half - 4) & (y.abs() < half - 4)
    assert inner.sum() > 200
    assert (out - picture(u, v))[inner].abs().max() < 0.01


def test_warp_reflects_at_the_borders():
    """A picture that is its own reflection, moved so far that half of it comes from beyond."""
    y, x = torch.meshgrid(torch.arange(33.0), torch.arange(33.0), indexing="ij")

    def wave(x: Tensor, y: Tensor) -> Tensor:
        return torch.cos(math.pi / 16 * x) + torch.cos(math.pi / 32 * y)

    out = warp(wave(x, y)[None, None], affine(1, 0, 40.3, 0, 1, -20.6), TAPS)[0, 0]
    torch.testing.assert_close(out, wave(x + 40.3, y - 20.6), atol=0.02, rtol=0)


def test_wavelet_filters():
    for taps, moments in ((SYM2, 2), (SYM6, 6)):
        assert len(taps) == 2 * moments
        shifted = [np.dot(taps[2 * k :], taps[: len(taps) - 2 * k]) for k in range(moments)]
        np.testing.assert_allclose(shifted, np.eye(moments)[0], atol=1e-11)
        i = np.arange(len(taps))
        np.testing.assert_allclose([np.dot((-1.0) ** i * i**k, taps) for k in range(moments)], 0, atol=1e-8)


# Colours


def paper_matrix(brightness: float, contrast: float, flip: bool, hue: float, saturation: float) -> Tensor:
    """The product of the paper's homogeneous matrices."""
    eye = torch.eye(4)
    v = torch.tensor([1.0, 1, 1, 0]) / 3**0.5
    along = v[:, None] * v
    cross = torch.zeros(4, 4)
    cross[:3, :3] = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5
    translate = eye.clone()
    translate[:3, 3] = brightness
    scale = torch.diag(torch.tensor([contrast] * 3 + [1.0]))
    mirror = eye - 2 * along * flip
    rotate = torch.linalg.matrix_exp(hue * cross)
    saturate = along + (eye - along) * torch.tensor([saturation] * 3 + [1.0])
    return saturate @ rotate @ mirror @ scale @ translate


def paper_arguments(brightness: float, contrast: float, flip: bool, hue: float, saturation: float) -> dict[str, Tensor]:
    luma = contrast * (-1 if flip else 1)
    values = {"luma": luma, "chroma": contrast * saturation, "hue": hue, "shift": brightness * luma}
    return {name: torch.tensor([float(value)]) for name, value in values.items()}


COLOURS = [
    (0.2, 1.0, False, 0.0, 1.0),
    (0.0, 1.7, False, 0.0, 1.0),
    (0.0, 1.0, True, 0.0, 1.0),
    (0.0, 1.0, False, 2.1, 1.0),
    (0.0, 1.0, False, 0.0, 0.4),
    (-0.3, 0.6, True, -1.3, 1.9),
]


@pytest.mark.parametrize("colour", COLOURS)
def test_colours_are_the_papers_matrices(colour):
    img = images(1)
    expected = torch.einsum("ij,njhw->nihw", paper_matrix(*colour), F.pad(img, (0, 0, 0, 0, 0, 1), value=1))[:, :3]
    torch.testing.assert_close(recolour(img, **paper_arguments(*colour)), expected)
    grey = images(1, 1)
    expected = torch.einsum("ij,njhw->nihw", paper_matrix(*colour)[:3, :3], grey.expand(-1, 3, -1, -1))
    out = recolour(grey, **paper_arguments(*colour)) - paper_matrix(*colour)[0, 3]
    torch.testing.assert_close(out, expected[:, :1])


@pytest.mark.parametrize("flip", [False, True])
def test_hue_and_luma_flip_keep_lengths_and_the_grey_axis(flip):
    basis = torch.cat([torch.eye(3), torch.ones(3, 1)], dim=1).reshape(1, 3, 2, 2)
    out = recolour(basis, **paper_arguments(0, 1, flip, 0.8, 1)).reshape(3, 4)
    torch.testing.assert_close(out[:, :3] @ out[:, :3].T, torch.eye(3))
    torch.testing.assert_close(out[:, 3], torch.full((3,), -1.0 if flip else 1.0))


@pytest.mark.parametrize("colour", COLOURS)
def test_premultiplied_colours_change_as_straight_ones(colour):
    straight, alpha = images(1), torch.rand(1, 1, 16, 16)
    alpha[..., :4], alpha[..., 4:8] = 0, 1

    def premultiplied(straight: Tensor) -> Tensor:
        return torch.cat([(straight + 1) * alpha, 2 * alpha], dim=1) - 1

    arguments = paper_arguments(*colour)
    out = recolour(premultiplied(straight), **arguments)
    torch.testing.assert_close(out, premultiplied(recolour(straight, **arguments)), atol=1e-5, rtol=0)
    torch.testing.assert_close(out[..., :4], torch.full((1, 4, 16, 4), -1.0), atol=1e-6, rtol=0)


def test_colour_draws():
    n, p = 20_000, 0.4
    img = torch.tensor([0.6, 0.0, -0.3]).reshape(1, 3, 1, 1).repeat(n, 1, 1, 1)
    out = AdaptiveAugmentation(groups=["color"], p=p)(img)
    assert (out == img).flatten(1).all(dim=1).float().mean() == pytest.approx((1 - p) ** 4 * (1 - p / 2), abs=0.01)
    # Only contrast, flip and brightness move the mean, 0.1, and only the flip changes its sign on average.
    mean = 0.1 * (1 - p + p * math.exp((0.5 * math.log(2)) ** 2 / 2)) * (1 - 2 * p / 2)
    assert out.mean().item() == pytest.approx(mean, abs=0.005)


def test_colour_strengths():
    grey, colour = torch.zeros(20_000, 3, 1, 1), torch.tensor([1.0, -0.5, -0.5]).reshape(3, 1, 1)
    augment = AdaptiveAugmentation(groups=["color"], p=1)
    shift = augment(grey)[:, 0, 0, 0]  # brightness, times contrast, which has a second moment of exp(2 s^2)
    assert shift.std().item() == pytest.approx(0.2 * math.exp((0.5 * math.log(2)) ** 2), rel=0.04)
    out = augment(grey + colour)[:, :, 0, 0]
    luma = out.mean(dim=1)
    x = out[:, 0] - luma
    y = (out[:, 2] - out[:, 1]) / 3**0.5  # the axis at a right angle, as long
    strength = torch.hypot(x, y).log2()
    assert strength.mean().item() == pytest.approx(0, abs=0.03)
    assert strength.std().item() == pytest.approx((0.5**2 + 1) ** 0.5, rel=0.03)  # contrast and saturation
    angles = torch.atan2(y, x).sort().values / (2 * math.pi) + 0.5
    assert (angles - (torch.arange(20_000) + 0.5) / 20_000).abs().max() < 1.95 / 20_000**0.5  # Kolmogorov-Smirnov


# Filters, noise, cutout


def test_bands_are_those_of_the_closed_form():
    """Half of sym2's autocorrelation is the maximally flat half-band filter, cos^4 (1 + 2 sin^2) of w / 2."""
    w = np.linspace(0, np.pi, 101)

    def low(w: np.ndarray) -> np.ndarray:
        return np.cos(w / 2) ** 4 * (1 + 2 * np.sin(w / 2) ** 2)

    expected = [
        low(w) * low(2 * w) * low(4 * w),
        low(w) * low(2 * w) * (1 - low(4 * w)),
        low(w) * (1 - low(2 * w)),
        1 - low(w),
    ]
    taps = np.array(band_filters())
    assert taps.shape == (4, 43)
    np.testing.assert_allclose(taps @ np.cos(np.outer(np.arange(43) - 21, w)), expected, atol=1e-12)
    np.testing.assert_allclose(taps.sum(axis=0), np.eye(43)[21], atol=1e-12)


@pytest.mark.parametrize("size", [4, 32])
def test_filter_is_separable_convolution_with_reflection(size):
    img, kernels = images(2, 3, size), torch.randn(2, 43)
    index = (size - 1) - np.abs(np.arange(-21, size + 21) % (2 * size - 2) - (size - 1))
    expected = [
        [np.array([np.convolve(row, k[::-1], "valid") for row in channel[index][:, index]]) for channel in one]
        for one, k in zip(img.numpy(), kernels.numpy(), strict=True)
    ]
    expected = [
        [np.array([np.convolve(column, k[::-1], "valid") for column in channel.T]).T for channel in one]
        for one, k in zip(expected, kernels.numpy(), strict=True)
    ]
    torch.testing.assert_close(filter_separable(img, kernels), torch.tensor(np.array(expected)), atol=1e-3, rtol=1e-4)


def test_band_gains_are_those_of_one_band_after_the_other():
    power, factors = torch.tensor(BAND_POWER), torch.randn(5, 4).exp2()
    for row, gains in zip(factors, band_gains(factors, power), strict=True):
        expected = torch.ones(4)
        for i in range(4):
            one = torch.ones(4)
            one[i] = row[i]
            expected *= one / (power * one.square()).sum().sqrt()
        torch.testing.assert_close(gains, expected)


def test_filter_draws():
    """A constant meets the lowest band alone, in both directions."""
    out = AdaptiveAugmentation(groups=["filter"], p=0.3)(torch.ones(4000, 1, 2, 2))[:, 0, 0, 0]
    assert (out == 1).float().mean() == pytest.approx(0.7**4, abs=0.03)
    most = 13 / 10 * (13 / 12) ** 3  # it has 10/13 of the power; and each of the others, when weakened, leaves it more
    assert out.min() < 0.5 and 1.3 < out.max() < most


def test_transparent_stays_transparent():
    empty = torch.full((8, 4, 16, 16), -1.0)
    out = AdaptiveAugmentation(groups=GROUPS, p=1)(empty)
    torch.testing.assert_close(out, empty, atol=1e-4, rtol=0)


def test_no_colour_appears_where_there_is_no_alpha():
    img = images(8, 4)
    for group in ("blit", "color", "noise", "cutout"):
        out = AdaptiveAugmentation(groups=[group], p=1)(img)
        transparent = (out[:, 3:] == -1).expand(-1, 3, -1, -1)
        assert transparent.float().mean() > 0.3
        torch.testing.assert_close(out[:, :3][transparent], torch.full((int(transparent.sum()),), -1.0))


def test_noise_strength_is_half_normal():
    out = AdaptiveAugmentation(groups=["noise"], p=1)(torch.zeros(4000, 3, 8, 8))
    strengths = out.flatten(1).std(dim=1)
    assert strengths.mean().item() == pytest.approx(0.1 * (2 / math.pi) ** 0.5, abs=0.005)
    assert strengths.square().mean().item() == pytest.approx(0.01, abs=0.001)


@pytest.mark.parametrize(("channels", "empty"), [(1, 0), (3, 0), (4, -1)])
def test_cutout_is_a_square_of_half_the_size(channels, empty):
    img = torch.full((500, channels, 16, 16), 0.5)
    out = AdaptiveAugmentation(groups=["cutout"], p=1)(img)
    cut = out[:, -1] == empty
    assert torch.equal(out, torch.where(cut[:, None], float(empty), img))
    rows, columns = cut.any(dim=2).sum(dim=1), cut.any(dim=1).sum(dim=1)
    assert torch.equal(cut.sum(dim=(1, 2)), rows * columns)
    assert rows.max() == columns.max() == 8 and rows.min() == columns.min() == 4  # half may lie outside
    assert rows.float().mean() == pytest.approx(7, abs=0.2)
