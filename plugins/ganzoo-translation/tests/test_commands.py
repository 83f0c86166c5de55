"""``ganzoo translate`` on snapshots of small networks."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

import ganzoo
import ganzoo_translation
from ganzoo import plugins as loading
from ganzoo.cli import main
from ganzoo.generation import load
from ganzoo.plugins import ENVIRONMENT, Candidate, make_plugin_manager
from ganzoo.registry import Owner
from ganzoo.training.checkpoint import TrainingState, save_snapshot
from ganzoo_translation import translation
from ganzoo_translation.degradations import Grey, Inpaint

RECIPE = """
name: small
data: {{source: {{name: faces}}, img_resolution: 16, inputs: {inputs}}}
generator: {{name: {generator}}}
discriminator: {{name: of-a-plugin-that-is-not-installed}}
loss: {{name: of-a-plugin-that-is-not-installed}}
growth: {{name: of-a-plugin-that-is-not-installed}}
train: {{total_kimg: 1}}
"""
UNPAIRED = "{kind: unpaired}"


class Pointwise(ganzoo.Translator):
    """Each pixel on its own: a2b swaps black and white, b2a makes it half as strong. Sizes are multiples of 4."""

    directions = ("a2b", "b2a")
    size_multiple = 4

    def __init__(self, *, in_channels: int, img_resolution: int, img_channels: int, c_dim: int) -> None:
        super().__init__(in_channels=in_channels, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.gain = nn.Parameter(torch.tensor(-1.0))

    def forward(self, source, c=None, *, growth):
        return self.translate(source, c, growth=growth)

    def translate(self, source, c=None, *, direction="a2b", growth):
        assert growth.resolution == 16 and source.shape[2] % 4 == 0 and source.shape[3] % 4 == 0
        if c is not None:
            source = source * c.argmax(1)
        x = source * (self.gain if direction == "a2b" else 0.5)
        return x[:, :1].expand(-1, self.img_channels, -1, -1) if direction == "a2b" else x[:, : self.in_channels]


class Latents(ganzoo.Generator):
    def __init__(self, *, img_resolution: int, img_channels: int, c_dim: int) -> None:
        super().__init__(z_dim=4, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.dense = nn.Linear(4, img_channels)

    def forward(self, z, c=None, *, growth):
        return self.dense(z)[..., None, None].expand(-1, -1, 16, 16)


class Plugin:
    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_generators(register):
        register("pointwise", Pointwise)
        register("latents", Latents)

    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_degradations(register):
        register("grey", Grey)
        register("inpaint", Inpaint)


@pytest.fixture
def make_snapshot(tmp_path):
    def make(cls=Pointwise, *, in_channels=3, img_channels=3, c_dim=0, inputs=UNPAIRED):
        sizes = {"in_channels": in_channels} if cls is Pointwise else {}
        G = cls(**sizes, c_dim=c_dim, img_resolution=16, img_channels=img_channels)
        return save_snapshot(
            tmp_path / "run" / "snapshots",
            G,
            TrainingState(nimg=5000),
            ganzoo.GrowthState(16, 1.0, 8, 0.001, 0.001),
            recipe=RECIPE.format(generator=cls.__name__.lower(), inputs=inputs),
            extra={"class_names": json.dumps(None), "plugins": "{}", "ganzoo": ganzoo.__version__},
        )

    return make


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs `ganzoo translate` in an empty folder on the CPU: (exit code, output)."""
    zoo = make_plugin_manager({"small": Plugin})
    ours = [Candidate("translation", Owner("ganzoo-translation", "0.1.0"), lambda: ganzoo_translation)]
    monkeypatch.setattr(loading, "installed", lambda: ours)
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.setattr(load, "load_plugins", lambda: zoo)
    monkeypatch.setattr(translation, "load_plugins", lambda: zoo)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        result = CliRunner().invoke(main, ["translate", *map(str, arguments), "--device", "cpu"])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, " ".join(result.output.split())

    return run


def picture(path, size=(16, 16), seed=0, mode="RGB"):
    """A smooth picture, so that resizing it makes little difference."""
    path.parent.mkdir(parents=True, exist_ok=True)
    corner = np.random.RandomState(seed).randint(0, 256, (2, 2, 3)).astype(np.uint8)
    image = Image.fromarray(corner).resize(size, Image.Resampling.BILINEAR).convert(mode)
    image.save(path)
    return np.asarray(image)


def read(path):
    with Image.open(path) as image:
        return np.asarray(image)


def negative(pixels):
    """What Pointwise makes of grey or the red channel."""
    red = pixels if pixels.ndim == 2 else pixels[..., 0]
    return np.repeat(255 - red[..., None], 3, axis=2)


def near(a, b, tolerance=1):
    return a.shape == b.shape and np.abs(a.astype(int) - b.astype(int)).max() <= tolerance


