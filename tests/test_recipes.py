"""The recipes that come with the project say what their sources say."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from ganzoo import build
from ganzoo.cli import main
from ganzoo.interfaces import Batch
from ganzoo.plugins import load_plugins
from ganzoo.recipe import dump_recipe, load_recipe, parse_recipe

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
SCHEDULES = ROOT.parent / "shared" / "golden" / "schedules_official.json"


@pytest.fixture(scope="module")
def registry():
    registry = load_plugins().registry
    if "progan" not in registry.names("generator"):
        pytest.skip("ganzoo-progan is not installed")
    return registry


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid_and_names_its_source(registry, path):
    recipe = load_recipe(path, registry)
    build.build_growth(recipe, registry)
    c_dim = 10 if recipe.data.labels else 0
    img_channels, inputs = recipe.data.img_channels or 3, recipe.data.inputs
    _, in_channels = build.build_degradation(recipe, registry, img_channels=img_channels)
    if inputs is not None and inputs.degrade is None:
        in_channels = inputs.img_channels or 3
    G, D = build.build_networks(
        recipe, registry, img_channels=img_channels, c_dim=c_dim, in_channels=in_channels, device="meta"
    )
    build.build_objective(recipe, registry, G, D)
    assert all(p.is_meta for player in (G, D) for p in player.parameters())
    assert parse_recipe(dump_recipe(recipe), registry, filename="dumped") == recipe
    text = path.read_text()
    assert "# Source: " in text
    assert f"ganzoo run recipes/{path.name}" in text


@pytest.mark.parametrize("gpus", [1, 2, 4, 8])
def test_the_1024_recipes_are_the_official_presets(registry, gpus):
    if not SCHEDULES.exists():
        pytest.skip("../shared/golden is absent")
    name = f"progan_1024{'' if gpus == 1 else f'_{gpus}gpu'}.yaml"
    recipe = load_recipe(ROOT / "recipes" / name, registry)
    schedule = build.build_growth(recipe, registry, world_size=gpus)
    rows = json.loads(SCHEDULES.read_text())["progan"][f"v2-{gpus}gpu{'s' if gpus > 1 else ''}_res1024"]["rows"]
    assert len(rows) > 10
    for row in rows:
        state = schedule.at(row["cur_nimg"])
        assert (state.resolution, state.batch_size) == (row["resolution"], row["minibatch"])
        assert (state.g_lr, state.d_lr) == (row["G_lrate"], row["D_lrate"])
        assert state.alpha == pytest.approx(1 - row["lod"] % 1, abs=1e-9)
    assert recipe.train.total_kimg == 12000


def test_the_networks_of_1024_have_the_papers_size(registry):
    """23.1 million trainable parameters each (Karras et al. 2018, table 2)."""
    recipe = load_recipe(ROOT / "recipes" / "progan_1024.yaml", registry)
    for player in build.build_networks(recipe, registry, img_channels=3, c_dim=0, device="meta"):
        assert sum(p.numel() for p in player.parameters()) / 1e6 == pytest.approx(23.1, abs=0.05)


def test_cifar10_is_the_papers_setting(registry):
    recipe = load_recipe(ROOT / "recipes" / "progan_cifar10.yaml", registry)
    assert recipe.loss.args["target"] == 750
    assert recipe.data.img_resolution == 32 and not recipe.data.mirror


def test_dry_run_prints_parameters_phases_and_data_needs(registry):
    result = CliRunner().invoke(main, ["run", str(ROOT / "recipes" / "progan_1024.yaml"), "--dry-run"])
    assert result.exit_code == 0, result.output
    assert re.search(r"^G: progan, 23,\d{3},\d{3} parameters$", result.output, re.M)
    assert re.search(r"^D: progan, 23,\d{3},\d{3} parameters$", result.output, re.M)
    phases = re.findall(r"^ +[\d.]+ - [\d.]+ +(\d+) (fade|stable) +(\d+) ", result.output, re.M)
    assert phases[:3] == [("4", "stable", "128"), ("8", "fade", "128"), ("8", "stable", "128")]
    assert phases[-1] == ("1024", "stable", "4") and len(phases) == 17
    assert "data/celeba-hq is not here; give your own with --data PATH" in result.output
    assert "GiB for 30,000" in result.output


@pytest.mark.slow
@pytest.mark.parametrize("resolution", [512, 1024])
def test_one_real_step_at_full_size(registry, resolution):
    """Both players' steps at 1024 x 1024 with few channels: shapes, finite losses, every parameter moved."""
    from ganzoo.training.loop import follow_gradients, total_loss
    from ganzoo.training.players import make_optimizer

    recipe = load_recipe(
        ROOT / "recipes" / "progan_1024.yaml",
        registry,
        [f"{player}.args.fmap_max=16" for player in ("generator", "discriminator")],
    )
    torch.manual_seed(0)
    G, D = build.build_networks(recipe, registry, img_channels=3, c_dim=0)
    loss, *_ = build.build_objective(recipe, registry, G, D)
    schedule = build.build_growth(recipe, registry)
    start = {512: 8_100_000, 1024: 9_300_000}[resolution]
    growth = replace(schedule.at(start), batch_size=4)
    assert growth.resolution == resolution and growth.alpha == 0.5 and growth.batch_size == 4
    real = schedule.process_reals(torch.rand(4, 3, resolution, resolution) * 2 - 1, growth)
    for player, other, terms_of in ((D, G, loss.d_loss), (G, D, loss.g_loss)):
        player.requires_grad_(True)
        other.requires_grad_(False)
        before = {name: p.detach().clone() for name, p in player.named_parameters()}
        terms = terms_of(G, D, Batch(real, None, torch.randn(4, 512), None, growth))
        loss = total_loss(terms)
        loss.backward()
        assert not follow_gradients(player, make_optimizer(recipe.optimizer, player), growth.g_lr, loss)
        assert all(torch.isfinite(term).all() for term in terms.values())
        still = {name for name, p in player.named_parameters() if torch.equal(p, before[name])}
        unused = {
            name for name in before if "rgb" in name and not re.search(rf"\.({resolution}|{resolution // 2})\.", name)
        }
        unused |= {name for name in before if resolution == 512 and ".1024." in name}
        assert still == unused


