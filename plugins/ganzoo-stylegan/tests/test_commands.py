"""``ganzoo mix``, ``project``, ``directions`` and ``edit`` on snapshots of a small network."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import ganzoo
import ganzoo_stylegan
from ganzoo import plugins as loading
from ganzoo.cli import main
from ganzoo.data.images import premultiply
from ganzoo.generation import load, load_generator
from ganzoo.generation import video as writing
from ganzoo.plugins import ENVIRONMENT, Candidate, make_plugin_manager
from ganzoo.registry import Owner
from ganzoo.training.checkpoint import TrainingState, save_snapshot
from ganzoo.weights import load_weights, read_metadata
from ganzoo_stylegan import projection
from ganzoo_stylegan.commands import _parse_strength
from ganzoo_stylegan.mixing import mix, ws_of_seeds

RECIPE = """
name: small
data: {{source: {{name: faces}}, img_resolution: 32, background: "#ff0000"}}
generator: {{name: {generator}, args: {{z_dim: 8}}}}
discriminator: {{name: of-a-plugin-that-is-not-installed}}
loss: {{name: of-a-plugin-that-is-not-installed}}
growth: {{name: of-a-plugin-that-is-not-installed}}
train: {{total_kimg: 1}}
"""


class Small(ganzoo.StyleGenerator):
    """A linear mapping, and four layers that add pictures of 4, 8, 16 and 32 px. Noise goes into the last two."""

    def __init__(self, *, img_resolution: int, img_channels: int, c_dim: int, z_dim: int = 8) -> None:
        super().__init__(
            z_dim=z_dim, w_dim=12, num_ws=4, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels
        )
        self.to_w = nn.Linear(z_dim + c_dim, 12)
        self.layers = nn.ModuleList(nn.Linear(12, 16) for _ in range(4))
        self.draw = nn.ModuleList(nn.Conv2d(16, img_channels * 16, 1) for _ in range(4))
        self.register_buffer("noise0", torch.randn(1, 1, 16, 16))
        self.register_buffer("noise1", torch.randn(32, 32))
        self.register_buffer("filter", torch.eye(3) / 3)
        self.w_avg.copy_(self.to_w.bias.detach())

    def mapping(self, z, c=None):
        return self.to_w(z if c is None else torch.cat([z, c], 1))

    def num_ws_at(self, resolution):
        return resolution.bit_length() - 2

    def synthesis(self, ws, *, growth, noise="random"):
        img = 0.0
        for i in range(self.num_ws_at(growth.resolution)):
            style = torch.sin(3 * self.layers[i](ws[:, i]))[..., None, None]
            new = self.draw[i](style).reshape(len(ws), self.img_channels, 4, 4)
            if noise == "const" and i >= 2:
                map_ = (self.noise0, self.noise1)[i - 2].reshape(1, 1, 4 << i, 4 << i)
                new = new + 0.01 * F.avg_pool2d(map_, 1 << i)
            img = img + F.interpolate(new, size=growth.resolution, mode="bilinear") * self.filter.sum()
        img = img.tanh()
        if self.img_channels == 4:  # premultiplied: no colour exceeds alpha
            img = torch.cat([(img[:, :3] + 1) * (img[:, 3:] + 1) / 2 - 1, img[:, 3:]], dim=1)
        return img

    def forward(self, z, c=None, *, growth):
        return self.synthesis(self.broadcast(self.mapping(z, c)), growth=growth, noise="const")


class Plain(ganzoo.Generator):
    """Not a style generator."""

    def __init__(self, *, img_resolution: int, img_channels: int, c_dim: int, z_dim: int = 8) -> None:
        super().__init__(z_dim=z_dim, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.dense = nn.Linear(z_dim, img_channels)

    def forward(self, z, c=None, *, growth):
        return self.dense(z)[..., None, None].expand(-1, -1, growth.resolution, growth.resolution)


class Plugin:
    @staticmethod
    @ganzoo.hookimpl
    def ganzoo_register_generators(register):
        register("small", Small)
        register("plain", Plain)


@pytest.fixture
def zoo():
    return make_plugin_manager({"small": Plugin})


@pytest.fixture
def make_snapshot(tmp_path):
    def make(cls=Small, *, c_dim=0, img_channels=3, resolution=32, class_names=None, change=lambda G: None):
        torch.manual_seed(5)
        G = cls(z_dim=8, c_dim=c_dim, img_resolution=32, img_channels=img_channels)
        change(G)
        return save_snapshot(
            tmp_path / "run" / "snapshots",
            G,
            TrainingState(nimg=5000),
            ganzoo.GrowthState(resolution, 1.0, 8, 0.001, 0.001),
            recipe=RECIPE.format(generator=cls.__name__.lower()),
            extra={"class_names": json.dumps(class_names), "plugins": "{}", "ganzoo": ganzoo.__version__},
        )

    return make


@pytest.fixture
def run(zoo, monkeypatch, tmp_path):
    """Runs a command in an empty folder on the CPU: (exit code, output)."""
    ours = [Candidate("stylegan", Owner("ganzoo-stylegan", "0.1.0"), lambda: ganzoo_stylegan)]
    monkeypatch.setattr(loading, "installed", lambda: ours)
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.setattr(load, "load_plugins", lambda: zoo)
    monkeypatch.setattr(writing, "can_write_mp4", lambda: False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        result = CliRunner().invoke(main, [str(a) for a in (*arguments, "--device", "cpu")])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, " ".join(result.output.split())

    return run


@pytest.fixture
def generator(make_snapshot, zoo):
    return load_generator(make_snapshot(), plugins=zoo)


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture).astype(int)


def cell(path, row, col, size=96):
    """A cell of a grid: 32 px, three times enlarged, back to [32, 32, 3]."""
    return pixels(path)[row * size : (row + 1) * size : 3, col * size : (col + 1) * size : 3]


def save_seed(run, snapshot, seed, tmp_path, name="samples"):
    assert run("sample", snapshot, "--seeds", seed, "--outdir", name)[0] == 0
    return tmp_path / name / f"seed{seed:04d}.png"


MIX = ["--rows", "1,2", "--cols", "3-5"]


def test_help_lists_the_commands_without_torch():
    code = (
        "import sys, click.testing, ganzoo_stylegan\n"
        "from ganzoo import plugins\n"
        "from ganzoo.registry import Owner\n"
        "plugins.installed = lambda: [plugins.Candidate('s', Owner('s', '1'), lambda: ganzoo_stylegan)]\n"
        "import ganzoo.cli as c\n"
        "for command in ([], ['mix'], ['project'], ['directions'], ['edit']):\n"
        "    r = click.testing.CliRunner().invoke(c.main, [*command, '--help'])\n"
        "    assert r.exit_code == 0 and 'Left out' not in r.output, r.output\n"
        "    assert command or all(name in r.output for name in ('mix', 'project', 'directions', 'edit')), r.output\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_mix_shows_sources_at_the_edges(run, make_snapshot, tmp_path):
    snapshot = make_snapshot()
    code, output = run("mix", snapshot, *MIX, "--styles", "0-1")
    assert code == 0 and "mix.png (2 x 3, layers 0-1 of 4)" in output, output
    grid = tmp_path / "mix.png"
    assert pixels(grid).shape == (3 * 96, 4 * 96, 3) and (cell(grid, 0, 0) == 255).all()
    for row, col, seed in ((1, 0, 1), (2, 0, 2), (0, 1, 3), (0, 3, 5)):
        assert np.array_equal(cell(grid, row, col), pixels(save_seed(run, snapshot, seed, tmp_path)))


def test_mixing_all_layers_gives_the_column_and_none_the_row(run, make_snapshot, tmp_path):
    snapshot = make_snapshot()
    run("mix", snapshot, *MIX, "--styles", "0-3", "--out", "all.png")
    run("mix", snapshot, *MIX, "--styles", "2", "--out", "one.png")
    for row in (1, 2):
        for col in (1, 2, 3):
            assert np.array_equal(cell(tmp_path / "all.png", row, col), cell(tmp_path / "all.png", 0, col))
            mixed = cell(tmp_path / "one.png", row, col)
            assert not np.array_equal(mixed, cell(tmp_path / "one.png", row, 0))
            assert not np.array_equal(mixed, cell(tmp_path / "one.png", 0, col))


def test_rows_keep_the_layers_that_are_not_taken(generator):
    rows, cols = ws_of_seeds(generator, [1, 2]), ws_of_seeds(generator, [3, 4])
    mixed = mix(rows, cols, [0, 2])
    assert torch.equal(mixed[:, [1, 3]], rows[:, [1, 3]]) and torch.equal(mixed[:, [0, 2]], cols[:, [0, 2]])
    assert torch.equal(mix(rows, cols[:1], [1])[:, 1], cols[:1, 1].expand(2, -1))


def test_truncation_in_mix(run, make_snapshot, tmp_path):
    snapshot = make_snapshot()
    assert run("mix", snapshot, *MIX, "--styles", "0", "--trunc", "0")[0] == 0
    images = [cell(tmp_path / "mix.png", row, col) for row, col in ((1, 0), (2, 0), (0, 1), (2, 2))]
    assert all(np.array_equal(images[0], image) for image in images[1:])


def test_transparency_is_shown_over_the_background(run, make_snapshot, tmp_path):
    snapshot = make_snapshot(img_channels=4)
    assert run("mix", snapshot, *MIX, "--styles", "0")[0] == 0
    with Image.open(save_seed(run, snapshot, 1, tmp_path)) as picture:
        on_red = Image.new("RGBA", picture.size, "#ff0000")
        on_red.alpha_composite(picture)
    assert np.abs(np.asarray(on_red.convert("RGB")).astype(int) - cell(tmp_path / "mix.png", 1, 0)).max() <= 3


def test_mix_of_one_class(run, make_snapshot, tmp_path):
    snapshot = make_snapshot(c_dim=2, class_names=["cat", "dog"])
    for name in ("cat", "dog"):
        assert run("mix", snapshot, *MIX, "--styles", "0", "--class", name, "--out", f"{name}.png")[0] == 0
    assert not np.array_equal(pixels(tmp_path / "cat.png"), pixels(tmp_path / "dog.png"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--styles", "0-4"], "there is no layer 4; this network has 4 at 32 px, 0 to 3"),
        (["--styles", "3-1"], "the range 3-1 runs backwards; write 1-3"),
        (["--styles", "coarse"], "write them like 0-3,6"),
        (["--styles", "-1"], "write them like 0-3,6"),
        (["--styles", "0", "--class", "1"], "without labels"),
        (["--styles", "0", "--trunc", "nan"], "truncation nan: use a number such as 0.7"),
        (["--styles", "0", "--trunc", "1e39"], "truncation 1e+39: use a number such as 0.7"),
        (["--styles", "0", "--rows", "0-700", "--out", "mix.jpg"], "too many for a JPEG; use .png"),
        (["--styles", "0", "--trunc", "0.5", "--trunc-cutoff", "9"], "has 4 layers, so use 1 to 4"),
        (["--styles", "0", "--trunc-cutoff", "1"], "give --trunc PSI as well"),
        (["--styles", "0", "--rows", "x"], "write them like 0-35,40"),
        (["--styles", "0", "--out", "mix.bmp"], "use .png or .jpg"),
        (["--styles", "0", "--rows", "0-99999"], "too many for one picture"),
    ],
)
def test_mix_refuses(run, make_snapshot, tmp_path, arguments, message):
    code, output = run("mix", make_snapshot(), *MIX, *arguments)
    assert code == 2 and message in output, output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_layers_of_a_network_that_still_grows(run, make_snapshot):
    code, output = run("mix", make_snapshot(resolution=16), *MIX, "--styles", "0-3")
    assert code == 2 and "there is no layer 3; this network has 3 at 16 px, 0 to 2" in output
    assert run("mix", make_snapshot(resolution=16), *MIX, "--styles", "0-2")[0] == 0


@pytest.mark.parametrize(
    "command",
    [
        ["mix", *MIX, "--styles", "0"],
        ["project", "--target", "x.png"],
        ["directions"],
        ["edit", "--direction", "x.safetensors"],
    ],
)
def test_other_generators_have_no_styles(run, make_snapshot, command):
    code, output = run(command[0], make_snapshot(Plain), *command[1:])
    assert code == 2 and "'plain' is no style generator" in output, output
    assert run(command[0], "nowhere", *command[1:])[0] == 2


# Projection


@pytest.mark.parametrize(("img_channels", "space"), [(3, "w"), (1, "w+"), (4, "w+")])
def test_projection_finds_an_image_that_the_network_made(run, make_snapshot, tmp_path, space, img_channels):
    snapshot = make_snapshot(img_channels=img_channels)
    face = save_seed(run, snapshot, 7, tmp_path)
    code, output = run("project", snapshot, "--target", face, "--steps", "100", "--space", space, "--outdir", "out")
    assert code == 0 and f"100 steps in {space}" in output and "noise: 2 maps optimised" in output, output
    run("sample", snapshot, "--seeds", "7", "--trunc", "0", "--outdir", "mean")
    out = tmp_path / "out"
    assert sorted(p.name for p in out.iterdir()) == ["projection.png", "target.png", "w.safetensors", "way.gif"]
    target, found, mean = (
        pixels(p) for p in (out / "target.png", out / "projection.png", tmp_path / "mean" / "seed0007.png")
    )
    assert np.array_equal(target, pixels(face))
    if img_channels == 4:  # colours that nobody sees count for nothing
        target, found, mean = (premultiply(x).astype(int) for x in (target, found, mean))
    assert np.abs(found - target).mean() < np.abs(mean - target).mean() / 4
    with Image.open(out / "way.gif") as gif:
        assert gif.size == (512, 256) and gif.n_frames > 20


def test_edit_shows_the_projection_as_it_was_found(run, make_snapshot, tmp_path):
    snapshot = make_snapshot()
    face = save_seed(run, snapshot, 7, tmp_path)
    run("project", snapshot, "--target", face, "--steps", "20", "--space", "w+", "--outdir", "out")
    save_file({"direction": torch.ones(12)}, tmp_path / "d.safetensors")
    code, output = run("edit", snapshot, "--direction", "d.safetensors", "--w", "out/w.safetensors", "--cols", "3")
    assert code == 0 and "1 rows, strengths -3, 0, 3" in output, output
    assert np.array_equal(cell(tmp_path / "edit.png", 0, 1), pixels(tmp_path / "out" / "projection.png"))
    tensors, metadata = load_weights(tmp_path / "out" / "w.safetensors")
    assert metadata["format"] == projection.W_FORMAT
    assert {name: tuple(x.shape) for name, x in tensors.items()} == {
        "w": (4, 12),
        "noise/noise0": (1, 1, 16, 16),
        "noise/noise1": (32, 32),
    }


def test_projection_is_the_same_every_time(run, make_snapshot, tmp_path):
    snapshot = make_snapshot()
    face = save_seed(run, snapshot, 7, tmp_path)
    for outdir, seed in (("a", 0), ("b", 0), ("c", 1)):
        run("project", snapshot, "--target", face, "--steps", "5", "--outdir", outdir, "--seed", seed)
    a, b, c = (read_metadata(tmp_path / d / "w.safetensors")["sha256"] for d in "abc")
    assert a == b != c


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory):
    """A file such as torchvision's, with random numbers in place of learned ones."""
    torch.manual_seed(0)
    tensors, index, channels = {"classifier.0.weight": torch.zeros(1)}, 0, 3
    for block in projection.VGG16.BLOCKS:
        for width in block:
            weight = torch.randn(width, channels, 3, 3) * (2 / (9 * channels)) ** 0.5
            tensors |= {f"features.{index}.weight": weight, f"features.{index}.bias": torch.zeros(width)}
            index, channels = index + 2, width
        index += 1
    path = tmp_path_factory.mktemp("weights") / "vgg16.pth"
    torch.save(tensors, path)
    return path


