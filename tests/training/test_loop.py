"""The loop, with the smallest GAN that grows: what it writes, how it stops, and that resuming is exact."""

import json
import os
import signal
import sys

import pytest
import tiny
import torch
from PIL import Image
from rich.console import Console

from ganzoo.errors import CheckpointError, GanzooError
from ganzoo.plugins import make_plugin_manager
from ganzoo.recipe import parse_recipe
from ganzoo.training import opening, session
from ganzoo.training.loop import passed, total_loss, train
from ganzoo.training.report import Reporter
from ganzoo.weights import load_weights, read_metadata


@pytest.fixture(scope="module")
def plugins():
    return make_plugin_manager({"tiny": tiny.TinyPlugin})


@pytest.fixture
def run(plugins, tmp_path):
    """Train tiny.RECIPE, perhaps stopping at some image or resuming; returns the run folder."""

    def train_tiny(*overrides, stop_at=None, resume_from=None, outdir="runs", reporter=None):
        recipe = parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=overrides)
        reporter = reporter or StopAt(stop_at)
        return train(
            recipe, plugins=plugins, outdir=tmp_path / outdir, resume_from=resume_from, reporter=reporter
        ).run_dir

    return train_tiny


class StopAt(Reporter):
    """Sends this process SIGINT once so many images were shown, and keeps what is said."""

    def __init__(self, nimg=None):
        super().__init__(console=Console(quiet=True))
        self.nimg, self.said = nimg, []

    def progress(self, nimg, growth):
        if self.nimg is not None and nimg >= self.nimg:
            self.nimg = None
            signal.raise_signal(signal.SIGINT)

    def log(self, message):
        self.said.append(message)
        super().log(message)


def newest(run_dir, kind):
    return sorted((run_dir / f"{kind}s").glob(f"{kind}-*.safetensors"))[-1]


def assert_same_end(a, b):
    """Both runs ended with the same snapshot file and, but for the time they took, the same checkpoint."""
    assert read_metadata(newest(a, "snapshot"))["sha256"] == read_metadata(newest(b, "snapshot"))["sha256"]
    (one, meta_one), (two, meta_two) = load_weights(newest(a, "checkpoint")), load_weights(newest(b, "checkpoint"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[k], two[k]) for k in one)
    states = [json.loads(meta["state"]) for meta in (meta_one, meta_two)]
    assert [{**s, "seconds": 0} for s in states] == [{**states[0], "seconds": 0}] * 2