@pytest.mark.parametrize("batch_size", ["6", "{16: 6, default: 8}"])
@pytest.mark.parametrize("command", [["recipe", "check"], ["run", "--dry-run"], ["run"]])
def test_a_batch_that_d_does_not_take_is_told_before_training(registry, tmp_path, monkeypatch, command, batch_size):
    monkeypatch.chdir(tmp_path)
    recipe, override = str(ROOT / "recipes" / "quickstart.yaml"), f"growth.args.batch_size={batch_size}"
    result = CliRunner().invoke(main, [*command, recipe, "--set", override])
    assert result.exit_code == 2
    assert re.search(
        r"a batch of 6 at (4|16) px: discriminator 'progan' of ganzoo-progan \S+ a batch of 6 images", result.output
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.img_resolution=48", "power of two"),
        (
            "growth.args.start_resolution=5",
            "start_resolution 5 does not become img_resolution 32 by doubling: it can be 4, 8",
        ),
        ("growth.args.stable_kimg=.inf", "growth.args.stable_kimg: must be a finite number"),
        ("generator.name=stylegan9", "no generator is called 'stylegan9'; installed: "),
    ],
)
def test_what_progan_cannot_do_is_told_before_training(registry, tmp_path, monkeypatch, override, message):
    monkeypatch.chdir(tmp_path)
    recipe = str(ROOT / "recipes" / "quickstart.yaml")
    for command in (["recipe", "check"], ["run", "--dry-run"], ["run"]):
        result = CliRunner().invoke(main, [*command, recipe, "--set", override])
        assert result.exit_code == 2
        assert message in result.output
    assert not list(tmp_path.iterdir())