@pytest.mark.parametrize("img_channels", [1, 3, 4])
def test_projection_by_features(run, make_snapshot, tmp_path, vgg16, img_channels):
    snapshot = make_snapshot(img_channels=img_channels)
    face = save_seed(run, snapshot, 7, tmp_path)
    code, output = run("project", snapshot, "--target", face, "--steps", "15", "--vgg16", vgg16)
    assert code == 0, output
    before, after = (float(x) for x in output.split("distance: ")[1].split(" (VGG16")[0].split(" -> "))
    assert after < before


def test_vgg16_is_torchvisions(vgg16):
    """The names and places of the layers in torchvision's file."""
    network = projection.VGG16(vgg16)
    convolutions = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    wanted = {f"features.{i}.{name}" for i in convolutions for name in ("weight", "bias")}
    assert set(network.state_dict()) - {"mean", "std"} == wanted
    maps = list(network(torch.rand(1, 3, 32, 32)))
    assert [tuple(x.shape[1:]) for x in maps] == [
        (64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2)
    ]  # fmt: skip
    assert all(torch.allclose(x.norm(dim=1), torch.ones(()), atol=1e-4) for x in maps)


@pytest.mark.parametrize("make", [projection.pyramid_distance, None])
def test_distances_are_zero_only_for_the_target(vgg16, make):
    make = make or (lambda target: projection.vgg_distance(target, vgg16, "white"))
    torch.manual_seed(0)
    for channels, size in ((1, 16), (3, 8), (4, 32)):
        target = torch.rand(1, channels, size, size) * 2 - 1
        distance = make(target)
        assert distance(target) == 0 and distance(target.roll(1, 3)) > distance(target * 0.99) > 0


