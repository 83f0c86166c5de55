"""What is chosen at each resolution is measured on copies, remembered, and the same after a crash."""

from __future__ import annotations

import json

import pytest
import tiny
import torch
from test_loop import StopAt, assert_same_end, statistics

from ganzoo.plugins import make_plugin_manager
from ganzoo.recipe import parse_recipe
from ganzoo.training import arithmetic, choices, system
from ganzoo.training.checkpoint import TrainingState
from ganzoo.training.loop import train

SHORT = ["train.total_kimg=0.144", "train.d_steps=1", "growth.args.every=48"]
AUTO = [*SHORT, "system.precision=auto"]


@pytest.fixture(scope="module")
def plugins():
    return make_plugin_manager({"tiny": tiny.TinyPlugin})


@pytest.fixture
def run(plugins, tmp_path):
    def train_tiny(*overrides, stop_at=None, resume_from=None, outdir="runs"):
        recipe = parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=overrides)
        reporter = StopAt(stop_at)
        result = train(recipe, plugins=plugins, outdir=tmp_path / outdir, resume_from=resume_from, reporter=reporter)
        return result.run_dir, reporter.said

    return train_tiny


@pytest.fixture(autouse=True)
def a_cpu_with_bf16(monkeypatch):
    monkeypatch.setattr(system, "cpu_computes_in_bf16", lambda: True)
    monkeypatch.setattr(arithmetic, "cpu_computes_in_bf16", lambda: True)


@pytest.fixture
def winner(monkeypatch):
    """Everything is worth measuring, and the winner is the one named here; steps are taken even so."""
    wins = {"is": ("fp32", "contiguous"), "measured": 0}

    def seconds(trial, candidate):
        trial.use(candidate)
        trial.step()
        wins["measured"] += 1
        return 1.0 if candidate == wins["is"] else 3.0

    monkeypatch.setattr(arithmetic, "LEAST_FLOP", 0)
    monkeypatch.setattr(arithmetic, "_seconds", seconds)
    return wins


def recorded(run_dir):
    found = json.loads((run_dir / choices.CHOICES_FILE).read_text())
    return {name: (values["precision"], values.get("memory_format")) for name, values in found.items()}


def test_a_precision_in_the_recipe_measures_nothing(run, winner):
    run_dir, _ = run(*SHORT)
    assert winner["measured"] == 0 and not (run_dir / choices.CHOICES_FILE).exists()


def test_steps_too_small_to_matter_take_the_rule(run):
    run_dir, said = run(*AUTO)
    assert set(recorded(run_dir).values()) == {("bf16", "channels_last")}
    assert "4 px, batch 8: bf16, channels_last (not measured: a step is too small to matter)" in said
    by_hand, _ = run(*SHORT, "system.precision=bf16")
    assert statistics(run_dir) == statistics(by_hand)


def test_the_fastest_is_taken_and_training_is_as_if_the_recipe_said_so(run, winner):
    """With dropout, noise, labels and a loss that counts its calls: the measurement leaves no trace."""
    run_dir, said = run(*AUTO)
    assert recorded(run_dir) == dict.fromkeys(
        ("4 px, batch 8", "8 px, batch 8", "16 px, batch 4"), ("fp32", "contiguous")
    )
    assert [line for line in said if line.startswith("8 px, batch 8: fp32, contiguous (a step: bf16 channels_last 3 s")]
    by_hand, _ = run(*SHORT, "system.precision=fp32", "system.memory_format=contiguous")
    assert statistics(run_dir) == statistics(by_hand)


def test_a_memory_format_in_the_recipe_is_kept(run, winner):
    run_dir, _ = run(*AUTO, "system.memory_format=channels_last")
    assert set(recorded(run_dir).values()) == {("bf16", None)}


@pytest.mark.parametrize("lost", ["nothing", "the run's file"])
def test_a_resumed_run_computes_as_before_and_measures_nothing_anew(run, winner, lost, monkeypatch, tmp_path):
    whole, _ = run(*AUTO, outdir="whole")
    stopped, _ = run(*AUTO, outdir="stopped", stop_at=112)
    if lost != "nothing":
        (stopped / choices.CHOICES_FILE).unlink()
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "another"))
    winner |= {"is": ("fp32", "channels_last"), "measured": 0}
    resumed, said = run(*AUTO, resume_from=stopped)
    assert winner["measured"] == 0
    assert not [line for line in said if line.startswith("warning")]
    assert_same_end(whole, resumed)