def statistics(run_dir):
    records = [json.loads(line) for line in (run_dir / "stats.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k != "timing"} for r in records]


def test_what_a_run_leaves_behind(run):
    run_dir = run()
    assert run_dir.name == "00000-tiny-faces"
    names = {p.name for p in run_dir.iterdir()}
    assert names >= {"recipe.yaml", "log.txt", "stats.jsonl", "curves.png", "reals.png", "fakes_init.png"}
    assert not [p for p in run_dir.rglob("*tmp*")]
    assert Image.open(run_dir / "fakes_000000.png").size == (3 * 96, 2 * 96)

    records = statistics(run_dir)
    assert [r["nimg"] for r in records] == list(range(32, 321, 32))
    assert [r["resolution"] for r in records] == [4, 4, 8, 8] + [16] * 6
    assert set(records[0]["loss"]) == {"D", "D/real", "D/fake", "G", "G/fake"}
    assert (run_dir / "log.txt").read_text().count("8 px, fading") == 1

    metadata = read_metadata(newest(run_dir, "snapshot"))
    assert metadata["format"] == "ganzoo-snapshot/1" and metadata["nimg"] == "320"
    assert json.loads(metadata["plugins"]) == {"tiny": "0", "ganzoo": "0.1.0"}
    assert metadata["recipe"] == (run_dir / "recipe.yaml").read_text()
    assert len(list((run_dir / "checkpoints").iterdir())) == 3
    assert json.loads(load_weights(newest(run_dir, "checkpoint"))[1]["state"])["position"] == 2 * 320


def test_a_seed_gives_the_same_run_and_another_seed_another(run):
    one, two, three = run(), run(), run("seed=4")
    assert (one.name, two.name) == ("00000-tiny-faces", "00001-tiny-faces")
    assert_same_end(one, two)
    assert statistics(one) == statistics(two) != statistics(three)


# 104 and 232 are in the middle of the fades to 8 and 16 px, and between two ticks and two checkpoints.
@pytest.mark.parametrize("stop_at", [40, 104, 232])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_ends_with_the_same_bits(run, stop_at, workers):
    whole = run(f"system.workers={workers}", outdir="whole")
    stopped = run(f"system.workers={workers}", outdir="stopped", stop_at=stop_at)
    assert statistics(stopped) == statistics(whole)[: stop_at // 32]
    resumed = run(f"system.workers={workers}", resume_from=stopped)
    assert resumed == stopped
    assert_same_end(whole, resumed)
    assert statistics(whole) == statistics(resumed)


def test_resuming_is_exact_where_fakes_are_reused(run):
    options = ["train.reuse_fakes=true", "regularizers=[{name: smoothness}, {name: penalty, args: {every: 2}}]"]
    whole, stopped = run(*options, outdir="whole"), run(*options, outdir="stopped", stop_at=104)
    assert_same_end(whole, run(*options, resume_from=stopped))


def test_resuming_is_exact_in_bf16_too(run):
    whole = run("system.precision=bf16", outdir="whole")
    stopped = run("system.precision=bf16", outdir="stopped", stop_at=104)
    assert_same_end(whole, run("system.precision=bf16", resume_from=stopped))


def test_a_run_can_be_made_longer(run):
    whole = run("train.total_kimg=0.4", outdir="whole")
    longer = run("train.total_kimg=0.4", resume_from=run())
    assert_same_end(whole, longer)


def test_stopping_says_how_to_go_on(run):
    reporter = StopAt(104)
    run_dir = run(reporter=reporter)
    assert reporter.said[-1] == (
        f"stopped by SIGINT at kimg 0.104, after a checkpoint. Go on with: ganzoo run --resume {run_dir}"
    )
    assert newest(run_dir, "checkpoint").name == "checkpoint-000000104.safetensors"


def test_a_finished_run_has_nothing_to_resume(run):
    run_dir = run()
    before = newest(run_dir, "snapshot").read_bytes()
    run(resume_from=run_dir)
    assert newest(run_dir, "snapshot").read_bytes() == before


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_a_damaged_checkpoint_is_passed_over(run, damage):
    whole, run_dir = run(outdir="whole"), run(stop_at=200)
    path = newest(run_dir, "checkpoint")
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-1000] ^= 1
    path.write_bytes({"truncate": content[: len(content) // 2], "flip": content, "empty": b""}[damage])
    reporter = StopAt()
    run(resume_from=run_dir, reporter=reporter)
    assert any(f"{path}: " in line and "trying the one before" in line for line in reporter.said)
    assert_same_end(whole, run_dir)


def test_no_whole_checkpoint_is_an_error_that_says_so(run):
    run_dir = run(stop_at=200)
    for path in (run_dir / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="none of its 3 checkpoints is whole; start anew"):
        run(resume_from=run_dir)


def test_another_recipe_cannot_go_on_with_a_run(run):
    run_dir = run(stop_at=104)
    before = {p: p.read_bytes() for p in run_dir.rglob("*") if p.is_file()}
    with pytest.raises(CheckpointError, match=r"trained with another recipe:\n  seed: 3 in the run, 5 now"):
        run("seed=5", resume_from=run_dir)
    assert {p: p.read_bytes() for p in run_dir.rglob("*") if p.is_file()} == before


def test_other_data_cannot_go_on_with_a_run(run, tmp_path):
    def photos(shade):
        folder = tmp_path / f"images{shade}"
        for label in "ab":
            (folder / label).mkdir(parents=True)
            for i in range(4):
                Image.new("RGB", (16, 16), (shade, 60 * i, 90)).save(folder / label / f"{i}.png")
        return [f"data.path={json.dumps(str(folder))}", "data.source=null"]

    run_dir = run(*photos(10), stop_at=104)
    with pytest.raises(CheckpointError, match="was trained on other data"):
        run(*photos(11), resume_from=run_dir)


def test_a_folder_in_use_is_refused(run):
    from ganzoo.training.rundir import lock_run_dir

    run_dir = run(stop_at=104)
    lock = lock_run_dir(run_dir)
    with pytest.raises(GanzooError, match="another process is training in this folder"):
        run(resume_from=run_dir)
    lock.release()
    run(resume_from=run_dir)


@pytest.mark.parametrize("step", [11, 19, 30])
def test_a_loss_that_is_no_number_ends_the_run_with_a_checkpoint_from_before(run, tmp_path, step):
    with pytest.raises(GanzooError, match=r"diverged before kimg 0\.\d+: D, .*is not a finite number"):
        run(f"loss.args.explode_at={step}")
    (run_dir,) = (tmp_path / "runs").iterdir()
    for path in run_dir.rglob("*.safetensors"):
        tensors, _ = load_weights(path)
        assert all(torch.isfinite(t).all() for t in tensors.values() if t.is_floating_point())
    assert newest(run_dir, "checkpoint")


def test_terms_are_means_over_all_steps_of_a_player(run):
    """With three D steps for each of G, the logged loss of D is their mean and not their sum."""
    records = statistics(run("train.d_steps=3", "loss.args.noise=0", "growth.args.lr=1e-9"))
    assert all(0.5 < r["loss"]["D/real"] < 1.5 for r in records), "hinge at the start is about 1"


def test_going_on_with_other_arithmetic_is_told(run):
    run_dir, reporter = run(stop_at=104), StopAt()
    run("system.precision=bf16", resume_from=run_dir, reporter=reporter)
    (line,) = [line for line in reporter.said if line.startswith("warning: trained by")]
    assert "in fp32 with 1 thread(s)" in line and "in bf16 with 1 thread(s)" in line

    reporter = StopAt()
    run("system.precision=bf16", "train.total_kimg=0.4", resume_from=run_dir, reporter=reporter)
    assert not [line for line in reporter.said if "warning" in line]


def test_what_a_killed_process_left_half_written_is_removed(run):
    run_dir = run(stop_at=104)
    left = run_dir / "checkpoints" / ".checkpoint-000000112.4711.tmp.safetensors"
    left.write_bytes(b"half")
    run(resume_from=run_dir)
    assert not left.exists()


def test_passed_keeps_the_beat_whatever_the_step():
    assert [n for n in range(0, 100, 7) if passed(n, n + 7, 0.02)] == [14, 35, 56, 77, 98]
    assert passed(0, 4000, 4) and not passed(0, 3999, 4)


def test_total_loss_is_the_sum_of_the_means():
    terms = {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([[1.0], [2.0]]), "c": torch.tensor(0.5)}
    assert total_loss(terms).item() == 2.0 + 1.5 + 0.5


def test_a_run_that_is_long_enough_says_that_nothing_is_left(run):
    run_dir, reporter = run(stop_at=104), StopAt()
    run("train.total_kimg=0.05", resume_from=run_dir, reporter=reporter)
    said = "\n".join(reporter.said)
    assert "nothing is left to train: train.total_kimg is 0.05" in said
    assert "snapshot:" not in said, "there is none of this moment"


def test_ctrl_c_interrupts_at_once_while_nothing_is_trained_yet(run, monkeypatch, tmp_path):
    monkeypatch.setattr(opening, "open_data", lambda *args, **kwargs: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        run()
    assert not (tmp_path / "runs").exists()


def test_a_gpu_that_is_too_small_is_told(run, monkeypatch):
    def fail(*args):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(tiny.TinyLoss, "g_loss", fail)
    with pytest.raises(GanzooError, match=r"not enough memory at kimg 0, 4 px with a batch of 8 .*batch_size"):
        run()


def test_a_machine_that_is_too_small_is_told_too(run, monkeypatch):
    monkeypatch.setattr(tiny.TinyLoss, "g_loss", lambda *args: torch.empty(2**52))
    with pytest.raises(GanzooError, match="cpu has not enough memory at kimg 0, 4 px"):
        run()


def test_an_error_that_is_not_of_memory_keeps_its_traceback(run, monkeypatch):
    def fail(*args):
        raise RuntimeError("a bug")

    monkeypatch.setattr(tiny.TinyLoss, "g_loss", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        run()


def test_a_recipe_that_was_edited_in_the_run_folder_is_noticed(run):
    """Both recipes agree then, and only the checkpoint knows."""
    run_dir = run(stop_at=40)
    recorded = run_dir / "recipe.yaml"
    recorded.write_text(recorded.read_text().replace("d_steps: 2", "d_steps: 1"))
    with pytest.raises(CheckpointError, match=r"train\.d_steps: 2 in the run, 1 now\n.*recipe\.yaml was edited since"):
        run("train.d_steps=1", resume_from=run_dir)


def test_a_clock_that_stands_still_ends_nothing(run, monkeypatch):
    monkeypatch.setattr(session.time, "perf_counter", lambda: 7.0)
    assert len(statistics(run("train.total_kimg=0.04"))) == 2


def test_a_folder_that_cannot_be_written_says_what_to_do(tmp_path):
    from ganzoo.training.rundir import lock_run_dir

    (tmp_path / "run").write_text("no folder")
    with pytest.raises(
        GanzooError, match=r"cannot be written: (Not a directory|File exists)\. Make it writable, or copy it"
    ):
        lock_run_dir(tmp_path / "run")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_text_are_no_trouble(run, tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    for i in range(4):
        Image.new("RGB", (16, 16), (60 * i, 0, 90)).save(folder / os.fsdecode(b"\xff%d.png" % i))
    data = [f"data.path={json.dumps(str(folder))}", "data.labels=false", "train.total_kimg=0.1"]
    run_dir = run(*data, stop_at=40)
    assert run_dir.name == "00000-tiny-caf_"
    assert run(*data, resume_from=run_dir) == run_dir
