"""Signs of collapse: how alike the images of the grid are, and how sure D is."""

import json

import numpy as np
import pytest
import tiny
import torch
from rich.console import Console

from ganzoo.plugins import make_plugin_manager
from ganzoo.recipe import parse_recipe
from ganzoo.training.collapse import advantage, diversity, episode, mean_distance
from ganzoo.training.loop import train
from ganzoo.training.report import Reporter
from ganzoo.weights import load_weights


def test_mean_distance_is_that_of_all_pairs():
    images = np.random.RandomState(0).randint(0, 256, (5, 3, 4, 4)).astype(np.uint8)
    expected = np.mean([np.sqrt(np.mean((images[i] / 1.0 - images[j]) ** 2)) for i in range(5) for j in range(i)])
    assert mean_distance(images) == pytest.approx(expected)
    assert mean_distance(np.full((3, 1, 2, 2), 200, np.uint8)) == 0


def test_diversity_is_relative_and_within_groups():
    reals = np.random.RandomState(0).randint(0, 256, (8, 3, 4, 4)).astype(np.uint8)
    assert diversity(reals, reals, [list(range(8))]) == pytest.approx(1)
    assert diversity(reals // 4, reals, [list(range(8))]) == pytest.approx(0.25, abs=0.01)
    by_class = reals.copy()
    by_class[:4], by_class[4:] = reals[0], reals[4]  # each class has one image only
    assert diversity(by_class, reals, [[0, 1, 2, 3], [4, 5, 6, 7]]) == 0 < diversity(by_class, reals, [list(range(8))])
    assert diversity(reals, reals, [[0], [1]]) is None
    assert diversity(reals, np.zeros_like(reals), [list(range(8))]) is None


def test_advantage():
    assert advantage(torch.tensor([1.0, 2.0]), torch.tensor([0.0, -1.0, 0.5])) == 1
    assert advantage(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0])) == 0
    assert advantage(torch.tensor([0.0]), torch.tensor([1.0])) == -1


def test_one_warning_an_episode():
    past: dict[str, float] = {}
    said = [
        episode({"diversity": value, "d_advantage": sure}, past, share=0.1)
        for value, sure in (
            (0.05, 1.0),
            (0.5, 0.5),
            (0.1, 0.95),
            (0.05, 0.95),
            (0.2, 0.5),
            (0.1, 0.5),
            (0.3, 0),
            (0.1, 0),
        )
    ]
    assert [bool(message) for message in said] == [False, False, True, False, False, False, False, True]
    assert "diversity 0.10" in said[2] and "advantage 0.95" in said[2] and "ada" in said[2]
    assert "D cannot tell" in said[-1] and "too small" in said[-1]
    assert episode({"diversity": 0.05}, {}, share=0.5), "late in training it is a sign even if it never was better"
    assert episode({}, past, share=0.5) is None


def test_a_run_that_collapses_is_told_once_and_shown(tmp_path, monkeypatch):
    class Heard(Reporter):
        said: list[str] = []  # noqa: RUF012

        def log(self, message):
            self.said.append(message)

    class Collapsing(tiny.TinyGenerator):
        def forward(self, z, c=None, *, growth):
            return super().forward(z * 0, None if c is None else c * 0, growth=growth)

    monkeypatch.setattr(tiny, "TinyGenerator", Collapsing)
    plugins = make_plugin_manager({"tiny": tiny.TinyPlugin})
    overrides = ["train.total_kimg=0.16", "train.image_kimg=0.016"]
    recipe = parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=overrides)
    run_dir = train(recipe, plugins=plugins, outdir=tmp_path, reporter=Heard(console=Console(quiet=True))).run_dir
    (line,) = [line for line in Heard.said if "much alike" in line]
    assert "diversity 0.00" in line and line.endswith("fakes_000000.png")
    records = [json.loads(line) for line in (run_dir / "stats.jsonl").read_text().splitlines()]
    assert all(r["collapse"]["diversity"] < 0.01 and -1 <= r["collapse"]["d_advantage"] <= 1 for r in records)


def test_measuring_changes_nothing(tmp_path):
    """Another rhythm of grids, and so of measurements, gives the same weights."""
    plugins, ends = make_plugin_manager({"tiny": tiny.TinyPlugin}), []
    for image_kimg in ("0.016", "0.08"):
        overrides = ["train.total_kimg=0.08", f"train.image_kimg={image_kimg}"]
        recipe = parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=overrides)
        reporter = Reporter(console=Console(quiet=True))
        run_dir = train(recipe, plugins=plugins, outdir=tmp_path, reporter=reporter).run_dir
        ends.append(load_weights(max((run_dir / "checkpoints").iterdir()))[0])
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_discriminator_that_cannot_be_asked_ends_nothing(tmp_path, monkeypatch):
    class Shy(tiny.TinyDiscriminator):
        def forward(self, img, c=None, *, growth):
            if not self.training:
                raise ValueError("not now")
            return super().forward(img, c, growth=growth)

    said = []
    monkeypatch.setattr(tiny, "TinyDiscriminator", Shy)
    monkeypatch.setattr(Reporter, "log", lambda self, message: said.append(message))
    plugins = make_plugin_manager({"tiny": tiny.TinyPlugin})
    recipe = parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=["train.total_kimg=0.064"])
    run_dir = train(recipe, plugins=plugins, outdir=tmp_path, reporter=Reporter(console=Console(quiet=True))).run_dir
    assert [line for line in said if "advantage" in line] == [
        "warning: D's advantage is not watched: ValueError: not now"
    ]
    records = [json.loads(line) for line in (run_dir / "stats.jsonl").read_text().splitlines()]
    assert [set(record["collapse"]) for record in records] == [{"diversity"}] * 2
