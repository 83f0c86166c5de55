"""Numbers that are not finite: kept out of the weights, and what the recipe wants done about them."""

import json

import pytest
import tiny
import torch
from rich.console import Console
from torch import nn

from ganzoo.errors import GanzooError
from ganzoo.plugins import make_plugin_manager
from ganzoo.recipe import OptimizerConfig, parse_recipe
from ganzoo.training.checkpoint import TrainingState
from ganzoo.training.divergence import LeftOut, all_finite, step_if_finite
from ganzoo.training.loop import train
from ganzoo.training.players import make_optimizer
from ganzoo.training.report import Reporter
from ganzoo.weights import load_weights, read_metadata

NAN = float("nan")
SHORT = "train.total_kimg=0.16"


class Heard(Reporter):
    def __init__(self):
        super().__init__(console=Console(quiet=True))
        self.said = []

    def log(self, message):
        self.said.append(message)
        super().log(message)


@pytest.fixture
def run(tmp_path):
    """Train tiny.RECIPE. spoil(player, n, terms): may change the terms of a player's n-th loss of this process."""

    def train_tiny(*overrides, spoil=None, resume_from=None, outdir="runs"):
        class Loss(tiny.TinyLoss):
            def __init__(self, *, noise: float = 0.1) -> None:
                super().__init__(noise=noise)
                self.calls = {"D": 0, "G": 0}

            def d_loss(self, G, D, batch):
                return self._spoilt("D", super().d_loss(G, D, batch))

            def g_loss(self, G, D, batch):
                return self._spoilt("G", super().g_loss(G, D, batch))

            def _spoilt(self, player, terms):
                self.calls[player] += 1
                return terms if spoil is None else spoil(player, self.calls[player], terms)

        class Plugin(tiny.TinyPlugin):
            @staticmethod
            @tiny.ganzoo.hookimpl
            def ganzoo_register_losses(register):
                register("tiny", Loss)

        plugins, reporter = make_plugin_manager({"tiny": Plugin}), Heard()
        recipe = parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=[SHORT, *overrides])
        run_dir = train(
            recipe, plugins=plugins, outdir=tmp_path / outdir, resume_from=resume_from, reporter=reporter
        ).run_dir
        return run_dir, reporter.said

    return train_tiny


def spoil_at(player, *steps, what=lambda term: term * NAN):
    return lambda p, n, terms: (
        {name: what(term) for name, term in terms.items()} if p == player and n in steps else terms
    )


class InfiniteGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("inf")


def state_of(run_dir, number=-1):
    return json.loads(read_metadata(sorted((run_dir / "checkpoints").iterdir())[number])["state"])


