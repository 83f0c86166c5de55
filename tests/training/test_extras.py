"""Regularizers, in every step and lazy, and the augmentation of what D sees."""

import json
import signal

import pytest
import tiny
import torch
from rich.console import Console

from ganzoo import build
from ganzoo.cli import main
from ganzoo.errors import GanzooError, RecipeError
from ganzoo.interfaces import GrowthState
from ganzoo.plugins import make_plugin_manager
from ganzoo.recipe import parse_recipe
from ganzoo.training.extras import AugmentedDiscriminator, Regularizers
from ganzoo.training.loop import train
from ganzoo.training.players import make_optimizer
from ganzoo.training.report import Reporter, read_stats
from ganzoo.weights import load_weights, read_metadata

LAZY = "regularizers=[{name: penalty, args: {every: 3}}, smoothness]"


@pytest.fixture(scope="module")
def plugins():
    return make_plugin_manager({"tiny": tiny.TinyPlugin})


class StopAt(Reporter):
    def __init__(self, nimg=None):
        super().__init__(console=Console(quiet=True))
        self.nimg = nimg

    def progress(self, nimg, growth):
        if self.nimg is not None and nimg >= self.nimg:
            self.nimg = None
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def run(plugins, tmp_path):
    def train_tiny(*overrides, stop_at=None, resume_from=None, outdir="runs"):
        recipe = parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=overrides)
        result = train(
            recipe, plugins=plugins, outdir=tmp_path / outdir, resume_from=resume_from, reporter=StopAt(stop_at)
        )
        return result.run_dir

    return train_tiny


def last(run_dir):
    return load_weights(sorted((run_dir / "checkpoints").glob("checkpoint-*"))[-1])


