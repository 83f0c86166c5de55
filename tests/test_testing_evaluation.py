"""The checks of metrics and extractors pass honest classes and name what is wrong with others."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch

import ganzoo
from ganzoo.testing import check_extractor, check_metric


class Means(ganzoo.Extractor):
    layers = ("mean",)
    weights_hash = "none"
    resize = "none"

    def layer_for(self, metric):
        return "mean"

    def features(self, images, layers):
        return {"mean": images.float().mean((2, 3))}


class Distance(ganzoo.Metric):
    results: ClassVar = {"distance": True}

    def compute(self, fake, real):
        return {"distance": float((fake.mean(0) - real.mean(0)).norm())}


def test_honest_classes_pass():
    check_extractor(Means)
    check_metric(Distance)


class NoLayer(Means):
    def layer_for(self, metric):
        return {"fid": "mean", "isc": "mean"}[metric]


class OtherLayer(Means):
    def layer_for(self, metric):
        return "pool"


class Doubles(Means):
    def features(self, images, layers):
        return {"mean": images.double().mean((2, 3))}


class InPlace(Means):
    def features(self, images, layers):
        images.zero_()
        return super().features(images, layers)


class Batchwise(Means):
    def features(self, images, layers):
        means = super().features(images, layers)["mean"]
        return {"mean": means - means.mean(0)}


class Everything(Means):
    layers = ("mean", "max")

    def features(self, images, layers):
        return {"mean": images.float().mean((2, 3)), "max": images.float().amax((2, 3))}


class NoHash(Means):
    weights_hash = "v1"


@pytest.mark.parametrize(
    ("cls", "problem"),
    [
        (NoLayer, r"layer_for\('a-metric-of-a-plugin'\) raises KeyError"),
        (OtherLayer, "layer_for.*is 'pool', which is none of layers"),
        (Doubles, "float64.*wanted is float32"),
        (InPlace, "changes the images in place"),
        (Batchwise, "depend on the other images"),
        (Everything, "when asked for 'max' alone"),
        (NoHash, "weights_hash is 'v1'"),
    ],
)
def test_extractors_that_break_the_contract(cls, problem):
    with pytest.raises(AssertionError, match=rf"{cls.__name__}: .*{problem}"):
        check_extractor(cls)


class Unnamed(Distance):
    results: ClassVar = {}


class OtherName(Distance):
    results: ClassVar = {"length": True}


class Infinite(Distance):
    def compute(self, fake, real):
        return {"distance": float("inf")}


class Random(Distance):
    def compute(self, fake, real):
        return {"distance": torch.rand(()).item()}


class Tensors(Distance):
    def compute(self, fake, real):
        return {"distance": fake.mean()}


class OtherError(Distance):
    def standard_errors(self, fake, real):
        return {"length": 0.1}


class NegativeError(Distance):
    def standard_errors(self, fake, real):
        return {"distance": -0.1}


class Unrecorded(Distance):
    def settings_for(self, num_fake, num_real):
        return {"size": torch.tensor(3)}


class Sorts(Distance):
    def compute(self, fake, real):
        fake.copy_(fake.sort(0).values)
        return super().compute(fake, real)


class NeedsMore(Distance):
    needs = "labels"


@pytest.mark.parametrize(
    ("cls", "problem"),
    [
        (Unnamed, "results is {}"),
        (OtherName, "compute gives .* and results has"),
        (Infinite, "distance is inf, no finite float"),
        (Random, "the next time"),
        (Tensors, "no finite float"),
        (Sorts, "changes its features in place"),
        (NeedsMore, "needs is 'labels'"),
        (OtherError, "standard_errors has 'length'"),
        (NegativeError, "standard error of distance is -0.1"),
        (Unrecorded, "settings_for as JSON"),
    ],
)
def test_metrics_that_break_the_contract(cls, problem):
    with pytest.raises(AssertionError, match=rf"{cls.__name__}: .*{problem}"):
        check_metric(cls)
