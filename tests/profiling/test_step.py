"""Steps without a run: the same as a run's, and the same in pieces and without numbers."""

import math
from collections import Counter

import pytest
import tiny
import torch
from rich.console import Console

from ganzoo import build
from ganzoo.data import open_data
from ganzoo.plugins import load_plugins, make_plugin_manager
from ganzoo.profiling.counting import CountSteps
from ganzoo.profiling.step import StepCase
from ganzoo.recipe import load_recipe, parse_recipe
from ganzoo.training.loop import train
from ganzoo.training.report import Reporter
from ganzoo.training.system import choose_system
from ganzoo.weights import load_weights

EVERYTHING = [
    "regularizers=[{name: penalty, args: {every: 2}}, {name: smoothness, args: {every: 4}}]",
    "augmentation={name: darkening}",
    "train.d_steps=2",
    "growth.args.every=100000",  # stays at the first resolution
]


@pytest.fixture(scope="module")
def plugins():
    return make_plugin_manager({"tiny": tiny.TinyPlugin})


def case_of(recipe, registry, *, growth=None, **options):
    growth = growth or build.build_growth(recipe, registry).at(0)
    return StepCase.build(recipe, registry, growth, system=choose_system(recipe.system), **options)


@pytest.mark.parametrize("change", ["train.accumulate=1", "train.accumulate=2", "train.reuse_fakes=true"])
def test_steps_are_those_of_the_loop_bit_for_bit(plugins, tmp_path, change):
    changes = [*EVERYTHING, "train.total_kimg=0.040", change]
    recipe = parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=changes)
    reporter = Reporter(console=Console(quiet=True))
    run_dir = train(recipe, plugins=plugins, outdir=tmp_path, reporter=reporter).run_dir
    trained, _ = load_weights(run_dir / "snapshots" / "snapshot-000000.safetensors")

    case = case_of(recipe, plugins.registry, data=open_data(recipe.data, plugins.registry))
    for _ in range(5):
        case.step()
    case.close()
    ours = case.G_ema.state_dict()
    assert ours.keys() == trained.keys()
    assert all(torch.equal(ours[name], trained[name]) for name in ours)


@pytest.mark.parametrize(
    ("reuse_fakes", "updates"), [("false", ["D", "D, penalty", "G"]), ("true", ["D and G", "D", "D, penalty"])]
)
def test_the_parts_add_up_to_the_steps(plugins, reuse_fakes, updates):
    changes = [*EVERYTHING, f"train.reuse_fakes={reuse_fakes}"]
    recipe = parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=changes)
    case = case_of(recipe, plugins.registry)
    case.step()
    case.state.d_step = case.state.g_step = 0
    steps, whole, parts = 4, Counter(), Counter()
    for _ in range(steps):
        with CountSteps(case.held()) as counts:
            case.step()
        whole.update(flops=counts.flops, kernels=counts.kernels)
    for part in case.parts():
        counts = case.count(part)
        times = part.per_step * steps
        assert times == math.floor(times)
        parts.update(flops=round(times * counts.flops), kernels=round(times * counts.kernels))
    assert [part.name for part in case.parts()] == [*updates, "G, smoothness", "D, augmentation", "G_ema"]
    assert parts == whole


@pytest.mark.parametrize(("name", "precision"), [("quickstart", "bf16"), ("cyclegan_emoji_cpu", "fp32")])
def test_fake_tensors_count_as_real_ones(name, precision, recipes):
    """But for copies that PyTorch makes or not as numbers lie in memory: up to one kernel in twenty."""
    registry = load_plugins().registry
    changes = [f"system.precision={precision}", *(["loss.args.pool_size=0"] if name.startswith("cyclegan") else [])]
    recipe = load_recipe(recipes / f"{name}.yaml", registry, changes)
    real, fake = (case_of(recipe, registry, fake=fake) for fake in (False, True))
    real.step()
    fake.step()
    for part_of_real, part_of_fake in zip(real.parts(), fake.parts(), strict=True):
        one, other = real.count(part_of_real), fake.count(part_of_fake)
        assert (part_of_real.name, one.flops) == (part_of_fake.name, other.flops)
        assert other.kernels == pytest.approx(one.kernels, rel=0.06)
        assert other.bytes_moved == pytest.approx(one.bytes_moved, rel=0.06)
        assert other.peak_bytes == pytest.approx(one.peak_bytes, rel=0.01)
        assert other.held_bytes == pytest.approx(one.held_bytes, rel=0.01)
