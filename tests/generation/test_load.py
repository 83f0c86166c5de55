"""Snapshots come back as the generator that was saved, and whatever is no usable snapshot is refused with a way out."""

from __future__ import annotations

import pytest
import torch

from ganzoo.errors import CheckpointError, GanzooError
from ganzoo.generation import load_generator
from ganzoo.plugins import make_plugin_manager
from ganzoo.training.checkpoint import Trainee, TrainingState, save_checkpoint
from ganzoo.weights import load_weights, save_weights


def test_snapshot_gives_the_saved_generator(make_snapshot, plugins):
    path = make_snapshot(kimg=5)
    torch.manual_seed(99)
    generator = load_generator(path, plugins=plugins)
    assert not generator.G.training and not any(p.requires_grad for p in generator.G.parameters())
    assert (generator.z_dim, generator.c_dim, generator.img_resolution, generator.img_channels) == (8, 0, 16, 3)
    assert (generator.nimg, generator.path, generator.recipe.name) == (5000, path, "small")
    z = torch.randn(2, 8)
    torch.manual_seed(5)
    original = type(generator.G)(z_dim=8, c_dim=0, img_resolution=16, img_channels=3).eval()
    assert torch.equal(generator(z), original(z, growth=generator.growth))


def test_images_have_the_resolution_that_training_had_reached(make_generator):
    assert make_generator(resolution=8)(torch.randn(2, 8)).shape == (2, 3, 8, 8)


def test_gradients_reach_the_latents(make_generator):
    z = torch.randn(2, 8, requires_grad=True)
    make_generator()(z).sum().backward()
    assert z.grad is not None and z.grad.abs().sum() > 0


def test_run_folder_means_its_newest_snapshot(make_snapshot, plugins):
    for kimg in (900, 12_000, 3_000):
        make_snapshot(kimg=kimg)
    snapshots = make_snapshot(kimg=2_000_000).parent  # seven digits sort before six as text
    (snapshots / "best-fid.safetensors").write_bytes(b"")
    assert load_generator(snapshots.parent, plugins=plugins).nimg == 2_000_000_000
    assert load_generator(snapshots, plugins=plugins).nimg == 2_000_000_000


def test_folder_without_snapshots(tmp_path, plugins):
    with pytest.raises(CheckpointError, match=r"has no snapshots/snapshot-\*"):
        load_generator(tmp_path, plugins=plugins)


def test_missing_file(tmp_path, plugins):
    for name in ("snapshot-000001.safetensors", "x" * 300):
        with pytest.raises(CheckpointError, match="no such file or folder; give a snapshot file or a run folder"):
            load_generator(tmp_path / name, plugins=plugins)


def test_flipped_bit_is_noticed(make_snapshot, plugins):
    path = make_snapshot()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        load_generator(path, plugins=plugins)


def test_file_that_is_no_snapshot(tmp_path, plugins):
    path = tmp_path / "model.safetensors"
    save_weights(path, {"x": torch.zeros(1)}, {})
    with pytest.raises(CheckpointError, match="not a snapshot"):
        load_generator(path, plugins=plugins)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", "[" * 200_000),
        ("model", '{"img_channels": 1000000, "c_dim": 0}'),
        ("growth", '{"resolution": 16, "code": "x"}'),
        ("nimg", "many"),
        ("plugins", "[1]"),
        ("class_names", '{"a": 1}'),
        ("recipe", None),
    ],
)
def test_metadata_that_are_whole_but_wrong(make_snapshot, plugins, key, value):
    path = make_snapshot()
    tensors, metadata = load_weights(path)
    del metadata["sha256"]
    metadata = {k: v for k, v in {**metadata, key: value}.items() if v is not None}
    save_weights(path, tensors, metadata)
    with pytest.raises(CheckpointError, match="its metadata are not those of a snapshot"):
        load_generator(path, plugins=plugins)


def test_checkpoint_points_to_the_snapshot(make_snapshot, plugins):
    snapshot = make_snapshot()
    checkpoint = save_checkpoint(
        snapshot.parent.parent / "checkpoints", Trainee({}, {}), TrainingState(), recipe="", extra={},
        device=torch.device("cpu"),
    )  # fmt: skip
    with pytest.raises(CheckpointError, match=f"is a checkpoint.*{snapshot.name}"):
        load_generator(checkpoint, plugins=plugins)
    snapshot.unlink()
    with pytest.raises(CheckpointError, match="no snapshot yet"):
        load_generator(checkpoint, plugins=plugins)


def test_missing_plugin_is_named_with_its_version(make_snapshot):
    path = make_snapshot()
    with pytest.raises(CheckpointError) as caught:
        load_generator(path, plugins=make_plugin_manager({}))
    assert "no generator is called 'small'" in str(caught.value)
    assert "ganzoo-small 0.3.1; try: pip install ganzoo-small==0.3.1" in str(caught.value)


def test_weights_of_another_architecture(make_snapshot, plugins, monkeypatch):
    path = make_snapshot()
    cls = plugins.registry.get("generator", "small").cls
    monkeypatch.setattr(cls, "__init__", _wider(cls.__init__))
    with pytest.raises(CheckpointError, match=r"(?s)does not fit the installed generator.*ganzoo-small 0\.3\.1"):
        load_generator(path, plugins=plugins)


def _wider(init):
    def wrapper(self, *, img_resolution: int, img_channels: int, c_dim: int, z_dim: int = 4) -> None:
        init(self, img_resolution=img_resolution, img_channels=img_channels, c_dim=c_dim, z_dim=z_dim)
        self.extra = torch.nn.Linear(1, 1)

    return wrapper


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta"])
def test_device_that_is_not_here(make_snapshot, plugins, device):
    with pytest.raises(GanzooError, match=f"device '{device}' cannot be used here"):
        load_generator(make_snapshot(), device=device, plugins=plugins)


@pytest.mark.parametrize("generator", ["small", "small-style"])
def test_bf16_gives_float32_images_that_differ_by_rounding(make_snapshot, plugins, generator):
    snapshot, z = make_snapshot(generator=generator), torch.randn(3, 8)
    exact, rounded = (load_generator(snapshot, plugins=plugins, precision=p)(z) for p in ("fp32", "bf16"))
    assert rounded.dtype == torch.float32 and rounded.is_contiguous()
    assert 0 < (exact - rounded).abs().max() < 0.05 * exact.abs().max()