def test_noise_maps_are_found_and_nothing_else(generator):
    assert sorted(projection.noise_maps(generator)) == ["noise0", "noise1"]
    assert not any(x.requires_grad for x in generator.G.buffers())


def test_the_mean_of_w_is_that_of_the_class(make_snapshot, zoo):
    generator = load_generator(make_snapshot(c_dim=2, class_names=["cat", "dog"]), plugins=zoo)
    cats, dogs, both = (projection.w_samples(generator, chosen).mean(dim=0) for chosen in ("cat", "dog", None))
    with torch.no_grad():
        cat, dog = generator.mapping(torch.zeros(2, 8), torch.eye(2))  # linear, so the mean latent's is the mean
    assert torch.allclose(cats, cat, atol=0.05) and torch.allclose(dogs, dog, atol=0.05)
    assert torch.allclose(both, (cat + dog) / 2, atol=0.05) and (cat - dog).abs().max() > 0.2
    projector = projection.Projector(generator, lambda img: img.sum(), steps=5, chosen="dog")
    assert torch.allclose(projector.ws[0, 0], dogs)


def test_noise_that_draws_is_punished():
    torch.manual_seed(0)
    white, picture = torch.randn(1, 1, 64, 64), torch.randn(1, 1, 8, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
    assert projection.noise_penalty(picture) > 20 * projection.noise_penalty(white)


def test_projection_leaves_the_generator_alone(generator):
    before = {name: x.clone() for name, x in generator.G.state_dict().items()}
    target = generator.synthesis(ws_of_seeds(generator, [3])).detach()
    projector = projection.Projector(generator, projection.pyramid_distance(target), steps=3)
    for _ in range(3):
        projector.step()
    assert all(torch.equal(x, before[name]) for name, x in generator.G.state_dict().items())
    for name, map_ in projector.noise.items():
        map_ = map_.detach()
        assert not torch.equal(map_, before[name])
        assert abs(float(map_.mean())) < 1e-5 and abs(float(map_.std(correction=0)) - 1) < 1e-5


def save_picture(path, mode="RGB", size=(32, 32)):
    Image.new(mode, size).save(path)
    return path


@pytest.mark.parametrize(
    ("mode", "size", "message"),
    [
        ("RGB", (48, 64), "is 48 x 64 px, and this network makes images of 32 x 32: scale it yourself, or add --fit"),
        ("RGBA", (32, 32), "is RGBA, and this network makes RGB images: convert it, or add --fit"),
        ("L", (32, 32), "is grey, and this network makes RGB images: convert it, or add --fit"),
        ("LA", (32, 32), "is grey with transparency"),
    ],
)
def test_targets_that_do_not_fit(run, make_snapshot, tmp_path, mode, size, message):
    snapshot = make_snapshot()
    picture = save_picture(tmp_path / "x.png", mode, size)
    code, output = run("project", snapshot, "--target", picture, "--steps", "2", "--outdir", "out")
    assert code == 2 and message in output, output
    assert not (tmp_path / "out").exists()
    code, output = run("project", snapshot, "--target", picture, "--steps", "2", "--outdir", "out", "--fit")
    assert code == 0 and pixels(tmp_path / "out" / "target.png").shape == (32, 32, 3), output


def test_transparent_targets_are_fitted_over_the_background(run, make_snapshot, tmp_path):
    picture = save_picture(tmp_path / "x.png", "RGBA")  # all transparent
    run("project", make_snapshot(), "--target", picture, "--steps", "1", "--outdir", "out", "--fit")
    assert (pixels(tmp_path / "out" / "target.png") == [255, 0, 0]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "no.png"], "cannot be read: No such file"),
        (["--target", "broken.png"], "cannot be read as an image"),
        (["--target", "run"], "run: is no file; give a picture"),
        (["--target", "good.png", "--vgg16", "run"], "run: is a folder; give torchvision's weights of VGG16"),
        (["--target", "good.png", "--vgg16", "cut.pth"], "cannot be read as weights"),
        (["--target", "good.png", "--vgg16", "no.pth"], "no.pth: no such file; give torchvision's weights of VGG16"),
        (["--target", "good.png", "--vgg16", "broken.png"], "cannot be read as weights"),
        (["--target", "good.png", "--vgg16", "other.pth"], "are the weights of another network (features.0.weight"),
        (["--target", "good.png", "--vgg16", "code.pth"], "cannot be read as weights"),
        (["--target", "good.png", "--steps", "0"], "'--steps'"),
        (["--target", "good.png", "--space", "z"], "is not one of"),
        (["--target", "good.png", "--class", "3"], "without labels"),
    ],
)
def test_project_refuses(run, make_snapshot, tmp_path, arguments, message):
    save_picture(tmp_path / "good.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    torch.save(Small, tmp_path / "code.pth", pickle_protocol=2)
    torch.save({"a": torch.zeros(2)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "cut.pth").write_bytes((tmp_path / "old.pth").read_bytes()[:28])
    code, output = run("project", make_snapshot(), *arguments, "--outdir", "out")
    assert code == 2 and message in output, output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["target.png", "projection.png"])
def test_the_picture_itself_is_never_overwritten(run, make_snapshot, tmp_path, name):
    snapshot = make_snapshot()
    (tmp_path / "own").mkdir()
    before = save_picture(tmp_path / "own" / name, size=(48, 32)).read_bytes()
    code, output = run("project", snapshot, "--target", f"own/{name}", "--steps", "1", "--fit", "--outdir", "own")
    assert code == 2 and f"own/{name}: would be overwritten by the result; choose another --outdir" in output, output
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "own").iterdir()] == [(name, before)]


