"""benchmarks/zoo_cifar10.py: its recipes hold what docs/zoo.md says, and what is finished is not done again."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from ganzoo import build
from ganzoo.errors import GanzooError
from ganzoo.plugins import load_plugins

for plugin in ("biggan", "classic", "progan", "stylegan"):
    pytest.importorskip(f"ganzoo_{plugin}")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def zoo():
    spec = importlib.util.spec_from_file_location("zoo_cifar10", ROOT / "benchmarks" / "zoo_cifar10.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["zoo_cifar10"] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["zoo_cifar10"]


@pytest.fixture
def trained(zoo, monkeypatch):
    """Pretend to train; the list holds (name, resumed from) of each call. A GAN called lsgan diverges."""
    calls = []

    def train(recipe, *, outdir, resume):
        calls.append((recipe.name, resume))
        if recipe.name == "lsgan":
            raise GanzooError("training diverged")
        run = outdir / "00000-run"
        run.mkdir(parents=True, exist_ok=True)
        write(run / "recipe.yaml", [])
        results = [
            {"name": n, "value": v, "standard_error": e} for n, v, e in (("fid", 39.04, 0.089), ("kid", 1.3, None))
        ]
        write(run / "metrics.jsonl", [{"results": []}, {"results": results}])
        for name, seed in (("fakes_000004", 0), ("reals", 1)):
            pixels = np.random.default_rng(seed).integers(0, 256, (96, 192, 3), np.uint8)
            Image.fromarray(pixels).save(run / f"{name}.png")
        return SimpleNamespace(run_dir=run, nimg=4000, signal=None)

    monkeypatch.setattr(zoo.ganzoo, "train", train)
    return calls


def write(path: Path, lines: list) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def run(zoo, out: Path, *names: str, kimg: float = 4.0) -> list[str]:
    return zoo.train_all(zoo.chosen(list(names)), out, data="cifar10.zip", kimg=kimg, seed=0, device="cpu")


def test_all_are_of_one_size_and_one_budget(zoo):
    registry = load_plugins().registry
    for entry in zoo.ENTRIES:
        G, D = zoo.parameters(entry, registry)
        assert 0.85e6 < G < 1.15e6 and 0.85e6 < D < 1.15e6, f"{entry.name}: {G:,} and {D:,}"
        recipe = zoo.parse(entry, registry, data="cifar10.zip", kimg=40)
        networks = build.build_networks(
            recipe, registry, img_channels=3, c_dim=10 if entry.labels else 0, device="meta"
        )
        build.build_objective(recipe, registry, *networks)  # refuses parts that do not go together
        phases = build.build_growth(recipe, registry).phases(40_000)
        build.check_phases(recipe, registry, *networks, phases, world_size=1)
        assert phases[-1].resolution == 32
        assert recipe.train.total_kimg == 40 and recipe.train.d_steps == 1
        assert recipe.growth.args["batch_size"] == 32 and recipe.data.labels == entry.labels


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("dcgan", "dcgan_64"),
        ("wgan-gp", "wgan-gp_cifar10"),
        ("r3gan", "r3gan_cifar10"),
        ("sngan", "sngan_cifar10"),
        ("sagan", "sagan_128"),
        ("biggan", "biggan_cifar10"),
        ("stylegan2-cond", "stylegan2_ada_cifar10"),
    ],
)
def test_learning_rates_and_regularizers_are_those_of_the_recipe(zoo, name, recipe):
    (entry,) = zoo.chosen([name])
    theirs = yaml.safe_load((ROOT / "recipes" / f"{recipe}.yaml").read_text(encoding="utf-8"))
    growth = theirs["growth"]["args"]
    assert entry.lr == (growth["lr"], growth.get("d_lr", growth["lr"]))
    assert entry.betas is not None
    assert list(entry.betas) == theirs.get("optimizer", {"args": {"betas": [0.0, 0.99]}})["args"]["betas"]
    assert entry.regularizers == theirs.get("regularizers", [])
    assert entry.loss[0] == theirs["loss"]["name"]


def test_wgan_is_that_of_its_recipe(zoo):
    (entry,) = zoo.chosen(["wgan"])
    recipe = entry.recipe(data="cifar10.zip", kimg=20)
    theirs = yaml.safe_load((ROOT / "recipes" / "wgan_64.yaml").read_text(encoding="utf-8"))
    assert recipe["optimizer"] == theirs["optimizer"] and recipe["regularizers"] == theirs["regularizers"]
    assert recipe["growth"]["args"]["lr"] == theirs["growth"]["args"]["lr"]


def test_results_are_a_table_in_the_zoos_order(zoo, trained, tmp_path):
    write(tmp_path / "speed.json", [{"images_per_second": {"dcgan": 249.6}}])
    assert run(zoo, tmp_path, "cgan", "dcgan") == []
    found = json.loads((tmp_path / "zoo.json").read_text())
    assert found["settings"] == {"kimg": 4.0, "seed": 0, "data": "cifar10.zip"}
    assert [r["name"] for r in found["gans"]] == ["dcgan", "cgan"]
    text = (tmp_path / "zoo.md").read_text()
    assert "| dcgan | no | 39.0 ± 0.1 | 1.30 | 1.00 | 250 | 963,720 | 1,033,920 | [grid](dcgan/grid.png) |" in text
    cgan = next(line for line in text.splitlines() if line.startswith("| cgan | yes |"))
    assert "| 1.00 |  | 1,002,120 |" in cgan, "its speed was not measured"
    assert "*4,000 images shown to each, on " in text
    assert (tmp_path / "cgan" / "grid.png").is_file()


def test_speed_of_a_gan_that_grows_is_over_all_its_phases(zoo, monkeypatch):
    monkeypatch.setattr(zoo, "StepCase", Clocked)
    monkeypatch.setattr(zoo.time, "perf_counter", lambda: Clocked.now)
    found = zoo.speeds(zoo.chosen(["gan", "progan"]), 20.0, "cpu", rounds=3, steps=2)
    assert found["images_per_second"]["gan"] == pytest.approx(32 / 32**2)
    shares = {4: 0.1, 8: 0.2, 16: 0.2, 32: 0.5}  # a tenth of the images for each phase before the last
    assert found["images_per_second"]["progan"] == pytest.approx(
        1 / sum(share * r**2 / 32 for r, share in shares.items()),
        rel=1e-3,  # phases end with whole batches
    )


class Clocked:
    """A step that takes R^2 seconds at R px, in place of StepCase."""

    now = 0.0

    def __init__(self, growth):
        self.growth = growth

    @classmethod
    def build(cls, recipe, registry, growth, **options):
        assert options["c_dim"] == 0
        return cls(growth)

    def step(self):
        Clocked.now += self.growth.resolution**2

    def synchronize(self):
        pass


def test_what_is_finished_is_skipped_and_what_is_not_goes_on(zoo, trained, tmp_path):
    run(zoo, tmp_path, "dcgan")
    run(zoo, tmp_path, "dcgan", "acgan")
    assert trained == [("dcgan", None), ("acgan", None)]
    (tmp_path / "acgan" / "result.json").unlink()
    run(zoo, tmp_path, "acgan")
    assert trained[2:] == [("acgan", tmp_path / "acgan" / "00000-run")]


def test_one_that_fails_does_not_stop_the_others(zoo, trained, tmp_path, capsys):
    assert run(zoo, tmp_path, "lsgan", "dcgan") == ["lsgan"]
    assert "error: lsgan: training diverged" in capsys.readouterr().err
    assert (tmp_path / "dcgan" / "result.json").is_file() and not (tmp_path / "lsgan" / "result.json").exists()


def test_another_budget_needs_another_folder(zoo, trained, tmp_path):
    run(zoo, tmp_path, "dcgan")
    with pytest.raises(GanzooError, match="do not compare"):
        run(zoo, tmp_path, "acgan", kimg=8.0)


def test_diversity_is_none_where_all_images_are_alike(zoo, tmp_path):
    one = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(np.tile(one, (3, 4, 1))).save(tmp_path / "collapsed.png")
    assert zoo.mean_distance(tmp_path / "collapsed.png") == pytest.approx(0, abs=1e-3)
    halves = np.concatenate([np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 200, np.uint8)], axis=1)
    Image.fromarray(halves).save(tmp_path / "two.png")
    assert zoo.mean_distance(tmp_path / "two.png") == pytest.approx(200)


def test_unknown_names_are_refused(zoo):
    with pytest.raises(GanzooError, match="there is no such GAN; there are gan, dcgan"):
        zoo.chosen(["dcgam"])


def test_docs_get_the_table_once(zoo, trained, tmp_path, monkeypatch):
    docs = tmp_path / "zoo.md"
    docs.write_text((ROOT / "docs" / "zoo.md").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(zoo, "DOCS", docs)
    monkeypatch.setattr(zoo, "PICTURES", tmp_path / "images")
    run(zoo, tmp_path / "out", "dcgan")
    zoo.write_docs(tmp_path / "out")
    first = docs.read_text(encoding="utf-8")
    zoo.write_docs(tmp_path / "out")
    assert docs.read_text(encoding="utf-8") == first
    assert first.count("| dcgan |") == 1 and "[grid](images/zoo/dcgan.png)" in first
    with Image.open(tmp_path / "images" / "dcgan.png") as picture:
        assert picture.size == (64, 32)
    docs.write_text("no marks")
    with pytest.raises(GanzooError, match="must have one line"):
        zoo.write_docs(tmp_path / "out")