def test_a_folder(run, make_snapshot, tmp_path):
    snapshot = make_snapshot()
    originals = {f"{i}.png": picture(tmp_path / "in" / "deep" / f"{i}.png", seed=i) for i in range(18)}
    picture(tmp_path / "in" / "wide.jpg", (32, 16))
    code, output = run(snapshot, "--input", "in", "--outdir", "out")
    assert code == 0, output
    assert f"snapshot: {snapshot} (kimg 5)" in output and "19 of 16 x 16 px, a2b" in output
    assert "overview: out-overview.png" in output
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted([*originals, "wide.png"])
    for name, pixels in originals.items():
        assert near(read(tmp_path / "out" / name), negative(pixels))
    overview = read(tmp_path / "out-overview.png")  # 16 pairs, four a row, in cells of 96 px
    assert overview.shape == (4 * 96, 8 * 96, 3)
    assert near(overview[:96, :96], originals["0.png"].repeat(6, 0).repeat(6, 1))
    assert near(overview[:96, 96:192], negative(originals["0.png"]).repeat(6, 0).repeat(6, 1))


def test_a_zip_a_folder_of_it_and_one_file(run, make_snapshot, tmp_path):
    snapshot = make_snapshot()
    a, b = (picture(tmp_path / "x" / f"{name}.png", seed=i) for i, name in enumerate("ab"))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(tmp_path / "x" / "a.png", "testA/a.png")
        archive.write(tmp_path / "x" / "b.png", "testB/a.png")
    code, output = run(snapshot, "--input", "x.zip", "--folder", "testB")
    assert code == 0, output
    assert near(read(tmp_path / "translated" / "a.png"), negative(b))
    code, output = run(snapshot, "--input", "x/a.png", "--outdir", "one")
    assert code == 0, output
    assert near(read(tmp_path / "one" / "a.png"), negative(a))
    assert read(tmp_path / "one-overview.png").shape == (96, 192, 3)


def test_the_way_back(run, make_snapshot, tmp_path):
    snapshot = make_snapshot(in_channels=1)
    pixels = picture(tmp_path / "b.png")
    code, output = run(snapshot, "--input", "b.png", "--direction", "b2a")
    assert code == 0, output
    made = read(tmp_path / "translated" / "b.png")
    assert near(made, ((pixels[..., 0].astype(float) - 127.5) / 2 + 127.5).round().astype(np.uint8), 2)
    code, output = run(snapshot, "--input", "b.png", "--direction", "sideways")
    assert code == 2 and "no direction 'sideways', but a2b and b2a" in output


@pytest.mark.parametrize("size", [(21, 30), (4, 3), (1, 1), (64, 16), (16, 16)])
def test_keep_size(run, make_snapshot, tmp_path, size):
    pixels = picture(tmp_path / "in.png", size)
    code, output = run(make_snapshot(), "--input", "in.png", "--keep-size")
    assert code == 0, output
    assert near(read(tmp_path / "translated" / "in.png"), negative(pixels))
    assert "1 of their own sizes" in output


def test_keep_size_reflects(make_snapshot, monkeypatch):
    zoo = make_plugin_manager({"small": Plugin})
    generator = load.load_generator(make_snapshot(), plugins=zoo)
    seen = []
    translate = Pointwise.translate

    def spy(self, source, *args, **kwargs):
        seen.append(source)
        return translate(self, source, *args, **kwargs)

    monkeypatch.setattr(Pointwise, "translate", spy)
    made = translation.Translation(generator, keep_size=True)
    made(np.arange(18 * 3 * 3, dtype=np.uint8).reshape(18, 3, 3), "x")
    (source,) = seen
    assert source.shape == (1, 3, 20, 8)
    rows = [*range(18), 16, 15]
    cols = [0, 1, 2, 1, 0, 1, 2, 1]
    assert torch.equal(source, source[:, :, rows][:, :, :, cols])


def test_degrade(run, make_snapshot, tmp_path):
    colours = picture(tmp_path / "in.png")
    grey = np.asarray(Image.fromarray(colours).convert("L"))
    snapshot = make_snapshot(in_channels=1, inputs="{kind: degrade, degrade: {name: grey}}")
    for degrade in ([], ["--degrade"]):
        code, output = run(snapshot, "--input", "in.png", *degrade)
        assert code == 0, output
        assert near(read(tmp_path / "translated" / "in.png"), negative(grey), 2)
        assert ("degraded: grey" in output) == bool(degrade)
        shown = read(tmp_path / "translated-overview.png")[:96, :96]
        assert near(shown, np.repeat(grey[..., None], 3, 2).repeat(6, 0).repeat(6, 1), 2)


