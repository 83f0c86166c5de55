"""SWD and MS-SSIM against closed forms, and against slow implementations written here from the papers' formulas."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

import ganzoo_progan
from ganzoo import DataError
from ganzoo.testing import registered
from ganzoo_progan import ms_ssim as ms_ssim_module
from ganzoo_progan import swd as swd_module
from ganzoo_progan.image_sets import filter_separable, read_chunks
from ganzoo_progan.ms_ssim import WEIGHTS, MultiScaleSSIM, ms_ssim, num_scales
from ganzoo_progan.swd import (
    SlicedWasserstein,
    expand,
    extract_patches,
    laplacian_pyramid,
    patches_at,
    sliced_wasserstein,
)

CIFAR = Path(__file__).resolve().parents[4] / "shared" / "data" / "cifar10.zip"


class Held:
    """An ImageSet in memory that writes down what is asked of it."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels
        self.asked: list[list[int]] = []

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        self.asked.append(list(indices))
        return self.pixels[list(indices)]


def textures(n: int, resolution: int = 32, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth random images, uint8 [n, channels, resolution, resolution], values about 50 to 200."""
    random = np.random.RandomState(seed)
    y, x = np.mgrid[:resolution, :resolution] / resolution
    f, g, phase = random.uniform(0, 5, (3, n, channels, 1, 1))
    return (125 + 35 * np.sin(2 * np.pi * (f * x + g * y + phase)) + 10 * random.randn(n, channels, 1, 1)).astype(
        np.uint8
    )


def swd(fake: np.ndarray, real: np.ndarray) -> dict[str, float]:
    return SlicedWasserstein().compute(Held(fake), Held(real))


def similarity(images: np.ndarray) -> float:
    return MultiScaleSSIM().compute(Held(images), None)["ms-ssim"]


def test_registered():
    metrics = {entry.name: entry.cls for entry in registered(ganzoo_progan) if entry.kind == "metric"}
    assert metrics == {"swd": SlicedWasserstein, "ms-ssim": MultiScaleSSIM}
    assert list(SlicedWasserstein.results)[:3] == ["swd", "swd_16", "swd_32"]


# --- SWD: the pyramid ---


def test_pyramid_gives_the_images_back():
    images = torch.from_numpy(textures(3, 128)).float()
    *bands, image = laplacian_pyramid(images)
    assert [band.shape[-1] for band in bands] == [128, 64, 32] and image.shape[-1] == 16
    for band in reversed(bands):
        image = expand(image) + band
    torch.testing.assert_close(image, images, rtol=0, atol=1e-3)


def test_flat_images_have_no_detail():
    *bands, coarsest = laplacian_pyramid(torch.full((1, 3, 64, 64), 77.0))
    assert all(not band.any() for band in bands)
    assert (coarsest == 77).all()


def test_pyramid_of_one_bright_pixel():
    """An impulse far from the borders: its reduction is the kernel's even taps, [1, 6, 1] / 16 each way."""
    image = torch.zeros(1, 1, 32, 32)
    image[..., 16, 16] = 256
    fine, coarse = laplacian_pyramid(image)
    expected = torch.zeros(16, 16)
    expected[7:10, 7:10] = torch.tensor([1.0, 6.0, 1.0]).outer(torch.tensor([1.0, 6.0, 1.0]))
    assert torch.equal(coarse[0, 0], expected)
    # Expanding it, even places take [1, 6, 1] / 8 of their neighbours each way.
    assert fine[0, 0, 16, 16] == 256 - ((1 * 1 + 6 * 6 + 1 * 1) / 8) ** 2


def test_pyramid_against_slow_convolution():
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256

    def blur(image: np.ndarray) -> np.ndarray:
        padded = np.pad(image, 2, mode="reflect")
        return np.array(
            [[(padded[i : i + 5, j : j + 5] * kernel).sum() for j in range(len(image))] for i in range(len(image))]
        )

    image = textures(1, 32, 1)[0, 0].astype(np.float64)
    small = blur(image)[::2, ::2]
    spread = np.zeros((32, 32))
    spread[::2, ::2] = small
    fine, coarse = laplacian_pyramid(torch.from_numpy(image)[None, None].float())
    np.testing.assert_allclose(coarse[0, 0].numpy(), small, atol=1e-4)
    np.testing.assert_allclose(fine[0, 0].numpy(), image - 4 * blur(spread), atol=1e-4)


# --- SWD: patches ---


def test_patches_of_a_known_image():
    image = torch.arange(2 * 16 * 16.0).reshape(1, 2, 16, 16)
    patches = patches_at(image, torch.tensor([[0, 9, 10, 99]]))  # 10 x 10 corners
    assert patches.shape == (1, 4, 2, 49)
    for patch, (y, x) in zip(patches[0], [(0, 0), (0, 9), (1, 0), (9, 9)], strict=True):
        assert torch.equal(patch.reshape(2, 7, 7), image[0, :, y : y + 7, x : x + 7])


def test_patches_cover_their_level():
    image = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    patches = extract_patches(Held(np.repeat(image, 40, axis=0)), 40, [16])[16]
    assert patches.shape == (40 * 128, 1, 49)
    assert len(patches[:, 0, 0].unique()) == 100  # every corner was drawn
    window = 16 * torch.arange(7.0)[:, None] + torch.arange(7.0)
    assert torch.equal(patches[:, 0], patches[:, 0, :1] + window.flatten())


def test_every_image_gives_128_patches_a_level():
    images = np.full((200, 1, 32, 32), np.arange(200)[:, None, None, None], np.uint8)
    patches = extract_patches(Held(images), 200, [32, 16])
    assert torch.equal(patches[16], torch.arange(200.0).repeat_interleave(128)[:, None, None].expand(-1, 1, 49))
    assert torch.equal(patches[32], torch.zeros(200 * 128, 1, 49))


# --- SWD: the distance ---


def slow_sliced_wasserstein(a: np.ndarray, b: np.ndarray) -> float:
    """float64, one direction at a time: patches [N, C, 49]."""

    def normalise(patches: np.ndarray) -> np.ndarray:
        channels = [patches[:, c] for c in range(patches.shape[1])]
        return np.concatenate([(x - x.mean()) / x.std() for x in channels], axis=1)

    a, b = normalise(a.astype(np.float64)), normalise(b.astype(np.float64))
    directions = np.random.RandomState([0, 0]).standard_normal((512, a.shape[1]))
    distances = []
    for d in directions:
        d = d / math.sqrt(sum(d**2))
        distances.append(np.abs(np.sort(a @ d) - np.sort(b @ d)).mean())
    return float(np.mean(distances))


@pytest.mark.parametrize("channels", [1, 3])
def test_distance_against_slow_implementation(channels):
    random = np.random.RandomState(1)
    a = random.gamma(2.0, 20.0, (700, channels, 49))
    b = random.normal(90, 30, (700, channels, 49))
    expected = slow_sliced_wasserstein(a, b)
    ours = sliced_wasserstein(torch.from_numpy(a).float(), torch.from_numpy(b).float())
    assert ours == pytest.approx(expected, rel=1e-5)


def test_projections_of_gaussians():
    """White noise on all pixels against white noise on every other one: each projection is a centred Gaussian, and W1
    of two of them is sqrt(2 / pi) times the difference of their standard deviations.
    """
    random = torch.Generator().manual_seed(0)
    white = torch.randn(20_000, 1, 49, generator=random)
    halved = torch.randn(20_000, 1, 49, generator=random)
    halved[..., ::2] = 0
    directions = torch.from_numpy(np.random.RandomState([0, 0]).standard_normal((512, 49)))
    directions /= directions.norm(dim=1, keepdim=True)
    std = (directions[:, 1::2].square().sum(1) * 49 / 24).sqrt()
    expected = math.sqrt(2 / math.pi) * (std - 1).abs().mean()
    assert sliced_wasserstein(white, halved) == pytest.approx(float(expected), rel=0.05)


def test_number_of_projections_at_once_does_not_matter(monkeypatch):
    a, b = (torch.randn(300, 3, 49, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    whole = sliced_wasserstein(a.clone(), b.clone())
    monkeypatch.setattr(swd_module, "_PROJECTIONS_AT_ONCE", 7 * 300)
    assert sliced_wasserstein(a, b) == pytest.approx(whole, rel=1e-6)


# --- SWD: the metric ---


def test_identical_sets_are_at_distance_zero():
    images = textures(20, 64)
    assert swd(images, images) == {"swd": 0, "swd_16": 0, "swd_32": 0, "swd_64": 0}


def test_shift_in_colour_and_contrast_does_not_count():
    images = textures(20) // 2 * 2
    shifted = images.copy()
    shifted[:, 0] += 30  # a tint
    shifted[:, 1] //= 2  # less contrast
    assert all(value < 1e-3 for value in swd(shifted, images).values())
    mirrored = 255 - images[..., ::-1]
    assert swd(mirrored, images)["swd"] > 1


def test_flat_images_give_numbers():
    black = np.zeros((4, 3, 32, 32), np.uint8)
    assert swd(black, black + 9) == {"swd": 0, "swd_16": 0, "swd_32": 0}
    assert 0 < swd(black, textures(4))["swd"] < 1000


def test_value_is_a_thousand_times_the_mean_distance_of_the_patches():
    fake, real = textures(12, seed=1), textures(12, seed=2)
    expected = {}
    for level in (16, 32):
        patches = [extract_patches(Held(images), 12, [level])[level] for images in (fake, real)]
        expected[f"swd_{level}"] = 1000 * slow_sliced_wasserstein(*(p.numpy() for p in patches))
    expected["swd"] = (expected["swd_16"] + expected["swd_32"]) / 2
    assert swd(fake, real) == pytest.approx(expected, rel=1e-4)


def test_levels_in_turn_give_the_same(monkeypatch):
    fake, real = Held(textures(8, 64, seed=1)), Held(textures(8, 64, seed=2))
    together = SlicedWasserstein().compute(fake, real)
    monkeypatch.setattr(swd_module, "_PATCH_BYTES", 1)
    reads = len(fake.asked)
    assert SlicedWasserstein().compute(fake, real) == together
    assert len(fake.asked) > 2 * reads


def test_sets_are_thinned_evenly_and_read_in_order():
    real = Held(textures(40))
    fake = Held(textures(10, seed=1))
    metric = SlicedWasserstein(max_samples=20)
    values = metric.compute(fake, real)
    assert values == swd(fake.pixels, real.pixels[::4])
    assert metric.settings_for(10, 40) == {"num_images": 10}
    assert metric.settings_for(50, 40) == {"num_images": 20}
    assert real.asked[-1] == list(range(0, 40, 4))


def test_fineness_of_a_change_shows_at_its_level():
    """Independent noise in single pixels is a matter of the finest level."""
    images = textures(40, 64)
    noisy = (images + np.random.RandomState(0).normal(0, 6, images.shape)).astype(np.uint8)
    values = swd(noisy, images)
    assert values["swd_64"] > 3 * values["swd_32"] > 3 * values["swd_16"]


def test_sets_that_cannot_be_compared():
    with pytest.raises(DataError, match=r"32 px with 3 channels.*32 px with 1"):
        swd(textures(4), textures(4, channels=1))
    with pytest.raises(DataError, match=r"32 px.*64 px"):
        swd(textures(4), textures(4, 64))
    with pytest.raises(DataError, match=r"48 px.*16, 32, 64"):
        swd(textures(4, 48), textures(4, 48))


# --- MS-SSIM ---


def slow_ms_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Two images [C, R, R], pixel by pixel in float64, from the formulas of Wang et al. 2003."""
    scales = num_scales(x.shape[-1])
    weights = np.array(WEIGHTS[:scales]) * (1.0001 / sum(WEIGHTS[:scales]))
    x, y, result = x.astype(np.float64), y.astype(np.float64), 1.0
    for scale in range(scales):
        resolution = x.shape[-1]
        size = min(11, resolution)
        at = np.arange(size) - (size - 1) / 2
        window = np.exp(-(at[:, None] ** 2 + at**2) / (2 * (1.5 * size / 11) ** 2))
        window /= window.sum()
        ls, css = [], []
        for c in range(len(x)):
            for i in range(resolution - size + 1):
                for j in range(resolution - size + 1):
                    p, q = x[c, i : i + size, j : j + size], y[c, i : i + size, j : j + size]
                    mp, mq = (window * p).sum(), (window * q).sum()
                    vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
                    cov = (window * (p - mp) * (q - mq)).sum()
                    ls.append((2 * mp * mq + 2.55**2) / (mp**2 + mq**2 + 2.55**2))
                    css.append((2 * cov + 7.65**2) / (vp + vq + 7.65**2))
        last = scale == scales - 1
        value = np.mean(np.array(ls) * np.array(css)) if last else np.mean(css)
        result *= max(value, 0) ** weights[scale]
        x, y = ((z[:, ::2, ::2] + z[:, 1::2, ::2] + z[:, ::2, 1::2] + z[:, 1::2, 1::2]) / 4 for z in (x, y))
    return result


@pytest.mark.parametrize(("resolution", "channels"), [(32, 3), (8, 1), (64, 1)])
def test_ms_ssim_against_slow_implementation(resolution, channels):
    x, y = textures(2, resolution, channels)
    y = (0.6 * x + 0.4 * y).astype(np.uint8)
    expected = slow_ms_ssim(x, y)
    assert 0.05 < expected < 0.95
    ours = ms_ssim(torch.from_numpy(x)[None].float(), torch.from_numpy(y)[None].float())
    assert float(ours) == pytest.approx(expected, rel=1e-4)


def test_filter_is_the_correlation_with_the_outer_product():
    x = torch.randn(2, 3, 12, 9, dtype=torch.float64)
    taps = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    expected = torch.nn.functional.conv2d(x.flatten(0, 1)[:, None], taps.outer(taps)[None, None]).view(2, 3, 10, 7)
    torch.testing.assert_close(filter_separable(x, taps.tolist()), expected)


def test_image_with_itself():
    x = torch.from_numpy(textures(5, 128)).float()
    assert torch.equal(ms_ssim(x, x), torch.ones(5))
    assert similarity(np.repeat(textures(1), 7, axis=0)) == 1


def test_shift_in_luminance_alone():
    """Flat images a and b: structure is 1, so the coarsest scale's luminance term is all there is."""
    a, b, c1 = 60.0, 140.0, 2.55**2
    values = ms_ssim(torch.full((1, 3, 32, 32), a), torch.full((1, 3, 32, 32), b))
    weight = WEIGHTS[2] / sum(WEIGHTS[:3]) * sum(WEIGHTS)
    assert float(values) == pytest.approx(((2 * a * b + c1) / (a * a + b * b + c1)) ** weight, rel=1e-4)


def test_opposites_count_as_zero():
    x = torch.from_numpy(textures(1, 32)).float()
    assert float(ms_ssim(x, 255 - x)) == 0


@pytest.mark.parametrize(("resolution", "scales"), [(4, 1), (8, 1), (16, 2), (32, 3), (64, 4), (128, 5), (1024, 5)])
def test_scales_end_at_8_px(resolution, scales):
    assert num_scales(resolution) == scales


def test_mean_is_over_neighbours_in_a_fixed_random_order(monkeypatch):
    images = textures(23, 16)
    order = np.random.RandomState(0).permutation(23)
    x, y = (torch.from_numpy(images[part]).float() for part in (order[:-1], order[1:]))
    expected = float(ms_ssim(x, y).mean())
    assert similarity(images) == pytest.approx(expected, rel=1e-5)
    monkeypatch.setattr(ms_ssim_module, "_HELD_BYTES", 5 * images[0].size)
    monkeypatch.setattr(ms_ssim_module, "images_at_once", lambda size: 3)
    held = Held(images)
    assert MultiScaleSSIM().compute(held, None)["ms-ssim"] == pytest.approx(expected, rel=1e-5)
    assert all(asked == sorted(asked) and len(asked) <= 5 for asked in held.asked)


def test_number_of_pairs():
    metric = MultiScaleSSIM(num_pairs=4)
    assert metric.settings_for(100, 0) == {"num_pairs": 4}
    assert metric.settings_for(3, 0) == {"num_pairs": 2}
    images = Held(textures(12))
    metric.compute(images, None)
    assert len({index for asked in images.asked for index in asked}) == 5


def test_chunks_cover_all_images_in_order():
    images = Held(textures(600, 16, 1))
    chunks = list(read_chunks(images, np.arange(600)))
    assert len(chunks) == 3
    np.testing.assert_array_equal(torch.cat(chunks).numpy(), images.pixels)


# --- real images ---


@pytest.fixture(scope="module")
def cifar() -> np.ndarray:
    """1200 images of CIFAR-10, spread over the classes in random order."""
    if not CIFAR.is_file():
        pytest.skip("shared/data/cifar10.zip is not beside this checkout")
    with zipfile.ZipFile(CIFAR) as archive:
        names = [name for name, _ in json.loads(archive.read("dataset.json"))["labels"]]
        chosen = np.random.RandomState(0).permutation(len(names))[:1200]
        images = [np.asarray(Image.open(io.BytesIO(archive.read(names[i]))).convert("RGB")) for i in chosen]
    return np.moveaxis(np.stack(images), -1, 1)


def blurred(images: np.ndarray) -> np.ndarray:
    pictures = [Image.fromarray(np.moveaxis(image, 0, -1)).filter(ImageFilter.GaussianBlur(1)) for image in images]
    return np.stack([np.moveaxis(np.asarray(picture), -1, 0) for picture in pictures])


def test_swd_orders_spoilt_images(cifar):
    real, other = cifar[:50], cifar[50:100]
    floor = swd(other, real)
    blur = swd(blurred(other), real)
    collapsed = swd(np.repeat(other[:1], 50, axis=0), real)
    assert 0 < floor["swd"] < blur["swd"] < collapsed["swd"]
    assert blur["swd_32"] > 2 * floor["swd_32"]  # blur is a loss of fine detail
    assert collapsed["swd_16"] > 2 * floor["swd_16"]  # collapse shows at every scale


def test_noise_floor_falls_with_the_number_of_images(cifar):
    few, more = (swd(cifar[:n], cifar[600 : 600 + n])["swd"] for n in (10, 60))
    assert more < 0.7 * few


def test_ms_ssim_orders_collapse(cifar):
    half, other = similarity(cifar[:600]), similarity(cifar[600:])
    few = similarity(np.repeat(cifar[:5], 120, axis=0))
    assert half == pytest.approx(other, abs=0.02)
    assert few > half + 0.1
