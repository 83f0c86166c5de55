"""From numbers and names to a snapshot: recognising, recipes, options, and errors that say what would work."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import ClassVar

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

import ganzoo
from ganzoo import ForeignNetwork, ForeignWeights, GrowthState, ImportedModel, hookimpl
from ganzoo.cli import main
from ganzoo.errors import CheckpointError, GanzooError
from ganzoo.generation import load_generator
from ganzoo.importing import child, convert, reading
from ganzoo.importing.convert import import_weights
from ganzoo.importing.reading import read_foreign
from ganzoo.plugins import make_plugin_manager
from ganzoo.weights import read_metadata


class Toy(ganzoo.Generator):
    def __init__(
        self, *, c_dim: int, img_resolution: int, img_channels: int, z_dim: int = 3, gain: float = 1.0
    ) -> None:
        super().__init__(z_dim=z_dim, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.gain = gain
        self.dense = nn.Linear(z_dim, img_channels * img_resolution**2)

    def forward(self, z: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        return self.gain * self.dense(z).reshape(-1, self.img_channels, growth.resolution, growth.resolution)

    def check_resolution(self, resolution: int) -> None:
        if resolution != self.img_resolution:
            raise ValueError("does not grow")


class ToyD(ganzoo.Discriminator):
    def __init__(self, *, c_dim: int, img_resolution: int, img_channels: int) -> None:
        super().__init__(c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)

    def forward(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        return img.mean(dim=(1, 2, 3))[:, None]


class ToyLoss(ganzoo.Loss):
    def d_loss(self, G, D, batch):
        return {}

    def g_loss(self, G, D, batch):
        return {}


class ToyImporter(ganzoo.Importer):
    title: ClassVar[str] = "Toy of tests .pth"

    def __init__(self, *, gain: float = 1.0) -> None:
        self.gain = gain

    def recognises(self, weights: ForeignWeights) -> bool:
        found = weights.first("G_ema", "")
        return found is not None and "fc.w" in found[1].tensors

    def model(self, weights: ForeignWeights) -> ImportedModel:
        found = weights.first("G_ema", "")
        assert found is not None
        rows, z_dim = found[1].tensors["fc.w"].shape
        if rows == 5:
            raise ValueError("five rows are another function; 48 can be imported")
        recipe = {
            "generator": {"name": "toy", "args": {"z_dim": z_dim, "gain": self.gain}},
            "discriminator": {"name": "toy"},
            "loss": {"name": "toy"},
            "growth": {"name": "fixed", "args": {"batch_size": 4}},
        }
        return ImportedModel(networks=[found[0]], recipe=recipe, img_resolution=4, img_channels=3, notes=["a note"])

    def generator_state(self, weights: ForeignWeights) -> dict[str, Tensor]:
        found = weights.first("G_ema", "")
        assert found is not None
        tensors = dict(found[1].tensors)
        return {"dense.weight": tensors.pop("fc.w"), "dense.bias": tensors.pop("fc.b")} | tensors


class SameImporter(ToyImporter):
    title: ClassVar[str] = "Toy of others .pth"


class Plugin:
    @hookimpl
    def ganzoo_register_generators(self, register):
        register("toy", Toy)

    @hookimpl
    def ganzoo_register_discriminators(self, register):
        register("toy", ToyD)

    @hookimpl
    def ganzoo_register_losses(self, register):
        register("toy", ToyLoss)

    @hookimpl
    def ganzoo_register_importers(self, register):
        register("toy", ToyImporter)


class SecondPlugin:
    @hookimpl
    def ganzoo_register_importers(self, register):
        register("same", SameImporter)


@pytest.fixture(scope="module")
def plugins():
    return make_plugin_manager({"toy": Plugin()})


@pytest.fixture
def weights():
    generator = torch.Generator().manual_seed(0)
    return OrderedDict((("fc.w", torch.randn(48, 3, generator=generator)), ("fc.b", torch.zeros(48))))


@pytest.fixture
def write(tmp_path):
    def write(content, name="model.pth"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return write


def refused(files, out, plugins, match, **options):
    with pytest.raises(GanzooError, match=match):
        import_weights(files, out, plugins=plugins, **options)
    assert not out.exists()


def test_a_snapshot_with_all_that_is_needed(write, weights, plugins, tmp_path):
    zeros = OrderedDict((key, torch.zeros_like(x)) for key, x in weights.items())
    optimiser = {"state": {0: {"exp_avg": torch.ones(9)}}, "param_groups": []}
    path = write({"G": zeros, "G_ema": weights, "optim": optimiser, "step": 7}, "my model!.pth")
    out = tmp_path / "deep" / "toy.safetensors"
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = import_weights([path], out, plugins=plugins)
    assert torch.equal(torch.get_rng_state(), before)
    assert (found.family, found.networks, found.notes) == ("toy", ["G_ema"], ["a note"])
    assert found.left_out == ["network 'G'", "state of an optimiser (optim)"]
    generator = load_generator(out, plugins=plugins)
    assert (generator.nimg, generator.z_dim, generator.img_resolution, generator.recipe.name) == (0, 3, 4, "my-model")
    z = torch.randn(2, 3)
    torch.testing.assert_close(generator(z), (z @ weights["fc.w"].T).reshape(2, 3, 4, 4))
    imported = json.loads(read_metadata(out)["imported"])
    assert imported == {"family": "toy", "files": {"my model!.pth": convert.file_digest(path)}}


def test_name_and_options(write, weights, plugins, tmp_path):
    out = tmp_path / "toy.safetensors"
    import_weights([write(weights)], out, plugins=plugins, name="other", options={"gain": 2.0})
    generator = load_generator(out, plugins=plugins)
    assert (generator.recipe.name, generator.G.gain) == ("other", 2.0)
    refused(
        [write(weights)],
        tmp_path / "b.safetensors",
        plugins,
        "--set gains: .*'toy': gain",
        options={"gains": 1},
        family="toy",
    )
    refused([write(weights)], tmp_path / "b.safetensors", plugins, "--set gain: ", options={"gain": "x"}, family="toy")


def test_unknown_weights_are_described(write, plugins, tmp_path):
    path = write({"net": OrderedDict((f"layer{i}", torch.zeros(1)) for i in range(9))})
    match = r"no family.*net with layer0, layer1, layer2 and 6 more.*toy: Toy of tests"
    refused([path], tmp_path / "o.safetensors", plugins, match)
    refused([write({"a": 1})], tmp_path / "o.safetensors", plugins, "there are no tensors in it")


def test_a_wrong_family_and_one_that_there_is_not(write, weights, plugins, tmp_path):
    out = tmp_path / "o.safetensors"
    refused([write({"x": torch.zeros(1)})], out, plugins, "is not of the family toy", family="toy")
    refused([write(weights)], out, plugins, "family 'tony'.*did you mean 'toy'", family="tony")


def test_two_families_are_not_guessed_between(write, weights, tmp_path):
    both = make_plugin_manager({"toy": Plugin(), "second": SecondPlugin()})
    refused([write(weights)], tmp_path / "o.safetensors", both, "--family same or toy")
    import_weights([write(weights)], tmp_path / "o.safetensors", family="same", plugins=both)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda w: w.pop("fc.b"), r"no tensor 'fc\.b'"),
        (lambda w: w.update(extra=torch.zeros(1)), "does not fit the network: not known: extra"),
        (lambda w: w.update({"fc.b": torch.zeros(7)}), r"dense\.bias \[7\] in place of \[48\]"),
        (lambda w: w.update({"fc.b": torch.full((48,), float("nan"))}), r"dense\.bias has values that are not finite"),
        (lambda w: w.update({"fc.w": torch.zeros(5, 3)}), "five rows are another function"),
    ],
)
def test_weights_that_do_not_fit(change, match, write, weights, plugins, tmp_path):
    change(weights)
    refused([write(weights)], tmp_path / "o.safetensors", plugins, match)


def test_more_files_than_the_family_has(write, weights, plugins, tmp_path):
    files = [write(weights, "a.pth"), write(weights, "b.pth")]
    refused(files, tmp_path / "o.safetensors", plugins, "2 files, and Toy of tests .pth has 1 at most", family="toy")


def test_out_must_be_a_new_snapshot(write, weights, plugins, tmp_path):
    path, out = write(weights), tmp_path / "o.safetensors"
    refused([path], tmp_path / "o.pth", plugins, r"--out o\.safetensors")
    out.write_text("kept")
    with pytest.raises(GanzooError, match="exists; give another name, or --force"):
        import_weights([path], out, plugins=plugins)
    assert out.read_text() == "kept"
    import_weights([path], out, plugins=plugins, force=True)
    assert load_generator(out, plugins=plugins).z_dim == 3
    refused([out], tmp_path / "n.safetensors", plugins, "use them as they are")
    refused([tmp_path / "none.pth"], tmp_path / "n.safetensors", plugins, "no such file; give a file of weights")


def test_what_a_system_does_not_limit_is_said(write, weights, plugins, tmp_path, monkeypatch):
    windows = "from ganzoo.importing import child; child.resource = None; child.main()"
    probe = "import sys; sys.path.insert(0, {root!r}); " + windows
    monkeypatch.setattr(reading, "_CHILD", probe)
    lines = []
    import_weights([write(weights)], tmp_path / "o.safetensors", plugins=plugins, log=lines.append)
    (line,) = lines
    assert "does not limit memory, time, files, processes" in line


def test_every_dtype_and_layout_comes_back(write, tmp_path):
    content = {
        "half": torch.arange(4.0).half(),
        "bfloat16": torch.arange(4.0).bfloat16(),
        "double": torch.arange(4.0).double(),
        "long": torch.tensor(7),
        "bool": torch.tensor([True, False]),
        "transposed": torch.arange(6.0).reshape(2, 3).T,
        "part": torch.arange(10.0)[3:5],
        "empty": torch.zeros(0, 3),
        "parameter": nn.Parameter(torch.ones(2)),
    }
    content["tied"] = content["parameter"]
    tensors = read_foreign(write(content)).networks[""].tensors
    assert tensors.keys() == content.keys()
    for name, x in content.items():
        assert torch.equal(tensors[name], x.detach().float() if x.is_floating_point() else x), name
    assert tensors["half"].dtype == torch.float32 and tensors["long"].dtype == torch.int64


def test_pickles_of_numpy(tmp_path):
    import pickle

    import numpy as np

    content = {
        "c": np.arange(6, dtype=np.float32).reshape(2, 3),
        "f": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
        "scalar": np.float32(2.5),
        "set": {1, 2},
    }
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path = tmp_path / f"{protocol}.pkl"
        path.write_bytes(pickle.dumps(content, protocol=protocol))
        found = read_foreign(path)
        tensors = found.networks[""].tensors
        assert tensors["c"].tolist() == tensors["f"].tolist() == [[0, 1, 2], [3, 4, 5]], protocol
        assert found.values["scalar"] == 2.5
    for bad in (np.array([object()]), np.arange(3, dtype=">f4"), np.array(["x"])):
        path.write_bytes(pickle.dumps({"x": bad}))
        with pytest.raises(CheckpointError):
            read_foreign(path)


def test_the_limit_of_memory_grows_with_the_file():
    assert child.memory_limit(0) == 512 << 20 and child.memory_limit(1 << 30) == (512 << 20) + (3 << 30)


def test_names_in_first():
    networks = {"models/G_ema": ForeignNetwork("torch", {}), "G": ForeignNetwork("torch", {})}
    found = ForeignWeights(networks).first("G_ema", "G")
    assert found is not None and found[0] == "models/G_ema"
    assert ForeignWeights(networks).first("H") is None


def test_the_command_says_what_it_did(tmp_path, monkeypatch):
    pytest.importorskip("ganzoo_classic")
    from ganzoo_classic.dcgan import Generator

    G = Generator(c_dim=0, img_resolution=64, img_channels=1, z_dim=5, ngf=2, fmap_max=16)
    layers = [f"{kind}.{i}" for i in range(4) for kind in ("convs", "norms")]
    numbers = dict(zip(layers, (0, 1, 3, 4, 6, 7, 9, 10), strict=True)) | {"to_rgb": 12}
    content = {}
    for name, x in G.state_dict().items():
        layer, kind = name.rsplit(".", 1)
        content[f"main.{numbers[layer]}.{kind}"] = x
    torch.save(content, tmp_path / "netG_epoch_24.pth")
    out = tmp_path / "dcgan.safetensors"
    result = CliRunner().invoke(main, ["import", str(tmp_path / "netG_epoch_24.pth"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "family:   dcgan (DCGAN of pytorch/examples .pth)" in result.output
    assert "network:  64 px, 1 channels, z of 5" in result.output
    result = CliRunner().invoke(main, ["sample", str(out), "--seeds", "0", "--outdir", str(tmp_path / "images")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "images" / "seed0000.png").exists()
    result = CliRunner().invoke(main, ["import", "x.pth", "--out", str(out), "--set", "gain"])
    assert result.exit_code == 2 and "is not KEY=VALUE" in result.output