def test_what_was_measured_is_remembered_for_other_runs(run, winner):
    run(*AUTO)
    times = winner["measured"]
    _, said = run(*AUTO, "seed=4")
    assert winner["measured"] == times
    assert "8 px, batch 8: fp32, contiguous (measured before)" in said
    run(*AUTO, "generator.args.width=7")
    assert winner["measured"] == 2 * times


def test_a_phase_begun_before_there_were_choices_goes_on_by_the_rule(run, winner, monkeypatch):
    stopped, _ = run(*SHORT, "system.precision=bf16", stop_at=72)
    resumed, said = run(*AUTO, resume_from=stopped)
    assert "8 px, batch 8: bf16, channels_last (as before)" in said
    assert recorded(resumed)["16 px, batch 4"] == ("fp32", "contiguous")


def test_what_cannot_be_measured_takes_the_rule(run, winner, monkeypatch):
    monkeypatch.setattr(arithmetic, "_seconds", lambda trial, candidate: torch.zeros(2) @ torch.zeros(3))
    run_dir, said = run(*AUTO)
    assert set(recorded(run_dir).values()) == {("bf16", "channels_last")}
    assert any("not measured: RuntimeError: " in line for line in said)


class FakeTrial:
    def __init__(self, **seconds):
        self.seconds, self.now, self.steps = seconds, 0.0, []

    def use(self, candidate):
        self.candidate = candidate[0]

    def step(self):
        self.steps.append(self.candidate)
        self.now += self.seconds[self.candidate]


@pytest.mark.parametrize(
    "seconds, wanted, steps",
    [
        ({"a": 0.1, "b": 0.09, "c": 0.3}, "b", 3 + 2 * 4),  # c is out after the first round
        ({"a": 0.1, "b": 0.098}, "a", 2 + 2 * 5),  # not clearly faster than the rule
        ({"a": 40.0, "b": 30.0}, "b", 2),  # too slow to be repeated
    ],
)
def test_the_fastest(monkeypatch, seconds, wanted, steps):
    trial = FakeTrial(**seconds)
    monkeypatch.setattr(arithmetic.time, "perf_counter", lambda: trial.now)
    chosen, times = arithmetic.fastest(trial, [(name, "") for name in seconds])
    assert chosen == (wanted, "") and len(trial.steps) == steps
    assert times == pytest.approx({(name, ""): value for name, value in seconds.items()})


def test_choices_of_another_device_or_of_what_the_recipe_says_now_do_not_count(plugins):
    def made(*overrides, kind="cpu", state, world_size=1):
        recipe = parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=overrides)
        chosen = system.choose_system(recipe.system)
        return choices.Choices(recipe, chosen, state, kind=kind, world_size=world_size)

    state = TrainingState()
    auto = ["system.precision=auto", "train.accumulate=auto"]
    made(*auto, state=state).decide("8 px", precision="fp32", accumulate=2, memory_format="contiguous")
    assert made(*auto, state=state).of("8 px") == choices.Choice("fp32", "contiguous", 2)
    assert made(*auto, state=state, kind="GPU").of("8 px") == choices.Choice("bf16", "channels_last", 1)
    assert made("system.precision=bf16", state=state).of("8 px") == choices.Choice("bf16", "contiguous", 1)
    two = made(*auto, state=state, world_size=2)
    assert two.of("8 px") == choices.Choice("fp32", "contiguous", 1) and two.open("8 px") == {"accumulate"}
    two.decide("8 px", accumulate=4)
    assert two.of("8 px").accumulate == 4 and made(*auto, state=state).of("8 px").accumulate == 1


@pytest.mark.parametrize(
    "values",
    [
        {"accumulate": "x"},
        {"accumulate": 0},
        {"accumulate": True},
        {"recompute": "y"},
        {"precision": "fp16"},
        {"memory_format": 7},
        {"compile": 1},
    ],
)
def test_choices_that_make_no_sense_are_made_anew(plugins, values):
    auto = ["system.precision=auto", "train.accumulate=auto", "system.recompute=auto", "system.compile=auto"]
    recipe = parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=auto)
    state = TrainingState(choices={"8 px": {**values, "on": "cpu"}})
    edited = choices.Choices(recipe, system.choose_system(recipe.system), state, kind="cpu")
    assert edited.decided("8 px") == {} and edited.of("8 px") == edited.rule