def test_lazy_regularizers_have_steps_of_their_own(run):
    """56 steps of G and 112 of D: every third of D's is followed by one of the penalty, every fourth of G's."""
    run_dir = run(LAZY)
    tensors, metadata = last(run_dir)
    state = json.loads(metadata["state"])
    steps = state["g_step"]
    assert state["d_step"] == 2 * steps
    assert tensors["regularizer0/calls"] == -(-2 * steps // 3)
    assert tensors["opt_D/dense.bias/step"] <= 2 * steps + -(-2 * steps // 3)
    records = read_stats(run_dir / "stats.jsonl")
    assert all({"D/penalty", "G/smoothness"} <= record["loss"].keys() for record in records)


def test_optimiser_steps_between_two_resets(run):
    """Adam counts: the last phase of 4 px, 64 images, has 8 steps of G and 16 of D."""
    run_dir = run(LAZY, "train.total_kimg=0.064", "train.checkpoint_kimg=0.064")
    tensors, _ = last(run_dir)
    assert tensors["opt_D/dense.bias/step"] == 16 + 6
    assert tensors["opt_G/dense.bias/step"] == 8 + 2


def test_in_every_step_a_regularizer_is_part_of_the_loss(run):
    run_dir = run("regularizers=[penalty]", "train.total_kimg=0.064", "train.checkpoint_kimg=0.064")
    tensors, _ = last(run_dir)
    assert tensors["opt_D/dense.bias/step"] == 16
    assert tensors["regularizer0/calls"] == 16
    for record in read_stats(run_dir / "stats.jsonl"):
        loss = record["loss"]
        assert loss["D"] == pytest.approx(loss["D/real"] + loss["D/fake"] + loss["D/penalty"], rel=1e-5)


def test_the_weight_of_a_lazy_one_is_the_same_on_average(run):
    """With Adam at rest (lr 0) both see the same networks: means differ by sampling alone."""
    means = []
    for every in (1, 2):
        still = ["growth.args.lr=1e-12", "train.total_kimg=0.032", "data.labels=false"]
        run_dir = run(f"regularizers=[{{name: penalty, args: {{every: {every}}}}}]", *still, outdir=f"every{every}")
        (record,) = read_stats(run_dir / "stats.jsonl")
        means.append(record["loss"]["D/penalty"])
    assert means[0] == pytest.approx(means[1], rel=0.2)


def test_adam_is_corrected_for_the_additional_steps(plugins):
    regularizers = Regularizers([tiny.TinyPenalty(every=16), tiny.TinySmoothness(every=4)])
    assert regularizers.steps_share("D") == pytest.approx(16 / 17)
    assert regularizers.steps_share("G") == pytest.approx(4 / 5)
    assert Regularizers([tiny.TinyPenalty()]).steps_share("D") == 1
    recipe = parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny")
    optimizer = make_optimizer(recipe.optimizer, torch.nn.Linear(1, 1), regularizers.steps_share("D"))
    assert optimizer.defaults["betas"] == pytest.approx((0.0, 0.99 ** (16 / 17)))


@pytest.mark.parametrize("stop_at", [40, 100, 200])
def test_resuming_is_exact(run, stop_at):
    """Buffers of regularizers and augmentation, and whose turn it is, are in the checkpoint."""
    changes = [LAZY, "augmentation={name: darkening}"]
    whole = run(*changes, outdir="whole")
    resumed = run(*changes, resume_from=run(*changes, stop_at=stop_at, outdir="part"))
    (one, meta_one), (two, meta_two) = last(whole), last(resumed)
    assert one["augmentation/p"] > 0.1
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    assert [json.loads(meta["state"])["d_step"] for meta in (meta_one, meta_two)].count(112) in (0, 2)
    snapshots = [sorted((d / "snapshots").glob("*"))[-1] for d in (whole, resumed)]
    assert read_metadata(snapshots[0])["sha256"] == read_metadata(snapshots[1])["sha256"]


def test_what_d_sees():
    D = tiny.TinyDiscriminator(img_resolution=8, img_channels=3, c_dim=0)
    augmentation = tiny.TinyDarkening()
    seen = AugmentedDiscriminator(D, augmentation)
    growth = GrowthState(8, 1.0, 4, 0.001, 0.001)
    img = torch.rand(4, 3, 8, 8)
    assert torch.equal(seen(img, growth=growth), D(img, growth=growth))
    augmentation.p.fill_(1.0)
    torch.manual_seed(0)
    expected = D(img * (1 - torch.rand(4, 1, 1, 1)), growth=growth)
    torch.manual_seed(0)
    assert torch.equal(seen(img, growth=growth), expected)
    assert not any(p.requires_grad and p.grad is not None for p in D.parameters())


def test_an_augmentation_adapts_every_so_often(run):
    run_dir = run("augmentation={name: darkening, args: {speed: 0.001}}", "train.total_kimg=0.064")
    tensors, _ = last(run_dir)
    assert tensors["augmentation/p"] == pytest.approx(8 * 0.001 * 2 * 8)  # every second of 16 steps, 8 images a step
    records = read_stats(run_dir / "stats.jsonl")
    assert [record["augmentation"]["p"] for record in records] == pytest.approx([0.064, 0.128])
    assert "p 0.128" in (run_dir / "log.txt").read_text()
    assert (run_dir / "curves.png").exists()


def test_what_does_not_go_together_is_refused_with_the_reason(plugins, run, tmp_path, monkeypatch):
    with pytest.raises(
        RecipeError, match=r"regularizer 'penalty' of tiny 0 does not go with generator 'tiny'.*3 metres"
    ):
        run("regularizers=[{name: penalty, args: {refuse: true}}]")
    assert not (tmp_path / "runs").exists()
    monkeypatch.setattr("ganzoo.plugins.load_plugins", lambda: plugins)
    path = tmp_path / "bad.yaml"
    path.write_text(tiny.RECIPE.replace("growth:", "regularizers: [{name: penalty, args: {refuse: true}}]\ngrowth:"))
    from click.testing import CliRunner

    for command in (["recipe", "check", str(path)], ["run", str(path), "--dry-run"]):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 2 and "3 metres" in done.output


def test_networks_are_asked_about_every_phase(run, monkeypatch):
    def refuse(self, resolution):
        if resolution == 16:
            raise ValueError("too large a picture; 8 px would do")

    monkeypatch.setattr(tiny.TinyGenerator, "check_resolution", refuse)
    with pytest.raises(RecipeError, match=r"at 16 px: generator 'tiny' of tiny 0: too large a picture"):
        run()


def test_two_terms_of_one_name_are_an_error(run):
    with pytest.raises(GanzooError, match="both have a term called 'real'"):
        run("regularizers=[{name: penalty, args: {name: real}}]")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("regularizers=[penalti]", r"regularizers.0: no regularizer is called 'penalti'.*did you mean 'penalty'"),
        ("regularizers=[{name: penalty, args: {evry: 3}}]", r"regularizers.0.args.evry.*did you mean 'every'"),
        ("regularizers=[penalty, {name: penalty}]", r"regularizers.1: 'penalty' is there twice; keep one"),
        ("regularizers=penalty", r"regularizers.*list"),
        ("augmentation={name: darkness}", r"augmentation.name: no augmentation is called 'darkness'"),
        ("augmentation={name: darkening, args: {speed: fast}}", r"augmentation.args.speed: must be a number"),
    ],
)
def test_mistakes_in_recipes(plugins, change, message):
    with pytest.raises(RecipeError, match=message):
        parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=[change])


