"""Real images, and what can go wrong with them: every metric must say which is worse, with the extractor ``small``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from ganzoo.data import open_dataset
from ganzoo.evaluation.evaluate import evaluate

CIFAR = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "cifar10.zip"
NUM = 1000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("needs_torch_fidelity"),
    pytest.mark.skipif(not CIFAR.exists(), reason="needs ../shared/data/cifar10.zip"),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """``real`` and, of other images of CIFAR-10 or of the same: what the name says."""
    dataset = open_dataset(str(CIFAR))
    order = np.random.RandomState(0).permutation(len(dataset))
    real, others = order[:NUM], order[NUM : 2 * NUM]
    one_class = np.flatnonzero(dataset.labels == 3)[:NUM]
    root = tmp_path_factory.mktemp("copies")

    def write(name, indices, change=lambda picture: picture):
        (root / name).mkdir()
        for i, index in enumerate(indices):
            change(Image.fromarray(dataset.image(int(index)))).save(root / name / f"{i:05d}.png")

    random = np.random.RandomState(1)
    write("real", real)
    write("other half", others)
    write("blurred a little", others, lambda picture: picture.filter(ImageFilter.GaussianBlur(0.8)))
    write("blurred", others, lambda picture: picture.filter(ImageFilter.GaussianBlur(3)))
    write("one class", one_class)
    write("collapsed", np.repeat(others[:5], NUM // 5))
    write("noise", others, lambda picture: Image.fromarray(random.randint(0, 256, (32, 32, 3)).astype(np.uint8)))
    return root


@pytest.fixture(scope="module")
def values(folders, plugins, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("GANZOO_CACHE", str(tmp_path_factory.mktemp("shared-cache")))
    found = {
        path.name: {
            result.name: result
            for result in evaluate(
                path,
                folders / "real",
                ["fid", "kid", "prc"],
                extractor="small",
                device="cpu",
                plugins=plugins,
                log=lambda line: None,
            )
        }
        for path in sorted(folders.iterdir())
    }
    patch.undo()
    return found


def test_a_set_is_at_no_distance_from_itself(values):
    assert values["real"]["fid"].value == pytest.approx(0, abs=1e-5)
    assert values["real"]["kid"].value < values["other half"]["kid"].value
    assert values["real"]["precision"].value == values["real"]["recall"].value == 1


@pytest.mark.parametrize("metric", ["fid", "kid"])
def test_distances_order_as_they_must(values, metric):
    chains = [
        ["other half", "blurred a little", "blurred", "noise"],
        ["other half", "one class", "collapsed"],
    ]
    for chain in chains:
        ordered = [values[name][metric].value for name in chain]
        assert ordered == sorted(ordered), dict(zip(chain, ordered, strict=True))


def test_differences_are_larger_than_their_standard_errors(values):
    for worse in ("blurred", "one class", "collapsed", "noise"):
        a, b = values["other half"]["fid"], values[worse]["fid"]
        assert b.value - a.value > 3 * (a.standard_error**2 + b.standard_error**2) ** 0.5, worse


def test_precision_sees_bad_images_and_recall_missing_ones(values):
    good = values["other half"]
    assert values["noise"]["precision"].value < 0.1 < good["precision"].value
    for missing in ("one class", "collapsed"):
        a, b = good["recall"], values[missing]["recall"]
        assert a.value - b.value > 3 * (a.standard_error**2 + b.standard_error**2) ** 0.5, missing
    assert values["collapsed"]["precision"].value > 0.5