def test_project_with_a_broken_network(run, make_snapshot, tmp_path):
    snapshot = make_snapshot(change=lambda G: nn.init.constant_(G.to_w.weight, torch.nan))
    picture = save_picture(tmp_path / "good.png")
    code, output = run("project", snapshot, "--target", picture, "--outdir", "out")
    assert code == 2 and f"{snapshot} is broken: its image has the distance nan to the target" in output, output
    assert not (tmp_path / "out").exists()


# Directions and edits


def test_directions_are_files_and_pictures(run, make_snapshot, tmp_path):
    snapshot = make_snapshot()
    code, output = run("directions", snapshot, "--num", "3", "--layers", "0-1", "--seeds", "4,5", "--cols", "5")
    assert code == 0, output
    names = sorted(p.name for p in (tmp_path / "directions").iterdir())
    assert names == [f"direction_0{i}.{suffix}" for i in range(3) for suffix in ("png", "safetensors")]
    grid = tmp_path / "directions" / "direction_00.png"
    assert pixels(grid).shape == (2 * 96, 5 * 96, 3)
    assert np.array_equal(cell(grid, 1, 2), pixels(save_seed(run, snapshot, 5, tmp_path)))
    assert not np.array_equal(cell(grid, 1, 4), cell(grid, 1, 2))

    arguments = ["--direction", "directions/direction_00.safetensors", "--seeds", "4,5", "--cols", "5"]
    assert run("edit", snapshot, *arguments)[0] == 0  # in the file's layers
    assert np.array_equal(pixels(tmp_path / "edit.png"), pixels(grid))
    assert run("edit", snapshot, *arguments, "--layers", "3", "--out", "other.png")[0] == 0
    assert not np.array_equal(pixels(tmp_path / "other.png"), pixels(grid))