def statistics(run_dir):
    return [json.loads(line) for line in (run_dir / "stats.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
@pytest.mark.parametrize("bad", ["loss", "gradient", "nothing"])
def test_weights_and_optimiser_stay_as_they_were(name, bad):
    torch.manual_seed(0)
    player = nn.Linear(3, 2)
    optimizer = make_optimizer(OptimizerConfig(name=name), player)
    for group in optimizer.param_groups:
        group["lr"] = 0.1

    def step(loss, gradient=1.0):
        for p in player.parameters():
            p.grad = torch.full_like(p, gradient)
        return step_if_finite(optimizer, torch.tensor(loss)).item()

    assert step(1.0) == 0
    before = [p.detach().clone() for p in player.parameters()]
    slots = [{k: v.clone() for k, v in s.items()} for s in optimizer.state.values()]
    left_out = step(NAN if bad == "loss" else 1.0, float("inf") if bad == "gradient" else 1.0)
    same = all(torch.equal(a, b) for a, b in zip(before, player.parameters(), strict=True)) and all(
        torch.equal(s[k], now[k]) for s, now in zip(slots, optimizer.state.values(), strict=True) for k in s
    )
    assert (left_out, same) == ((0.0, False) if bad == "nothing" else (1.0, True))


def test_all_finite():
    assert all_finite([]) and all_finite([torch.ones(2), torch.tensor(3), torch.empty(0)])
    assert not all_finite([torch.ones(2), torch.tensor([1.0, NAN])])
    assert not all_finite([torch.tensor(float("-inf"))])


def test_steps_left_out_are_counted_and_running_statistics_put_back():
    norm, state = nn.BatchNorm1d(1), TrainingState()
    left_out = LeftOut(state, {"norm": norm}, torch.device("cpu"))
    for bad in (1, 1, 0, 1):
        before = norm.running_mean.clone()
        left_out.begin()
        norm(torch.tensor([[1.0], [NAN if bad else 2.0]]))
        left_out.add(torch.tensor(float(bad)))
        left_out.add(torch.tensor(0.0))  # the other player's update was good
        left_out.end()
        assert torch.equal(norm.running_mean, before) == bool(bad)
    assert left_out.read() == [3, 1, 2]
    assert norm.num_batches_tracked == 1
    left_out.reset()
    assert left_out.read() == [3, 1, 0]


@pytest.mark.parametrize("bad", [0.0, 1.0])
def test_a_buffer_that_grows_is_put_back_too(bad):
    pool = nn.Module()
    pool.register_buffer("images", torch.zeros(0, 2))
    left_out = LeftOut(TrainingState(), {"pool": pool}, torch.device("cpu"))
    left_out.begin()
    pool.images = torch.cat([pool.images, torch.full((1, 2), NAN)])
    left_out.add(torch.tensor(bad))
    left_out.end()
    assert len(pool.images) == (0 if bad else 1)


@pytest.mark.parametrize("player", ["D", "G"])
def test_stop_names_the_newest_checkpoint_and_the_way_on(run, tmp_path, player):
    with pytest.raises(GanzooError) as error:
        run(spoil=spoil_at(player, 14))
    (run_dir,) = (tmp_path / "runs").iterdir()
    newest = max((run_dir / "checkpoints").iterdir())
    message = str(error.value)
    assert f"{player}, {player}/fake" in message and "is not a finite number" in message
    assert f"The newest checkpoint, {newest}, is from before" in message
    assert f"`ganzoo run --resume {run_dir} --set train.on_divergence=rollback`" in message
    run("train.on_divergence=rollback", resume_from=run_dir)


def test_a_gradient_is_enough(run, tmp_path):
    with pytest.raises(GanzooError, match="the gradient of G is not a finite number"):
        run(spoil=spoil_at("G", 14, what=InfiniteGradient.apply))


def test_weights_are_enough(run):
    with pytest.raises(GanzooError, match="is not a finite number"):
        run("growth.args.lr=1e38")


def test_skip_goes_on_without_and_counts(run):
    run_dir, said = run(
        "train.on_divergence=skip",
        "augmentation.name=darkening",
        spoil=spoil_at("D", 7, 20, 21, what=InfiniteGradient.apply),
    )
    whole, _ = run("augmentation.name=darkening", outdir="whole")
    assert any("1 update(s) in a row were skipped before kimg 0.032" in line for line in said)
    assert [r["divergence"]["skipped"] for r in statistics(run_dir)][:4] == [1, 1, 3, 3], "steps 4, 10 and 11"
    assert state_of(run_dir)["left_out"][:2] == [3, 0]
    assert all(0 < r["loss"]["D"] < 10 for r in statistics(run_dir))
    tensors, _ = load_weights(max((run_dir / "checkpoints").iterdir()))
    assert all(torch.isfinite(t).all() for t in tensors.values() if t.is_floating_point())
    assert statistics(run_dir)[0]["loss"]["D/real"] != statistics(whole)[0]["loss"]["D/real"]
    assert "skipped 3" in (run_dir / "log.txt").read_text()


def test_skip_gives_up_after_so_many_in_a_row(run):
    spoil = spoil_at("G", *range(9, 99))
    with pytest.raises(GanzooError, match=r"G is not a finite number\. 4 updates in a row were skipped"):
        run("train.on_divergence=skip", "train.divergence_limit=3", spoil=spoil)


def test_skip_is_exact_when_resumed(run):
    """Counts, running statistics and sums of a row that a checkpoint lies in the middle of."""
    options = ["train.on_divergence=skip", "train.tick_kimg=0.08"]

    def bad_from(first):  # calls are counted anew in each process
        return spoil_at("G", *range(9 - first, 13 - first))

    whole, _ = run(*options, spoil=bad_from(0), outdir="whole")
    part, _ = run(*options, "train.total_kimg=0.08", spoil=bad_from(0), outdir="part")
    assert state_of(part)["left_out"][1] == 2
    run(*options, spoil=bad_from(10), resume_from=part)
    one, two = state_of(whole), state_of(part)
    assert {**one, "seconds": 0} == {**two, "seconds": 0} and one["left_out"] == [4, 0, 0]


def test_rollback_goes_on_from_the_checkpoint_with_other_numbers(run):
    run_dir, said = run("train.on_divergence=rollback", spoil=spoil_at("G", 14))
    whole, _ = run(outdir="whole")
    (line,) = [line for line in said if "rolled back" in line]
    assert "diverged before kimg 0.12 (G, G/fake is not finite)" in line and "checkpoint-000000080" in line
    assert state_of(run_dir)["rollbacks"] == 1 and state_of(run_dir)["nimg"] == 160
    assert state_of(run_dir)["position"] > state_of(whole)["position"], "the images that led there are not shown again"
    records = statistics(run_dir)
    assert [r["nimg"] for r in records] == list(range(32, 161, 32)), "no tick twice"
    assert records[1]["loss"] == statistics(whole)[1]["loss"] and records[-1]["loss"] != statistics(whole)[-1]["loss"]
    assert (run_dir / "log.txt").read_text().count("system:") == 1


def test_rollback_before_any_checkpoint_and_at_most_so_often(run):
    run_dir, said = run("train.on_divergence=rollback", spoil=spoil_at("D", 1, 9))
    assert sum("checkpoint-000000000" in line for line in said) == 2
    assert state_of(run_dir)["nimg"] == 160
    with pytest.raises(GanzooError, match=r"It was rolled back 2 times\."):
        run("train.on_divergence=rollback", "train.divergence_limit=2", spoil=spoil_at("D", *range(9, 999)))


def test_the_checkpoint_before_a_phase_is_not_of_broken_networks(run):
    """It is written where micro-batches are found on the way, whatever else is due."""
    options = ["train.accumulate=auto", "growth.args.every=48"]
    run_dir, said = run(*options, "train.on_divergence=rollback", spoil=spoil_at("G", 6))
    (line,) = [line for line in said if "rolled back" in line]
    assert "diverged before kimg 0.048" in line and "checkpoint-000000040" in line
    assert state_of(run_dir)["nimg"] == 160 and "NaN" not in (run_dir / "stats.jsonl").read_text()
    with pytest.raises(GanzooError, match=r"diverged before kimg 0\.048"):
        run(*options, spoil=spoil_at("G", 6), outdir="stop")


def test_rollback_is_exact_when_resumed(run):
    """Whoever is killed after a rollback goes on as if nothing had been."""
    whole, _ = run("train.on_divergence=rollback", spoil=spoil_at("G", 14), outdir="whole")
    part, _ = run("train.on_divergence=rollback", "train.total_kimg=0.12", spoil=spoil_at("G", 14), outdir="part")
    run("train.on_divergence=rollback", resume_from=part)
    hashes = [read_metadata(max((d / "snapshots").iterdir()))["sha256"] for d in (whole, part)]
    assert hashes[0] == hashes[1]
