"""Folders of small images, an extractor that needs no weights, and a snapshot to measure."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

import ganzoo
from ganzoo.evaluation.images import Source
from ganzoo.interfaces import GrowthState
from ganzoo.plugins import make_plugin_manager
from ganzoo.training.checkpoint import TrainingState, save_snapshot

RECIPE = """
name: measured
data: {{source: {{name: faces, args: {{num_images: 120}}}}, img_resolution: 16, labels: {labels}, cache: "off"}}
generator: {{name: linear}}
discriminator: {{name: of-a-plugin-that-is-not-installed}}
loss: {{name: of-a-plugin-that-is-not-installed}}
growth: {{name: of-a-plugin-that-is-not-installed}}
train: {{total_kimg: 1}}
"""


class MeanColours(ganzoo.Extractor):
    """Means of a grid of cells: no network, no weights. Counts the images that it has seen."""

    layers = ("cells", "whole")
    weights_hash = "none"
    resize = "none"
    seen = 0

    def layer_for(self, metric):
        return "whole" if metric == "isc" else "cells"

    def features(self, images, layers):
        type(self).seen += len(images)
        x = images.float() / 255
        found = {
            "cells": torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1),
            "whole": x.mean((2, 3)),
        }
        return {layer: found[layer].cpu() for layer in layers}


class LinearGenerator(ganzoo.Generator):
    """One matrix. ``explode`` gives images of NaN."""

    def __init__(self, *, img_resolution: int, img_channels: int, c_dim: int, z_dim: int = 4) -> None:
        super().__init__(z_dim=z_dim, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.dense = torch.nn.Linear(z_dim + c_dim, img_channels * img_resolution**2)

    def forward(self, z, c=None, *, growth: GrowthState):
        x = self.dense(z if c is None else torch.cat([z, c], 1)).tanh()
        return x.reshape(len(z), self.img_channels, self.img_resolution, self.img_resolution)


class MeanBrightness(ganzoo.Metric):
    """Looks at images: how bright they are against real ones."""

    needs = "images"
    results: ClassVar = {"brightness": True}

    def compute(self, fake, real):
        means = [images.read(range(len(images))).mean() for images in (fake, real)]
        return {"brightness": float(abs(means[0] - means[1]))}


class EvaluationPlugin:
    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_extractors(register):
        register("mean-colours", MeanColours)

    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_metrics(register):
        register("brightness", MeanBrightness)

    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_generators(register):
        register("linear", LinearGenerator)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("GANZOO_CACHE", str(folder))
    monkeypatch.setattr(MeanColours, "seen", 0)
    return folder


@pytest.fixture(scope="session")
def plugins():
    return make_plugin_manager({"evaluation": EvaluationPlugin})


@pytest.fixture
def installed_plugins(plugins, monkeypatch):
    """The plugins of these tests, where the command line looks for plugins."""
    monkeypatch.setattr("ganzoo.evaluation.evaluate.load_plugins", lambda: plugins)


@pytest.fixture
def make_folder(tmp_path):
    """``make_folder(name, num, ...)``: PNGs of noise around a colour that varies from image to image."""

    def make(name, num=120, *, size=16, mode="RGB", seed=0, shift=0):
        root = tmp_path / name
        root.mkdir()
        random = np.random.RandomState(seed)
        for i in range(num):
            colour = random.randint(60, 160, 3) + shift
            pixels = np.clip(colour + random.randint(-40, 40, (size, size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).convert(mode).save(root / f"{i:04d}.png")
        return root

    return make


@pytest.fixture
def make_snapshot(tmp_path):
    """A snapshot of the linear generator, as training writes it. Faces have 7 classes."""

    def make(*, c_dim=0, img_channels=3, broken=False):
        torch.manual_seed(0)
        G = LinearGenerator(img_resolution=16, img_channels=img_channels, c_dim=c_dim)
        if broken:
            torch.nn.init.constant_(G.dense.bias, float("nan"))
        return save_snapshot(
            tmp_path / "run" / "snapshots",
            G,
            TrainingState(nimg=5000),
            GrowthState(16, 1.0, 8, 0.001, 0.001),
            recipe=RECIPE.format(labels="true" if c_dim else "false"),
            extra={"class_names": "null", "plugins": json.dumps({}), "ganzoo": ganzoo.__version__},
        )

    return make


@pytest.fixture
def make_source():
    """A generator of 8 px that needs no snapshot; with labels, the label is the colour."""

    def make(*, labels=None, generate=None, channels=3):
        weights = torch.randn(4, channels * 64, generator=torch.Generator().manual_seed(0))

        def linear(z, c):
            x = (z @ weights).tanh().reshape(-1, channels, 8, 8)
            return x if c is None else x * 0 + c.argmax(1)[:, None, None, None] / 10

        c_dim = 0 if labels is None else labels.shape[1]
        return Source("made here", generate or linear, 4, c_dim, 8, channels, "f00d", labels)

    return make


@pytest.fixture
def needs_torch_fidelity():
    if find_spec("torch_fidelity") is None:
        pytest.skip("needs torch-fidelity: pip install 'ganzoo[eval]'")