def test_ten_directions_or_as_many_as_w_has_dimensions(run, make_snapshot, tmp_path):
    assert run("directions", make_snapshot(), "--seeds", "0", "--cols", "2")[0] == 0
    assert len(list((tmp_path / "directions").glob("*.png"))) == 10


def test_directions_that_change_nothing_are_left_out_unless_asked_for(run, make_snapshot, tmp_path):
    def flatten(G):
        for layer in G.layers:
            layer.weight.data[:, 3:] = 0

    snapshot = make_snapshot(change=flatten)
    assert run("directions", snapshot, "--seeds", "0", "--cols", "2")[0] == 0
    assert len(list((tmp_path / "directions").glob("*.png"))) == 3
    assert run("directions", snapshot, "--seeds", "0", "--cols", "2", "--num", "5")[0] == 0
    assert len(list((tmp_path / "directions").glob("*.png"))) == 5


@pytest.mark.parametrize("what", ["to_w", "layers.0", "layers.2"])
def test_directions_of_broken_networks(run, make_snapshot, tmp_path, what):
    snapshot = make_snapshot(change=lambda G: nn.init.constant_(G.get_submodule(what).weight, torch.nan))
    code, output = run("directions", snapshot)
    assert code == 2 and f"{snapshot}: is broken: it has weights that are no finite numbers" in output, output
    assert not (tmp_path / "directions").exists()