def test_degrade_by_chance_is_fixed_by_the_seed(run, make_snapshot, tmp_path):
    for i in range(3):
        picture(tmp_path / "in" / f"{i}.png", seed=i)
    inputs = "{kind: degrade, degrade: {name: inpaint, args: {mask: true}}}"
    snapshot = make_snapshot(in_channels=4, inputs=inputs)
    code, output = run(snapshot, "--input", "in")
    assert code == 0  # four channels are those of RGBA, too
    made = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(made))
        code, output = run(snapshot, "--input", "in", "--degrade", "--seed", seed)
        assert code == 0, output
        made.append([read(tmp_path / "translated" / f"{i}.png") for i in range(3)])
    assert all(map(np.array_equal, made[0], made[1])) and not all(map(np.array_equal, made[0], made[2]))
    holes = [one != negative(read(tmp_path / "in" / f"{i}.png")) for i, one in enumerate(made[0])]
    assert not np.array_equal(holes[0], holes[1])
    grey = make_snapshot(in_channels=2, img_channels=1, inputs=inputs)
    code, output = run(grey, "--input", "in")
    assert code == 2 and "images of 2 channels, which no file has: give --degrade" in output
    code, output = run(grey, "--input", "in", "--degrade", "--direction", "b2a")
    assert code == 2 and "goes with --direction a2b only" in output
    code, output = run(make_snapshot(), "--input", "in", "--degrade")
    assert code == 2 and "data.inputs.kind is unpaired); leave --degrade out" in output


def test_transparent_images(run, make_snapshot, tmp_path):
    image = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    image.save(tmp_path / "clear.png")
    code, output = run(make_snapshot(), "--input", "clear.png")  # white shines through
    assert code == 0, output
    assert near(read(tmp_path / "translated" / "clear.png"), np.zeros((16, 16, 3), np.uint8))


def test_labels(run, make_snapshot, tmp_path):
    pixels = picture(tmp_path / "in.png")
    snapshot = make_snapshot(c_dim=2)
    code, output = run(snapshot, "--input", "in.png")
    assert code == 2 and "say with --class" in output
    code, output = run(snapshot, "--input", "in.png", "--class", "1")
    assert code == 0, output
    assert near(read(tmp_path / "translated" / "in.png"), negative(pixels))


def test_names_that_meet_are_refused(run, make_snapshot, tmp_path):
    snapshot = make_snapshot()
    for name in ("a/x.png", "b/X.jpg"):
        picture(tmp_path / "in" / name)
    code, output = run(snapshot, "--input", "in")
    assert code == 2 and "a/x.png and b/X.jpg would both become X.png" in output and "--folder a" in output
    assert not (tmp_path / "translated").exists()
    picture(tmp_path / "two" / "x.png"), picture(tmp_path / "two" / "x.jpg")
    code, output = run(snapshot, "--input", "two")
    assert code == 2 and "rename one of them" in output


def test_inputs_are_not_replaced(run, make_snapshot, tmp_path):
    snapshot, pixels = make_snapshot(), picture(tmp_path / "in" / "x.png")
    for arguments in (("in",), ("in/x.png",), (".", "--folder", "in")):
        code, output = run(snapshot, "--input", *arguments, "--outdir", "in")
        assert code == 2 and "use another --outdir" in output
    assert np.array_equal(read(tmp_path / "in" / "x.png"), pixels)
    code, output = run(snapshot, "--input", "in", "--outdir", "out")
    assert code == 0, output
    assert run(snapshot, "--input", "in", "--outdir", "out")[0] == 0  # what it wrote itself may be replaced


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "nowhere"], "nowhere: no such file or folder"),
        (["--input", "in", "--folder", "c"], "has no folder 'c' with images; there are: a, b"),
        (["--input", "in/a/x.png", "--folder", "c"], "leave --folder out"),
        (["--input", "text.txt"], "text.txt: cannot be read as an image"),
        (["--input", "broken"], "bad.png: cannot be read as an image"),
    ],
)
def test_mistakes(run, make_snapshot, tmp_path, arguments, message):
    picture(tmp_path / "in" / "a" / "x.png"), picture(tmp_path / "in" / "b" / "y.png")
    (tmp_path / "text.txt").write_text("no image")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "bad.png").write_bytes(b"no image")
    code, output = run(make_snapshot(), *arguments)
    assert code == 2 and message in output, output


def test_a_generator_of_latents(run, make_snapshot, tmp_path):
    picture(tmp_path / "in.png")
    code, output = run(make_snapshot(Latents, inputs="null"), "--input", "in.png")
    assert code == 2 and "'latents' makes images of latents and translates none: use `ganzoo sample`" in output


def test_help_loads_no_torch():
    program = "import sys, ganzoo_translation.commands; assert not {'torch', 'numpy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", program], check=True)
