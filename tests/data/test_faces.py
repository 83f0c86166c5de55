from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ganzoo.data.sources import CartoonFaces
from ganzoo.data.sources.faces import CHOICES, RANGES
from ganzoo.errors import RecipeError
from ganzoo.recipe import load_recipe

QUICKSTART = Path(__file__).resolve().parents[2] / "recipes" / "quickstart.yaml"


def test_a_face_depends_on_seed_and_index_only():
    few, many = CartoonFaces(img_resolution=16, num_images=5), CartoonFaces(img_resolution=16, num_images=500)
    assert all((few.image(i) == many.image(i)).all() for i in range(5))
    assert few.labels.tolist() == many.labels[:5].tolist()
    assert few.fingerprint != many.fingerprint
    assert not (few.image(0) == CartoonFaces(img_resolution=16, num_images=5, seed=1).image(0)).all()


@pytest.mark.parametrize("resolution", [4, 32, 100, 256])
def test_any_resolution(resolution):
    face = CartoonFaces(img_resolution=resolution, num_images=1).image(0)
    assert face.shape == (resolution, resolution, 3) and face.dtype == np.uint8 and face.std() > 20


def test_resolutions_show_the_same_face():
    large = CartoonFaces(img_resolution=64, num_images=1).image(0)
    small = CartoonFaces(img_resolution=16, num_images=1).image(0)
    shrunk = large.reshape(16, 4, 16, 4, 3).mean((1, 3))
    assert np.abs(shrunk - small).mean() < 8


def test_faces_differ():
    faces = CartoonFaces(img_resolution=16, num_images=200)
    images = np.stack([faces.image(i) for i in range(200)]).reshape(200, -1)
    assert len(np.unique(images, axis=0)) == 200


def test_labels_are_the_hair_styles_and_all_values_occur():
    faces = CartoonFaces(img_resolution=8, num_images=1000)
    attributes = [faces.attributes(i) for i in range(1000)]
    assert [faces.class_names[label] for label in faces.labels] == [a["hair_style"] for a in attributes]
    for key, values in CHOICES.items():
        assert {a[key] for a in attributes} == set(values)
    for key, (low, high) in RANGES.items():
        assert all(low <= a[key] <= high for a in attributes)


@pytest.mark.parametrize("args", [{"num_images": 0}, {"num_images": 10**10}, {"seed": -1}, {"seed": 2**32}])
def test_impossible_sets_are_no_recipe(args, registry):
    key = f"data.source.args.{next(iter(args))}"
    settings = [f"{key}={next(iter(args.values()))}"]
    with pytest.raises(RecipeError, match=f"{key}: must be"):
        load_recipe(QUICKSTART, registry, settings)


def test_faces_need_a_few_pixels():
    with pytest.raises(ValueError, match="img_resolution must be 4 or more, not 2"):
        CartoonFaces(img_resolution=2)
