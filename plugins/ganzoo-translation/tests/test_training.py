"""Two steps of every data set of two domains, and a CycleGAN that was stopped and resumed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from ganzoo.cli import main
from ganzoo.data.images import float_to_uint8
from ganzoo.generation import load_generator
from ganzoo.plugins import load_plugins
from ganzoo.recipe import parse_recipe
from ganzoo.training.loop import train
from ganzoo.weights import load_weights

CYCLEGAN = """
generator: {name: cyclegan, args: {ngf: 2, n_blocks: 1, dropout: true}}
discriminator: {name: cyclegan, args: {ndf: 2, n_layers: 1}}
loss: {name: cyclegan, args: {pool_size: 3}}
"""
PIX2PIX = """
generator: {name: pix2pix, args: {ngf: 2}}
discriminator: {name: patchgan, args: {ndf: 2, n_layers: 1, conditional: true}}
loss: {name: pix2pix}
"""
RECIPE = """
name: small
data: {{path: {path}, img_resolution: 16, img_channels: 3, mirror: true, inputs: {inputs}}}
growth: {{name: fixed, args: {{batch_size: 2, decay_from_kimg: 0.004, decay_to_kimg: 0.02}}}}
train: {{total_kimg: {kimg}, tick_kimg: 0.002, checkpoint_kimg: 0.002, grid: [2, 2]}}
system: {{device: cpu, precision: fp32, threads: 1, workers: 0}}
{players}
"""


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    random = np.random.RandomState(0)
    for name, size in (("trainA", (16, 16)), ("trainB", (16, 16)), ("halves", (32, 16))):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(5):
            pixels = random.randint(0, 256, (size[1], size[0], 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{i}.png")
    return tmp_path / "data"


def make_recipe(path, inputs, players, kimg=0.004):
    text = RECIPE.format(path=path, inputs=inputs, players=players, kimg=kimg)
    return parse_recipe(text, load_plugins().registry, filename="small")


@pytest.mark.parametrize(
    ("folder", "inputs", "players"),
    [
        ("", "{kind: unpaired, img_channels: 3}", CYCLEGAN),
        ("", "{kind: same-name, img_channels: 1}", PIX2PIX),
        ("halves", "{kind: side-by-side, left: b, img_channels: 3}", PIX2PIX),
        ("trainA", "{kind: degrade, degrade: {name: inpaint, args: {mask: true}}}", PIX2PIX),
        ("trainA", "{kind: degrade, degrade: {name: grey}}", PIX2PIX),
        ("trainA", "{kind: degrade, degrade: {name: super-resolution}}", CYCLEGAN),
        ("trainA", "{kind: degrade, degrade: {name: sketch}}", PIX2PIX),
    ],
)
def test_train_and_translate(folders, tmp_path, folder, inputs, players):
    result = train(make_recipe(folders / folder, inputs, players), plugins=load_plugins(), outdir=tmp_path / "runs")
    assert result.nimg == 4
    images = folders / (folder or "trainA")
    options = ["--degrade"] if "degrade" in inputs else []
    arguments = ["translate", str(result.run_dir), "--input", str(images), "--device", "cpu", *options]
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in (tmp_path / "translated").iterdir()) == [f"{i}.png" for i in range(5)]
    if "unpaired" in inputs:  # what the command wrote is what the network gives
        generator = load_generator(result.run_dir)
        with Image.open(images / "0.png") as image:
            source = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 127.5 - 1
        wanted = float_to_uint8(generator.translate(source).detach())[0].permute(1, 2, 0).numpy()
        with Image.open(tmp_path / "translated" / "0.png") as image:
            assert np.array_equal(np.asarray(image), wanted)


def test_cyclegan_resumes_exactly(folders, tmp_path):
    """Of the pools, three images are in, and the last step exchanges some."""
    inputs, zoo = "{kind: unpaired, img_channels: 3}", load_plugins()
    whole = train(make_recipe(folders, inputs, CYCLEGAN, kimg=0.01), plugins=zoo, outdir=tmp_path / "whole")
    part = train(make_recipe(folders, inputs, CYCLEGAN, kimg=0.006), plugins=zoo, outdir=tmp_path / "part")
    resumed = train(make_recipe(folders, inputs, CYCLEGAN, kimg=0.01), plugins=zoo, resume_from=part.run_dir)
    found, wanted = (
        load_weights(result.run_dir / "checkpoints" / "checkpoint-000000010.safetensors")[0]
        for result in (resumed, whole)
    )
    assert wanted["loss/pool_a.images"].shape == wanted["loss/pool_b.images"].shape == (3, 3, 16, 16)
    assert found.keys() == wanted.keys()
    different = [name for name, tensor in wanted.items() if not torch.equal(tensor, found[name])]
    assert not different