def test_layers_of_the_command_line_replace_those_of_the_file(run, make_snapshot, tmp_path):
    save_file({"direction": torch.ones(12)}, tmp_path / "far.safetensors", {"layers": "[7]"})
    assert run("edit", make_snapshot(), "--direction", "far.safetensors", "--layers", "0-1")[0] == 0


def test_one_strength_is_one_column(run, make_snapshot, tmp_path):
    save_file({"direction": torch.ones(4, 12)}, tmp_path / "smile.safetensors")
    code, output = run(
        "edit", make_snapshot(), "--direction", "smile.safetensors", "--strength", "-1.5", "--seeds", "3"
    )
    assert code == 0 and "1 rows, strengths -1.5" in output, output
    assert pixels(tmp_path / "edit.png").shape == (96, 96, 3)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("-3..3", [-3, 0, 3]), (" 2 .. -2", [2, 0, -2]), ("-1.5", [-1.5]), ("1.5..2.5", [1.5, 2, 2.5])],
)
def test_strengths(text, wanted):
    assert _parse_strength(text, 3) == wanted


@pytest.mark.parametrize("text", ["", "..", "3..", "a..b", "nan", "1e999", "1..2..3", "-3...3x"])
def test_strengths_that_are_none(text):
    with pytest.raises(ganzoo.GanzooError, match=r"write a range such as -3\.\.3"):
        _parse_strength(text, 3)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["directions", "--layers", "0-9"], "there is no layer 9"),
        (["directions", "--num", "13"], "w has 12 dimensions here, so there are at most 12"),
        (["directions", "--num", "0"], "'--num'"),
        (["directions", "--strength", "lots"], "write a range such as -3..3"),
        (["edit", "--direction", "no.safetensors"], "no such file"),
        (["edit", "--direction", "text.safetensors"], "not a safetensors file"),
        (["edit", "--direction", "w.safetensors"], "has no tensor 'direction', but w"),
        (["edit", "--direction", "wide.safetensors"], "'direction' has the shape [13]"),
        (["edit", "--direction", "nan.safetensors"], "all finite"),
        (["edit", "--direction", "far.safetensors"], "far.safetensors: is for the layers [7], and"),
        (["edit", "--direction", "long.safetensors"], "[[..., and"),
        (["edit", "--direction", "complex.safetensors"], "is of the type torch.complex64; make it float32"),
        (["edit", "--direction", "whole.safetensors"], "is of the type torch.int64; make it float32"),
        (["edit", "--direction", "unknown.safetensors"], "unknown.safetensors: "),
        (["edit", "--direction", "run"], "run: is a folder; give a file in it"),
        (["edit", "--direction", "good.safetensors", "--seeds", ""], "write them like"),
        (["edit", "--direction", "good.safetensors", "--cols", "1"], "a range takes two columns or more"),
        (["edit", "--direction", "good.safetensors", "--w", "filter.safetensors"], "its noise 'filter' does not fit"),
        (["edit", "--direction", "good.safetensors", "--w", "hole.safetensors"], "that are no finite numbers"),
        (["edit", "--direction", "good.safetensors", "--layers", "4"], "there is no layer 4"),
        (["edit", "--direction", "good.safetensors", "--w", "good.safetensors"], "has no tensor 'w', but direction"),
        (["edit", "--direction", "good.safetensors", "--w", "small.safetensors"], "'w' has the shape [3]"),
        (["edit", "--direction", "good.safetensors", "--w", "noise.safetensors"], "its noise 'noise0' does not fit"),
        (["edit", "--direction", "good.safetensors", "--w", "w.safetensors", "--seeds", "1"], "leave out --seeds"),
        (["edit", "--direction", "good.safetensors", "--out", "edit.gif"], "use .png or .jpg"),
        (["edit", "--direction", "good.safetensors", "--seeds", "0-99999"], "too many for one picture"),
    ],
)
def test_directions_and_edit_refuse(run, make_snapshot, tmp_path, command, message):
    for name, tensors, metadata in (
        ("good", {"direction": torch.ones(12)}, None),
        ("wide", {"direction": torch.ones(13)}, None),
        ("nan", {"direction": torch.full((12,), torch.nan)}, None),
        ("far", {"direction": torch.ones(12)}, {"layers": "[7]"}),
        ("w", {"w": torch.ones(12)}, None),
        ("small", {"w": torch.ones(3)}, None),
        ("noise", {"w": torch.ones(12), "noise/noise0": torch.ones(2, 2)}, None),
        ("long", {"direction": torch.ones(12)}, {"layers": "[" * 100_000}),
        ("complex", {"direction": torch.ones(12, dtype=torch.complex64)}, None),
        ("whole", {"direction": torch.ones(12, dtype=torch.int64)}, None),
        ("filter", {"w": torch.ones(12), "noise/filter": torch.ones(3, 3)}, None),
        ("hole", {"w": torch.ones(12), "noise/noise1": torch.full((32, 32), torch.nan)}, None),
    ):
        save_file(tensors, tmp_path / f"{name}.safetensors", metadata)
    known = (tmp_path / "good.safetensors").read_bytes()
    (tmp_path / "unknown.safetensors").write_bytes(known.replace(b'"F32"', b'"F99"'))
    (tmp_path / "text.safetensors").write_text("a smile")
    before = sorted(path.name for path in tmp_path.iterdir())
    code, output = run(command[0], make_snapshot(), *command[1:])
    assert code == 2 and message in output, output
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "run"])
