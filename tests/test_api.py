"""``ganzoo.train`` and ``ganzoo.load_generator``, on networks that train in a moment."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import ganzoo
from ganzoo import api
from ganzoo.errors import CheckpointError, DataError, RecipeError
from ganzoo.generation import load
from ganzoo.plugins import make_plugin_manager
from ganzoo.recipe import parse_recipe, strict_yaml

RECIPE = {
    "name": "small",
    "data": {"source": {"name": "faces", "args": {"num_images": 16}}, "img_resolution": 16, "cache": "off"},
    "generator": {"name": "small"},
    "discriminator": {"name": "small"},
    "loss": {"name": "small"},
    "growth": {"name": "fixed", "args": {"batch_size": 4}},
    "train": {"total_kimg": 0.008, "grid": [1, 2]},
    "system": {"device": "cpu", "precision": "fp32", "threads": 1},
}


class SmallGenerator(ganzoo.Generator):
    def __init__(self, *, img_resolution: int, img_channels: int, c_dim: int) -> None:
        super().__init__(z_dim=4, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.dense = nn.Linear(4, img_channels * img_resolution**2)

    def forward(self, z, c=None, *, growth):
        return self.dense(z).tanh().reshape(-1, self.img_channels, self.img_resolution, self.img_resolution)


class SmallDiscriminator(ganzoo.Discriminator):
    def __init__(self, *, img_resolution: int, img_channels: int, c_dim: int) -> None:
        super().__init__(c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.dense = nn.Linear(img_channels * img_resolution**2, 1)

    def forward(self, img, c=None, *, growth):
        return self.dense(img.flatten(1))


class SmallLoss(ganzoo.Loss):
    def d_loss(self, G, D, batch):
        with torch.no_grad():
            fake = G(batch.z, growth=batch.growth)
        return {"difference": D(fake, growth=batch.growth) - D(batch.real, growth=batch.growth)}

    def g_loss(self, G, D, batch):
        return {"fake": -D(G(batch.z, growth=batch.growth), growth=batch.growth)}


class SmallPlugin:
    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_generators(register):
        register("small", SmallGenerator)

    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_discriminators(register):
        register("small", SmallDiscriminator)

    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_losses(register):
        register("small", SmallLoss)


@pytest.fixture(autouse=True)
def plugins(monkeypatch, tmp_path):
    loaded = make_plugin_manager({"small": SmallPlugin})
    monkeypatch.setattr(api, "load_plugins", lambda: loaded)
    monkeypatch.setattr(load, "load_plugins", lambda: loaded)
    monkeypatch.chdir(tmp_path)
    return loaded


def write_recipe(path):
    path.write_text(strict_yaml.dump(RECIPE), encoding="utf-8")
    return path


def test_file_dict_and_recipe_train_the_same(plugins, tmp_path):
    parsed = parse_recipe(strict_yaml.dump(RECIPE), plugins.registry, filename="parsed")
    z = torch.randn(2, 4)
    images = []
    for i, recipe in enumerate([write_recipe(tmp_path / "a.yaml"), str(tmp_path / "a.yaml"), RECIPE, parsed]):
        result = ganzoo.train(recipe, outdir=tmp_path / f"runs{i}")
        assert (result.nimg, result.signal) == (8, None)
        images.append(ganzoo.load_generator(result.run_dir)(z))
    assert all(torch.equal(img, images[0]) for img in images[1:])


def test_generator_of_a_run(tmp_path):
    result = ganzoo.train(RECIPE)
    assert result.run_dir.parent.name == "runs"
    generator = ganzoo.load_generator(str(result.run_dir), device="cpu")
    assert generator(torch.randn(3, generator.z_dim)).shape == (3, 3, 16, 16)


def test_overrides_and_resume(tmp_path):
    first = ganzoo.train(RECIPE, outdir=tmp_path)
    for recipe in (RECIPE, write_recipe(tmp_path / "small.yaml")):
        longer = ganzoo.train(recipe, overrides=["train.total_kimg=0.016"], outdir=tmp_path, resume=first.run_dir)
        assert (longer.run_dir, longer.nimg) == (first.run_dir, 16)


def test_data_replaces_the_recipes_own(tmp_path):
    recipe = copy.deepcopy(RECIPE)
    for given in (recipe, write_recipe(tmp_path / "small.yaml")):
        with pytest.raises(DataError, match="no-such-folder"):
            ganzoo.train(given, data=tmp_path / "no-such-folder")
    assert recipe == RECIPE


def test_dict_shares_parts(tmp_path):
    same = {"name": "small"}
    result = ganzoo.train({**RECIPE, "generator": same, "discriminator": same}, outdir=tmp_path)
    assert result.nimg == 8


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("seed: 1\ntrain: {}\n", "give the path of a file"),
        ("no-such-recipe.yaml", "no-such-recipe.yaml: no such recipe"),
        ({**RECIPE, "seeed": 1}, "<dict>.*seeed"),
        ({**RECIPE, "generator": {"name": "smal"}}, "did you mean 'small'"),
        ({**RECIPE, "seed": object()}, "<dict>: holds a value that no recipe can hold"),
    ],
)
def test_bad_recipes(recipe, message, tmp_path):
    with pytest.raises(RecipeError, match=f"(?s){message}"):
        ganzoo.train(recipe, outdir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("as_file", [False, True])
def test_resuming_what_is_no_run(as_file, tmp_path):
    recipe = write_recipe(tmp_path / "small.yaml") if as_file else RECIPE
    with pytest.raises(CheckpointError, match="not a run folder"):
        ganzoo.train(recipe, resume=tmp_path / "missing")
