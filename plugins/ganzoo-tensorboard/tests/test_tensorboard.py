"""Train through the public interface, and read back what TensorBoard would show."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from torch import nn

import ganzoo

EventAccumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator").EventAccumulator


class Dots(ganzoo.Generator):
    def __init__(self, *, img_resolution: int, img_channels: int, c_dim: int) -> None:
        super().__init__(z_dim=4, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.dense = nn.Linear(4, img_channels * img_resolution**2)

    def forward(self, z, c=None, *, growth):
        return self.dense(z).tanh().reshape(len(z), self.img_channels, self.img_resolution, self.img_resolution)


class Judge(ganzoo.Discriminator):
    def __init__(self, *, img_resolution: int, img_channels: int, c_dim: int) -> None:
        super().__init__(c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.dense = nn.Linear(img_channels * img_resolution**2, 1)

    def forward(self, img, c=None, *, growth):
        return self.dense(img.flatten(1))


class Wasserstein(ganzoo.Loss):
    def d_loss(self, G, D, batch):
        fake = G(batch.z, growth=batch.growth)
        return {"score": D(fake, growth=batch.growth) - D(batch.real, growth=batch.growth)}

    def g_loss(self, G, D, batch):
        return {"score": -D(G(batch.z, growth=batch.growth), growth=batch.growth)}


class Toys:
    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_generators(register):
        register("dots", Dots)

    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_discriminators(register):
        register("judge", Judge)

    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_losses(register):
        register("wasserstein", Wasserstein)


RECIPE = {
    "name": "watched",
    "data": {"source": {"name": "faces", "args": {"num_images": 120}}, "img_resolution": 8, "cache": "off"},
    "generator": {"name": "dots"},
    "discriminator": {"name": "judge"},
    "loss": {"name": "wasserstein"},
    "growth": {"name": "fixed", "args": {"batch_size": 8, "lr": 0.001}},
    "train": {"total_kimg": 0.064, "tick_kimg": 0.016, "snapshot_kimg": 0.032},
    "eval": {"metrics": ["kid"], "num": 100, "every_kimg": 0.032, "extractor": "small"},
    "system": {"device": "cpu", "threads": 1},
}


@pytest.fixture
def run_dir(tmp_path, monkeypatch) -> Path:
    """A run that was stopped half way and resumed."""
    import ganzoo_tensorboard
    from ganzoo.plugins import make_plugin_manager

    if find_spec("torch_fidelity") is None:
        pytest.skip("needs torch-fidelity: pip install 'ganzoo[eval]'")
    plugins = make_plugin_manager({"toys": Toys, "tensorboard": ganzoo_tensorboard})
    monkeypatch.setattr("ganzoo.api.load_plugins", lambda: plugins)
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    first = ganzoo.train(RECIPE, overrides=["train.total_kimg=0.048"], outdir=tmp_path / "runs")
    return ganzoo.train(RECIPE, resume=first.run_dir).run_dir


def test_what_tensorboard_shows(run_dir):
    events = EventAccumulator(str(run_dir)).Reload()
    tags = set(events.Tags()["scalars"])
    assert {"loss/D", "loss/G", "loss/D/score", "metrics/kid", "growth/resolution", "timing/sec_per_kimg"} <= tags
    assert [event.step for event in events.Scalars("loss/D")] == [16, 32, 48, 64]
    assert [event.step for event in events.Scalars("metrics/kid")] == [32, 48, 64]
    steps = [event.step for event in events.Images("fakes")]
    assert steps[-1] == 64 and steps[0] == 0


def test_numbers_are_those_of_the_run(run_dir):
    import json

    events = EventAccumulator(str(run_dir)).Reload()
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    shown = {event.step: event.value for event in events.Scalars("metrics/kid")}
    assert shown == pytest.approx({record["nimg"]: record["values"]["kid"] for record in records})


def test_a_folder_that_cannot_be_written_to_does_not_stop_training(tmp_path, monkeypatch):
    import ganzoo_tensorboard
    from ganzoo.plugins import make_plugin_manager

    def fails(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", fails)
    plugins = make_plugin_manager({"toys": Toys, "tensorboard": ganzoo_tensorboard})
    monkeypatch.setattr("ganzoo.api.load_plugins", lambda: plugins)
    result = ganzoo.train(RECIPE, overrides=["eval=null"], outdir=tmp_path / "runs")
    assert result.nimg == 64
    log = (result.run_dir / "log.txt").read_text()
    assert log.count("ganzoo_run_started of tensorboard") == 1 and "no space left" in log


def test_torch_is_not_imported_until_something_is_trained():
    import subprocess
    import sys

    code = "import sys, ganzoo_tensorboard; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_grids_are_pictures(run_dir):
    events = EventAccumulator(str(run_dir)).Reload()
    picture = events.Images("fakes")[-1]
    assert picture.width > 0 and picture.encoded_image_string.startswith(b"\x89PNG")
