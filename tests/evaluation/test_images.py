from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from ganzoo.data import open_dataset
from ganzoo.errors import DataError
from ganzoo.evaluation.images import Chosen, FileImages, GeneratedImages, check_comparable, label_vectors


def read_all(images):
    return images.read(range(len(images)))


def files(path, **options):
    return FileImages(open_dataset(str(path)), **options)


def test_pixels_are_those_of_the_files(make_folder):
    root = make_folder("a", 3)
    images = files(root)
    expected = [np.asarray(Image.open(root / f"{i:04d}.png")).transpose(2, 0, 1) for i in range(3)]
    assert np.array_equal(read_all(images), np.stack(expected))
    assert (images.resolution, images.channels, images.resize) == (16, 3, "none")


def test_sizes_need_no_power_of_two(make_folder):
    assert read_all(files(make_folder("a", 2, size=19))).shape == (2, 3, 19, 19)


def test_a_resolution_resizes_and_says_how(make_folder):
    images = files(make_folder("a", 2, size=20), resolution=8)
    assert read_all(images).shape == (2, 3, 8, 8)
    assert images.resize == "centre square, lanczos to 8 x 8"


def test_sizes_that_differ_are_refused_by_name(make_folder):
    root = make_folder("a", 3)
    Image.new("RGB", (20, 20)).save(root / "9999.png")
    with pytest.raises(DataError, match=r"9999\.png: is 20 x 20 px, and .*0000\.png is 16 x 16; add --resolution"):
        read_all(files(root))


def test_images_that_are_not_square_are_refused(tmp_path):
    Image.new("RGB", (20, 10)).save(tmp_path / "wide.png")
    with pytest.raises(DataError, match=r"wide\.png: is 20 x 10 px.*--resolution"):
        files(tmp_path)


def test_transparent_images_get_the_background(tmp_path):
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    for background, colour in (("white", 255), ("black", 0)):
        images = files(tmp_path, background=background)
        assert images.channels == 3
        assert (read_all(images) == colour).all()
    assert files(tmp_path).fingerprint != files(tmp_path, background="black").fingerprint


def test_a_background_that_is_no_colour_is_refused(make_folder):
    with pytest.raises(DataError, match="'whit' is no colour"):
        files(make_folder("a", 1), background="whit")


def test_grey_stays_grey_and_is_not_compared_with_colour(make_folder):
    grey, colour = files(make_folder("a", 2, mode="L")), files(make_folder("b", 2))
    assert read_all(grey).shape == (2, 1, 16, 16)
    with pytest.raises(DataError, match="a is grey and b is RGB"):
        check_comparable(grey, colour)


def test_sets_of_different_sizes_are_not_compared(make_folder):
    with pytest.raises(DataError, match=r"a has 16 x 16 px and b 24 x 24.*--resolution 16"):
        check_comparable(files(make_folder("a", 1)), files(make_folder("b", 1, size=24)))


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="no images"):
        files(tmp_path)


def test_fewer_images_are_spread_over_the_set(make_folder):
    root = make_folder("a", 10)
    assert np.array_equal(read_all(files(root, num=5)), read_all(files(root))[::2])
    assert files(root, num=5).fingerprint != files(root).fingerprint


def test_the_fingerprint_follows_the_contents(make_folder):
    root = make_folder("a", 3)
    before = files(root).fingerprint
    Image.new("RGB", (16, 16)).save(root / "0001.png")
    assert files(root).fingerprint != before


def test_chosen_images(make_folder):
    images = files(make_folder("a", 6))
    chosen = Chosen(images, np.array([4, 1]))
    assert np.array_equal(read_all(chosen), images.read([4, 1]))


def test_generated_images_depend_on_their_seed_alone(make_source):
    images = GeneratedImages(make_source(), 150, seed=3)
    alone = np.concatenate([GeneratedImages(make_source(), 150, seed=3).read([i]) for i in (149, 0, 70)])
    assert np.array_equal(images.read([149, 0, 70]), alone)
    shifted = GeneratedImages(make_source(), 150, seed=4)
    assert np.array_equal(images.read([5]), shifted.read([4]))
    assert images.fingerprint != shifted.fingerprint


def test_generated_labels_are_distributed_as_in_the_data(make_source):
    labels = torch.eye(10)[[7] * 3 + [2]]
    images = read_all(GeneratedImages(make_source(labels=labels), 400))
    share = (images[:, 0, 0, 0] > 180).mean()  # class 7 is the brighter one
    assert share == pytest.approx(0.75, abs=0.06)
    assert len(np.unique(images)) == 2


def test_a_generator_that_gives_nan_is_refused_with_the_seed(make_source):
    def broken(z, c):
        img = torch.zeros(len(z), 3, 8, 8)
        img[5, 0, 0, 0] = float("nan")
        return img

    with pytest.raises(DataError, match=r"made here: the image of seed 105 .*NaN"):
        GeneratedImages(make_source(generate=broken), 64, seed=100).read([0])


def test_a_transparent_generator_gets_the_background(make_source):
    images = GeneratedImages(
        make_source(generate=lambda z, c: -torch.ones(len(z), 4, 8, 8), channels=4), 2, background="#00ff00"
    )
    assert np.array_equal(images.read([0])[0, :, 0, 0], [0, 255, 0])


def test_generated_images_can_be_resized(make_source):
    images = GeneratedImages(make_source(), 2, resolution=4)
    assert images.read([0, 1]).shape == (2, 3, 4, 4)
    assert images.resize == "lanczos to 4 x 4"


@pytest.mark.parametrize("labels", [None, np.array([0, 1, 2])])
def test_labels_that_do_not_fit_the_generator(labels):
    with pytest.raises(DataError, match=r"pets: the generator wants labels of size 10"):
        label_vectors(labels, None, 10, "pets")
