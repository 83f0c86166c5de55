"""benchmarks/overfitting.py: who is asked about what, with a D that knows the images that it was trained on."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganzoo.data.images import save_image, uint8_to_float
from ganzoo.data.opening import open_data
from ganzoo.plugins import load_plugins
from ganzoo.recipe import load_recipe

pytest.importorskip("ganzoo_stylegan")
pytest.importorskip("ganzoo_progan")

ROOT = Path(__file__).resolve().parents[1]
RECIPE = """
name: heart
data: {{path: {path}, img_resolution: 8, cache: off, max_images: 40}}
generator: {{name: stylegan2, args: {{z_dim: 4, w_dim: 4, mapping_layers: 1, channel_max: 4}}}}
discriminator: {{name: stylegan2, args: {{channel_max: 4, mapping_layers: 1}}}}
loss: {{name: non-saturating}}
growth: {{name: fixed, args: {{batch_size: 4, lr: 0.001}}}}
train: {{total_kimg: 1}}
"""


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    yield importlib.import_module("overfitting")
    sys.modules.pop("overfitting", None)


class Knowing(nn.Module):
    """3 for the greys it knows, 1 for others, -1 for black, which G makes."""

    def __init__(self, known: Tensor) -> None:
        super().__init__()
        self.known = known

    def forward(self, img: Tensor, *, growth) -> Tensor:
        assert len(img) == 20 and growth.resolution == 8
        grey = img[:, 0, 0, 0]
        logits = torch.where(torch.isin(grey, self.known), 3.0, 1.0)
        return torch.where(grey == -1, -1.0, logits)[:, None]


class Black(nn.Module):
    z_dim = 4

    def forward(self, z: Tensor, *, growth) -> Tensor:
        return torch.full((len(z), 3, 8, 8), -1.0)


def test_unseen_images_are_placed_between_generated_and_known_ones(benchmark, tmp_path, monkeypatch, capsys):
    (tmp_path / "images").mkdir()
    for i in range(80):
        save_image(tmp_path / "images" / f"{i:02}.png", np.full((3, 8, 8), 3 * i + 9, np.uint8))
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "recipe.yaml").write_text(RECIPE.format(path=tmp_path / "images"))
    (run / "checkpoints" / "checkpoint-000050000.safetensors").touch()
    registry = load_plugins().registry
    data = open_data(load_recipe(run / "recipe.yaml", registry).data, registry)
    known = uint8_to_float(torch.from_numpy(data.read(range(40), 8)))[:, 0, 0, 0]
    monkeypatch.setattr(benchmark, "players_of", lambda *args, **kwargs: (Black(), Knowing(known)))
    benchmark.judge_run(run)
    assert capsys.readouterr().out.splitlines() == [f"| {run} | 50 | 3.0 | 1.0 | -1.0 | 50% |"]


def test_a_checkpoint_is_read(benchmark, tmp_path):
    """What a run wrote: D in it is that of the recipe, G its moving average."""
    import ganzoo

    (tmp_path / "r.yaml").write_text(
        RECIPE.format(path="null").replace("path: null", "source: {name: faces, args: {num_images: 80}}")
    )
    result = ganzoo.train(tmp_path / "r.yaml", outdir=tmp_path / "runs", overrides=["train.total_kimg=0.008"])
    registry = load_plugins().registry
    recipe = load_recipe(result.run_dir / "recipe.yaml", registry)
    checkpoint = benchmark.list_checkpoints(result.run_dir / "checkpoints")[-1]
    G, _ = benchmark.players_of(checkpoint, recipe, registry, img_channels=3)
    saved = ganzoo.load_generator(result.run_dir)
    z = torch.randn(2, 4)
    torch.manual_seed(0)  # the noise inputs
    ours = G(z, growth=ganzoo.GrowthState(8, 1.0, 2, 0.0, 0.0))
    torch.manual_seed(0)
    assert torch.equal(ours, saved(z))
