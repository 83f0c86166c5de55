"""No run dies of a resolution that does not fit: that is found out before; a step that fails even so is done again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import tiny
import torch
from test_choices import SHORT
from test_loop import StopAt, assert_same_end, statistics

from ganzoo.errors import GanzooError, RecipeError
from ganzoo.interfaces import GrowthState, Phase
from ganzoo.plugins import make_plugin_manager
from ganzoo.recipe import parse_recipe
from ganzoo.training import memory
from ganzoo.training.choices import Choice
from ganzoo.training.loop import train

KEPT = "train.keep_checkpoints=9"


@pytest.fixture(scope="module")
def plugins():
    return make_plugin_manager({"tiny": tiny.TinyPlugin})


@pytest.fixture
def run(plugins, tmp_path):
    def train_tiny(*overrides, stop_at=None, resume_from=None, outdir="runs"):
        recipe = parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=[*SHORT, *overrides])
        reporter = StopAt(stop_at)
        try:
            run_dir = train(
                recipe, plugins=plugins, outdir=tmp_path / outdir, resume_from=resume_from, reporter=reporter
            ).run_dir
        except GanzooError as error:
            error.said = reporter.said
            raise
        return run_dir, reporter.said

    return train_tiny


@pytest.fixture
def machine(monkeypatch):
    """With so many bytes that nothing is certain."""

    def has(available):
        monkeypatch.setattr(memory, "available_bytes", lambda *args, **kwargs: float(available))
        monkeypatch.setattr(memory, "_CERTAIN", 0.0)

    return has


def chosen(run_dir):
    found = json.loads((run_dir / "choices.json").read_text())
    return {name: values["accumulate"] for name, values in found.items()}


def test_the_probe_leaves_no_trace(run, machine):
    without, _ = run()
    machine(1e9)
    probed, said = run()
    (line,) = [line for line in said if line.startswith("memory: ")]
    assert line.endswith("at 16 px, batch 4; 1.0 GB are there")
    assert statistics(probed) == statistics(without)
    assert_same_end(probed, without)


def test_a_phase_that_does_not_fit_is_refused_before_there_is_a_run(run, machine, tmp_path):
    machine(1)
    with pytest.raises(
        RecipeError, match=r"cpu has .* of memory, and a step will need more:\n  4 px, batch 8: .*no train"
    ):
        run("growth.args.every=1000")
    assert not (tmp_path / "runs").exists()


def test_the_refusal_says_what_would_work(run, machine, monkeypatch):
    monkeypatch.setattr("ganzoo.training.probe._counted", lambda p, r, pr, growth, choice: needed(growth, choice))
    machine(0)
    with pytest.raises(RecipeError, match=r"8 px fading, batch 8: 400 .*would fit with train.accumulate: 2\n"):
        run_with(run, machine, 250_000)


def needed(growth: GrowthState, choice: Choice) -> float:
    """What a phase might need: half of it falls with the number of parts."""
    return 1e5 * (growth.resolution / 4) ** 2 * (1 if choice.recompute is None else 0.7) / choice.accumulate


def run_with(run, machine, available, *overrides):
    machine(available)
    return run(*overrides)


def test_ways_out_come_in_the_order_of_what_they_cost():
    phase = Phase(0, 1000, 64, False, 16, 0.001, 0.001)
    growth = GrowthState(64, 1.0, 16, 0.001, 0.001)

    def judged(available, peak=lambda growth, choice: needed(growth, choice), **options):
        options = {"may_split": True, "may_recompute": True, **options}
        return memory.judge(phase, growth, Choice(), peak, available, splits=[1, 4, 8, 16], **options)

    assert judged(1e9) == memory.Verdict(phase, Choice(), needed(growth, Choice()), True)
    assert judged(2.1e7).choice == Choice(recompute=32)
    assert judged(2.1e7, may_recompute=False).choice == Choice(accumulate=4)
    assert judged(4e6).choice == Choice(recompute=1, accumulate=8)
    told = judged(2.1e7, may_split=False, may_recompute=False)
    assert not told.fits and told.helps == (Choice(recompute=32), Choice(accumulate=4))
    assert judged(1.0).helps == ()


def test_the_batch_is_split_where_it_does_not_fit_and_a_resumed_run_does_the_same(run, machine, monkeypatch):
    monkeypatch.setattr("ganzoo.training.probe._counted", lambda p, r, pr, growth, choice: needed(growth, choice))
    machine(450_000)
    whole, said = run("train.accumulate=auto", outdir="whole")
    assert chosen(whole) == {"4 px, batch 8": 1, "8 px, batch 8": 1, "16 px, batch 4": 4}
    assert any(
        line.startswith("memory at 16 px, batch 4: fits as fp32, channels_last, 4 micro-batches") for line in said
    )
    stopped, _ = run("train.accumulate=auto", outdir="stopped", stop_at=112)
    machine(1e9)
    resumed, _ = run("train.accumulate=auto", resume_from=stopped)
    assert_same_end(whole, resumed)


@pytest.mark.parametrize("player, at", [("d_loss", 48), ("g_loss", 48), ("g_loss", 104)])
def test_a_step_that_runs_out_of_memory_is_done_again_in_parts(run, monkeypatch, player, at):
    """With D trained already, and with random numbers drawn: the end is as if it had been split from the start."""
    before = getattr(tiny.TinyLoss, player)
    seen = []

    def short_of_memory(self, G, D, batch):
        seen.append(len(batch.real))
        if batch.growth.resolution == (8 if at < 96 else 16) and len(batch.real) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return before(self, G, D, batch)

    monkeypatch.setattr(tiny.TinyLoss, player, short_of_memory)
    run_dir, said = run("train.accumulate=auto", KEPT, outdir="short")
    warnings = [line for line in said if "ran out of memory" in line]
    name, parts = ("8 px, batch 8", 4) if at < 96 else ("16 px, batch 4", 2)
    assert chosen(run_dir)[name] == parts and len(warnings) == (2 if at < 96 else 1)

    monkeypatch.setattr(tiny.TinyLoss, player, before)
    monkeypatch.setattr(memory, "is_certain", lambda *args: False)
    monkeypatch.setattr("ganzoo.training.probe._counted", lambda *args: 0.0)
    monkeypatch.setattr(
        memory, "judge",
        lambda phase, growth, choice, *args, **kw: memory.Verdict(
            phase, replace(choice, accumulate=parts if name.startswith(f"{phase.resolution} px") else 1), 0.0, True
        ),
    )  # fmt: skip
    from_the_start, _ = run("train.accumulate=auto", KEPT, outdir="planned")
    assert statistics(run_dir) == statistics(from_the_start)
    assert_same_end(run_dir, from_the_start)


def test_what_cannot_be_split_any_further_is_told(run, monkeypatch):
    monkeypatch.setattr(tiny.TinyLoss, "g_loss", lambda *args: torch.empty(2**52))
    with pytest.raises(GanzooError, match="cpu has not enough memory at kimg 0, 4 px") as caught:
        run("train.accumulate=auto")
    assert [line.rsplit(" ", 1)[1] for line in caught.value.said if "ran out of memory" in line] == ["2", "4", "8"]


def test_limits_of_containers_count(tmp_path):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert memory._of_cgroup(tmp_path) == 450
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._of_cgroup(tmp_path) is None
    assert memory._of_cgroup(tmp_path / "nowhere") is None


def test_recompute_changes_no_statistics_of_a_run(run, plugins):
    """The tiny networks have no blocks to recompute; the plugins' are tested with their losses."""
    plain, _ = run()
    again, _ = run("system.recompute=4")
    assert statistics(plain) == statistics(again)
