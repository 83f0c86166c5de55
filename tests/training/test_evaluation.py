"""Metrics while training: the same numbers as afterwards, exact through interruptions, and never the end of a run."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from rich.console import Console

import ganzoo
from ganzoo.evaluation.evaluate import evaluate
from ganzoo.plugins import make_plugin_manager
from ganzoo.recipe import parse_recipe
from ganzoo.training.curves import draw_curves
from ganzoo.training.loop import train
from ganzoo.training.report import Reporter, read_stats
from ganzoo.weights import load_weights, read_metadata

EVAL = "eval={metrics: [tiny, brightness], every_kimg: 0.08, num: 300, extractor: tiny}"


@pytest.fixture(scope="module")
def plugins():
    return make_plugin_manager({"tiny": tiny.TinyPlugin})


@pytest.fixture
def run(plugins, tmp_path, monkeypatch):
    monkeypatch.setattr(tiny.TinyExtractor, "seen", 0)
    monkeypatch.setattr(tiny.TinyExtractor, "interrupt_at", 0)

    def train_tiny(*overrides, stop_at=None, resume_from=None, outdir="runs"):
        recipe = parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=overrides)
        run.reporter = Listener(stop_at)
        return train(recipe, plugins=plugins, outdir=tmp_path / outdir, resume_from=resume_from, reporter=run.reporter)

    run = train_tiny
    return train_tiny


@pytest.fixture(scope="module")
def whole(plugins, tmp_path_factory):
    """A run that nothing interrupted."""
    recipe = parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=[EVAL])
    return train(recipe, plugins=plugins, outdir=tmp_path_factory.mktemp("whole"), reporter=Listener()).run_dir


class Listener(Reporter):
    """Keeps what is said, and sends SIGINT once so many images were shown."""

    def __init__(self, stop_at=None):
        super().__init__(console=Console(quiet=True))
        self.said, self.stop_at = [], stop_at

    def log(self, message):
        self.said.append(message)
        super().log(message)

    def progress(self, nimg, growth):
        if self.stop_at is not None and nimg >= self.stop_at:
            self.stop_at = None
            signal.raise_signal(signal.SIGINT)

    def warnings(self):
        known = ("Below 2,048", "much alike")  # few images, of networks that have learned nothing yet
        return [line for line in self.said if line.startswith("warning") and not any(text in line for text in known)]


def records(run_dir):
    return read_stats(run_dir / "metrics.jsonl")


def timeless(run_dir):
    return [{key: value for key, value in record.items() if key != "seconds"} for record in records(run_dir)]


def weights_of(run_dir):
    return load_weights(sorted((run_dir / "snapshots").glob("snapshot-*"))[-1])[0]


def test_numbers_at_every_interval_and_at_the_end(run):
    run_dir = run(EVAL, "eval.every_kimg=0.1").run_dir
    found = records(run_dir)
    assert [record["nimg"] for record in found] == [104, 200, 300, 320]
    assert found[0].keys() == {"nimg", "resolution", "alpha", "seconds", "values", "results"}
    assert found[0]["values"].keys() == {"distance", "spread", "brightness"}
    assert found[0]["results"][0]["num_real"] == 40
    assert found[-1]["resolution"] == 16


def test_they_are_those_of_ganzoo_eval(run, plugins):
    run_dir = run(EVAL, "train.snapshot_kimg=0.08").run_dir
    wanted = {"num": 300, "extractor": "tiny", "device": "cpu", "plugins": plugins, "resolution": 16}
    best = min(records(run_dir), key=lambda record: record["values"]["distance"])
    kept = run_dir / "snapshots" / "best-distance.safetensors"
    assert read_metadata(kept)["nimg"] == str(best["nimg"])
    values = {r.name: r for r in evaluate(kept, None, ["tiny", "brightness"], log=lambda line: None, **wanted)}
    for result in best["results"]:
        again = values[result["name"]]
        assert again.value == pytest.approx(result["value"], rel=1e-4)
        assert (again.num_fake, again.settings) == (result["num_fake"], result["settings"])
    assert values["brightness"].num_fake == 40


def test_few_images_are_compared_with_all(run, plugins):
    part, whole = (
        run(EVAL, "data.max_images=20", f"eval.all_images={value}", outdir=value).run_dir for value in ("false", "true")
    )
    assert [record["results"][0]["num_real"] for record in records(part)] == [20] * 4
    assert [record["results"][0]["num_real"] for record in records(whole)] == [40] * 4
    assert records(part)[-1]["values"]["distance"] != records(whole)[-1]["values"]["distance"]
    assert all(torch.equal(weights_of(part)[key], weights_of(whole)[key]) for key in weights_of(part))
    last = sorted((whole / "snapshots").glob("snapshot-*"))[-1]
    options = {"num": 300, "extractor": "tiny", "device": "cpu", "plugins": plugins, "resolution": 16}
    (again, _) = evaluate(last, None, ["tiny"], log=lambda line: None, **options)
    assert again.num_real == 40
    assert again.value == pytest.approx(records(whole)[-1]["values"]["distance"], rel=1e-4)


def test_training_is_the_same_with_and_without(run):
    plain = weights_of(run(outdir="plain").run_dir)
    measured = weights_of(run(EVAL, outdir="measured").run_dir)
    assert all(torch.equal(plain[key], measured[key]) for key in plain)


@pytest.mark.parametrize("stop_at", [80, 130, 200])
def test_resuming_gives_the_same_numbers_and_the_same_best(run, whole, stop_at):
    part = run(EVAL, stop_at=stop_at, outdir="part")
    assert part.signal == signal.SIGINT
    resumed = run(EVAL, resume_from=part.run_dir).run_dir
    assert_same(whole, resumed)


@pytest.mark.parametrize(("interrupt_at", "kept"), [(10, 0), (200, 0), (339, 0), (400, 1)])
def test_a_signal_in_the_middle_of_an_evaluation(run, whole, interrupt_at, kept):
    """It stops soon, and the evaluation is taken up where it was."""
    tiny.TinyExtractor.seen, tiny.TinyExtractor.interrupt_at = 0, interrupt_at
    part = run(EVAL, outdir="part")
    assert part.signal == signal.SIGINT and part.nimg == 80 * (kept + 1)
    assert len(records(part.run_dir) if kept else []) == kept
    assert_same(whole, run(EVAL, resume_from=part.run_dir).run_dir)


def test_a_signal_in_the_last_evaluation(run):
    whole = run(EVAL, "eval.every_kimg=1", outdir="whole").run_dir
    tiny.TinyExtractor.seen, tiny.TinyExtractor.interrupt_at = 0, 300
    part = run(EVAL, "eval.every_kimg=1", outdir="part")
    assert (part.signal, part.nimg) == (signal.SIGINT, 320)
    assert any("--resume" in line for line in run.reporter.said)
    assert_same(whole, run(EVAL, "eval.every_kimg=1", resume_from=part.run_dir).run_dir)


def assert_same(one, two):
    with_subject = [timeless(run_dir) for run_dir in (one, two)]
    assert with_subject[0] == with_subject[1]
    hashes = [read_metadata(run_dir / "snapshots" / "best-distance.safetensors")["sha256"] for run_dir in (one, two)]
    assert hashes[0] == hashes[1]


def test_what_fails_is_said_once_and_ends_nothing(run):
    result = run(
        "eval={metrics: [{name: tiny, args: {fail: true}}, brightness], every_kimg: 0.08, num: 300, extractor: tiny}"
    )
    assert result.nimg == 320
    (warning,) = run.reporter.warnings()
    assert "tiny cannot be measured, and training goes on without: RuntimeError: no luck today" in warning
    assert [set(record["values"]) for record in records(result.run_dir)] == [{"brightness"}] * 4


def test_a_missing_file_is_said_before_the_first_step(run, tmp_path):
    result = run(EVAL, f"eval.weights={tmp_path / 'missing.pth'}")
    (warning,) = run.reporter.warnings()
    assert "missing.pth: no such file of weights" in warning
    first_step = next(i for i, line in enumerate(run.reporter.said) if line.startswith("kimg 0"))
    assert run.reporter.said.index(warning) < first_step
    assert [set(record["values"]) for record in records(result.run_dir)] == [{"brightness"}] * 4
    assert not list((result.run_dir / "snapshots").glob("best-*"))


def test_another_protocol_starts_its_own_best(run):
    part = run(EVAL, stop_at=170)
    first = json.loads(load_checkpoint_state(part.run_dir))["best"]["distance"]
    run(EVAL, "eval.num=40", "train.total_kimg=0.176", resume_from=part.run_dir)
    (value, nimg) = json.loads(load_checkpoint_state(part.run_dir))["best"]["distance"]
    assert nimg == 176 and value != first[0]


def load_checkpoint_state(run_dir):
    return read_metadata(sorted((run_dir / "checkpoints").glob("checkpoint-*"))[-1])["state"]


def test_best_by_another_number(run):
    run_dir = run(EVAL, "eval.best=spread").run_dir
    best = max(records(run_dir), key=lambda record: record["values"]["spread"])
    assert read_metadata(run_dir / "snapshots" / "best-spread.safetensors")["nimg"] == str(best["nimg"])
    assert any(
        line.startswith("best spread: ") and f"kimg {best['nimg'] / 1000:g}" in line for line in run.reporter.said
    )


def test_two_processes_share_the_work_and_agree(tmp_path, plugins):
    """Each makes about half of the images, and the numbers are those of one process."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = str(Path(__file__).with_name("run_tiny.py"))
    changes = [
        "train.total_kimg=0.016",
        "eval={metrics: [tiny, brightness], every_kimg: 9, num: 1024, extractor: tiny}",
    ]
    flags = [word for change in changes for word in ("--set", change)]
    done = subprocess.run(
        [*command, script, str(tmp_path), *flags], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    shares = sorted(int(line.split()[-1]) for line in done.stderr.splitlines() if "images seen:" in line)
    assert shares == [512, 552]  # two chunks of generated images each, and one has the 40 real ones
    (run_dir,) = tmp_path.iterdir()
    (record,) = records(run_dir)
    kept = run_dir / "snapshots" / "best-distance.safetensors"
    (again, *_) = evaluate(
        kept, None, ["tiny"], num=1024, extractor="tiny", device="cpu", plugins=plugins, resolution=16, log=print
    )
    assert record["values"]["distance"] == pytest.approx(again.value, rel=1e-4)


def test_curves_with_metrics(run, tmp_path):
    from PIL import Image

    run_dir = run(EVAL).run_dir
    draw_curves(read_stats(run_dir / "stats.jsonl"), tmp_path / "plain.png")
    with Image.open(tmp_path / "plain.png") as plain, Image.open(run_dir / "curves.png") as picture:
        assert picture.height > plain.height + 300  # a panel for each of the two metrics


def test_observers_hear_everything_and_may_fail(tmp_path):
    heard = []

    class Watcher:
        @staticmethod
        @ganzoo.hookimpl
        def ganzoo_run_started(run_dir, recipe, nimg):
            heard.append(("started", recipe["name"], nimg))

        @staticmethod
        @ganzoo.hookimpl
        def ganzoo_tick(record):
            heard.append(("tick", record["nimg"]))

        @staticmethod
        @ganzoo.hookimpl
        def ganzoo_grid(path, nimg):
            heard.append(("grid", nimg, path.exists()))

        @staticmethod
        @ganzoo.hookimpl
        def ganzoo_evaluated(record):
            heard.append(("evaluated", record["nimg"]))

        @staticmethod
        @ganzoo.hookimpl
        def ganzoo_run_ended():
            heard.append(("ended",))

    class Fails:
        @staticmethod
        @ganzoo.hookimpl
        def ganzoo_tick(record):
            raise ValueError("oh no")

    plugins = make_plugin_manager({"fails": Fails, "tiny": tiny.TinyPlugin, "watcher": Watcher})
    recipe = parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=[EVAL, "train.total_kimg=0.08"])
    listener = Listener()
    train(recipe, plugins=plugins, outdir=tmp_path, reporter=listener)
    assert heard[0] == ("started", "tiny", 0) and heard[-1] == ("ended",)
    assert [event[1] for event in heard if event[0] == "tick"] == [32, 64, 80]
    assert ("evaluated", 80) in heard and ("grid", 80, True) in heard
    assert [line for line in listener.warnings() if "oh no" in line] == [
        "warning: ganzoo_tick of fails 0 failed, and training goes on without it: ValueError: oh no"
    ]