def test_the_dry_run_names_them(plugins):
    from ganzoo.training.plan import describe_recipe

    recipe = parse_recipe(
        tiny.RECIPE, plugins.registry, filename="tiny", overrides=[LAZY, "augmentation={name: darkening}"]
    )
    text = describe_recipe(recipe, plugins)
    assert "loss: tiny, penalty of D every 3 steps, smoothness of G every 4 steps" in text
    assert "augmentation: darkening" in text


def test_after_step_follows_every_step_of_its_player(run, monkeypatch):
    """Those of the loss, and those of lazy regularizers; never the other player's."""
    seen = []
    monkeypatch.setattr(tiny.TinyPenalty, "after_step", lambda self, player: seen.append(type(player)))
    run(LAZY, "train.total_kimg=0.064")
    assert seen == [tiny.TinyDiscriminator] * (16 + 6)


def test_rmsprop_resumes_exactly(run):
    changes = ["optimizer={name: rmsprop, args: {momentum: 0.5}}", LAZY, "train.total_kimg=0.096"]
    whole = run(*changes, outdir="whole")
    resumed = run(*changes, resume_from=run(*changes, stop_at=40, outdir="part"))
    (one, _), (two, _) = last(whole), last(resumed)
    assert one["opt_D/dense.bias/square_avg"].any() and one["opt_D/dense.bias/momentum_buffer"].any()
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


# --- micro-batches ---


def test_gradients_of_micro_batches_add_up_to_that_of_the_batch(run):
    """At 4 px the tiny players have neither dropout nor batch statistics. With beta1 = 0 Adam keeps the gradient."""
    changes = ["train.total_kimg=0.008", "train.d_steps=1", "growth.args.lr=1e-7", "loss.args.noise=0"]
    whole, _ = last(run(*changes))
    parts, _ = last(run(*changes, "train.accumulate=4"))
    names = [name for name in whole if name.endswith("/exp_avg")]
    assert {name.split("/")[0] for name in names} == {"opt_D", "opt_G"}
    assert sum(bool(whole[name].any()) for name in names) == len(names) - 1  # hinge: D's last bias is in balance
    for name in names:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-4, atol=1e-6)


def test_logged_terms_are_means_over_micro_batches(run):
    changes = ["train.total_kimg=0.032", "growth.args.lr=1e-9", "loss.args.noise=0"]
    (whole,), (parts,) = (read_stats(run(*changes, f"train.accumulate={k}") / "stats.jsonl") for k in (1, 4))
    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-4)


def test_resuming_with_micro_batches_is_exact(run):
    changes = ["train.accumulate=2", LAZY, "augmentation={name: darkening}", "train.total_kimg=0.096"]
    whole = run(*changes, outdir="whole")
    resumed = run(*changes, resume_from=run(*changes, stop_at=40, outdir="part"))
    (one, _), (two, _) = last(whole), last(resumed)
    assert one["augmentation/p"] > 0
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def test_batches_must_divide_into_micro_batches(plugins, monkeypatch):
    """Each process's share does; D is asked about the size that it will see."""
    recipe = parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=["train.accumulate=4"])
    G, D = build.build_networks(recipe, plugins.registry, img_channels=3, c_dim=0, device="meta")
    phases = build.build_growth(recipe, plugins.registry).phases(64)
    asked = []
    monkeypatch.setattr(tiny.TinyDiscriminator, "check_batch_size", lambda self, n: asked.append(n))
    for world_size in (1, 2):
        build.check_phases(recipe, plugins.registry, G, D, phases, world_size=world_size)
    assert asked == [2, 2], "statistics over a batch are of all processes"
    apart = recipe.model_copy(update={"system": recipe.system.model_copy(update={"whole_batch": False})})
    build.check_phases(apart, plugins.registry, G, D, phases, world_size=2)
    assert asked[2:] == [1]
    with pytest.raises(
        RecipeError, match=r"batch of 8 at 4 px does not divide.*accumulate 4.* in each of 4 processes; use .* of 16"
    ):
        build.check_phases(recipe, plugins.registry, G, D, phases, world_size=4)
