from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ganzoo.data.fit import Fit, mip_levels
from ganzoo.errors import DataError


def stripes(height: int, width: int) -> np.ndarray:
    """Red left third, green middle, blue right third."""
    image = np.zeros((height, width, 3), np.uint8)
    for i in range(3):
        image[:, width * i // 3 : width * (i + 1) // 3, i] = 255
    return image


def test_right_size_is_not_touched(pixels):
    image = pixels(0, 16)
    assert (Fit(16, 3)(image, "x") == image.transpose(2, 0, 1)).all()


def test_crop_keeps_the_centre_square():
    fitted = Fit(4, 3, "crop")(stripes(4, 12), "x")
    assert (fitted[1] == 255).all() and not fitted[[0, 2]].any()


def test_resize_stretches():
    fitted = Fit(4, 3, "resize", "box")(stripes(4, 12), "x")
    assert fitted[0, :, 0].tolist() == [255] * 4 and fitted[2, :, 3].tolist() == [255] * 4


def test_pad_keeps_everything_and_shows_the_background():
    fitted = Fit(8, 3, "pad", "box", background="#0a141e")(stripes(12, 24), "x")
    assert fitted[:, 1, 0].tolist() == [10, 20, 30] and fitted[:, 6, 7].tolist() == [10, 20, 30]
    assert fitted[:, 2, 0].tolist() == [255, 0, 0] and fitted[:, 5, 7].tolist() == [0, 0, 255]


def test_pad_of_rgba_is_transparent_and_of_grey_has_the_colours_lightness():
    image = np.full((2, 8, 4), 255, np.uint8)
    assert Fit(8, 4, "pad")(image, "x")[:, 0, 0].tolist() == [0, 0, 0, 0]
    assert Fit(8, 1, "pad", background="red")(image[..., 0], "x")[0, 0, 0] == 76


@pytest.mark.parametrize("filter", ["lanczos", "box"])
def test_filters_are_pillows(pixels, filter):
    image = pixels(0, 32)
    expected = Image.fromarray(image).resize((8, 8), Image.Resampling[filter.upper()])
    assert (Fit(8, 3, "crop", filter)(image, "x") == np.asarray(expected).transpose(2, 0, 1)).all()


def test_sixteen_bit_is_divided_by_257():
    values = np.array([[0, 128, 129, 257 * 100], [257 * 100 + 128, 257 * 100 + 129, 65535, 65406]], np.uint16)
    assert Fit(4, 1, "resize", "box")(np.repeat(values, 2, axis=0), "x")[0, ::2].tolist() == [
        [0, 0, 1, 100],
        [100, 101, 255, 254],
    ]


def test_rgba_is_premultiplied_so_that_hidden_colours_stay_hidden():
    image = np.zeros((4, 4, 4), np.uint8)
    image[:, :2] = (255, 0, 0, 255)
    image[:, 2:] = (0, 255, 0, 0)  # green that nobody can see
    fitted = Fit(1, 4, filter="box")(image, "x")
    assert fitted[:, 0, 0].tolist() == [128, 0, 0, 128]


def test_premultiplied_colour_never_exceeds_alpha(pixels):
    image = pixels(3, 33, 4)
    image[..., 3] = np.where(image[..., 3] > 128, 255, 0)
    fitted = Fit(16, 4)(image, "x")
    assert (fitted[:3] <= fitted[3]).all()


@pytest.mark.parametrize(("colour", "expected"), [("white", [255, 127, 127]), ("#000000", [128, 0, 0])])
def test_transparency_is_laid_over_the_background(colour, expected):
    image = np.full((4, 4, 4), (255, 0, 0, 128), np.uint8)
    assert Fit(4, 3, background=colour)(image, "x")[:, 0, 0].tolist() == expected


def test_channels_are_converted():
    grey = np.full((4, 4), 77, np.uint8)
    assert Fit(4, 3)(grey, "x")[:, 0, 0].tolist() == [77, 77, 77]
    assert Fit(4, 4)(grey, "x")[:, 0, 0].tolist() == [77, 77, 77, 255]
    assert Fit(4, 1)(np.full((4, 4, 3), (255, 0, 0), np.uint8), "x")[:, 0, 0].tolist() == [76]
    assert Fit(4, 4)(np.full((4, 4, 2), (100, 51), np.uint8), "x")[:, 0, 0].tolist() == [20, 20, 20, 51]
    assert Fit(4, 1)(np.full((4, 4, 2), (0, 0), np.uint8), "x")[:, 0, 0].tolist() == [255]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 5), np.uint8), "x: 5 channels"),
        (np.zeros((4, 4, 3), np.float32), "x: an array float32"),
        (np.zeros((3, 4, 4, 3), np.uint8), "x: an array uint8"),
        (np.zeros((0, 4, 3), np.uint8), "x: an array uint8"),
    ],
)
def test_arrays_that_are_no_images_are_refused(image, message):
    with pytest.raises(DataError, match=message):
        Fit(4, 3)(image, "x")


@pytest.mark.parametrize(
    ("args", "message"),
    [((48, 3), "48 is not a power of two"), ((32, 2), "img_channels: 2"), ((32, 3, "crop", "box", "blu"), "'blu'")],
)
def test_impossible_fits_are_refused(args, message):
    with pytest.raises(DataError, match=message):
        Fit(*args)


def test_mip_levels_are_rounded_means_of_the_exact_values(pixels):
    images = np.stack([pixels(i, 16).transpose(2, 0, 1) for i in range(3)])
    levels = mip_levels(images)
    assert list(levels) == [16, 8, 4, 2, 1]
    for r, level in levels.items():
        k = 16 // r
        means = images.reshape(3, 3, r, k, r, k).astype(np.float64).mean((3, 5))
        assert level.dtype == np.uint8 and (level == np.rint(means)).all()


def test_fingerprint_tells_every_option_apart():
    fits = [
        Fit(32, 3),
        Fit(64, 3),
        Fit(32, 1),
        Fit(32, 3, "pad"),
        Fit(32, 3, "crop", "box"),
        Fit(32, 3, background="red"),
    ]
    assert len({fit.fingerprint(source) for fit in fits for source in ("a", "b")}) == 12
