"""Generated images on disk: made once, shared, never more than the limit, gone afterwards."""

import numpy as np
import pytest
import torch

from ganzoo.evaluation import kept as module
from ganzoo.evaluation.evaluate import Evaluation
from ganzoo.evaluation.images import GeneratedImages
from ganzoo.evaluation.kept import KeptImages
from ganzoo.recipe import Component


@pytest.fixture
def counted(make_source):
    """A source that counts the images it makes."""
    weights = torch.randn(4, 3 * 64, generator=torch.Generator().manual_seed(0))
    made = []

    def generate(z, c):
        made.append(len(z))
        return (z @ weights).tanh().reshape(-1, 3, 8, 8)

    return make_source(generate=generate), made


def test_the_same_pixels_made_once_in_any_order(counted):
    source, made = counted
    expected = GeneratedImages(source, 600).read(range(600))
    made.clear()
    images = KeptImages(GeneratedImages(source, 600))
    order = np.random.RandomState(0).permutation(600)
    assert np.array_equal(images.read(order), expected[order])
    assert np.array_equal(KeptImages(GeneratedImages(source, 600)).read(range(600)), expected)
    assert sum(made) == 600


def test_processes_share_the_work(counted):
    source, made = counted
    assert KeptImages(GeneratedImages(source, 600)).compute(600, rank=1, world_size=2)
    assert sum(made) == 256
    images = KeptImages(GeneratedImages(source, 600))
    assert images.compute(300, rank=0, world_size=2)
    assert sum(made) == 512  # the third chunk is not among the first 300
    assert not images.compute(600, stop=lambda: True)
    images.forget()
    assert not list((module.cache_root() / "generated").iterdir())


def test_metrics_of_images_generate_once(counted, plugins, cache):
    source, made = counted
    evaluation = Evaluation(
        fake=GeneratedImages(source, 300), real=GeneratedImages(source, 300, seed=1000), source=source,
        registry=plugins.registry, extractor="mean-colours",
    )  # fmt: skip
    (result,) = evaluation.run([Component(name="brightness")], log=lambda line: None)
    real = 300 * 2  # by the metric and for its standard error; real images are not kept
    assert sum(made) == 300 + real
    assert result.num_fake == 300 and result.standard_error > 0
    evaluation.forget_fake()
    assert not list((cache / "generated").iterdir())


def test_more_than_the_limit_is_generated_anew(counted, plugins, cache, monkeypatch):
    source, _ = counted
    sets = {"fake": GeneratedImages(source, 300), "real": GeneratedImages(source, 300, seed=1000)}
    common = {"source": source, "registry": plugins.registry, "extractor": "mean-colours"}
    (kept,) = Evaluation(**sets, **common).run([Component(name="brightness")], log=lambda line: None)
    monkeypatch.setattr(module, "_MAX_BYTES", 1000)
    (anew,) = Evaluation(**sets, **common).run([Component(name="brightness")], log=lambda line: None)
    assert anew == kept
