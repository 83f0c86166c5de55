"""benchmarks/style_statistics.py: closed forms on networks made for them, and the whole of it on an untrained one."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path

import pytest
import torch

import ganzoo
from ganzoo.build import build_generator
from ganzoo.data.sources.faces import CHOICES, RANGES
from ganzoo.generation import LoadedGenerator
from ganzoo.interfaces import GrowthState
from ganzoo.plugins import load_plugins
from ganzoo.recipe import parse_recipe
from ganzoo.training.checkpoint import TrainingState, save_snapshot

pytest.importorskip("ganzoo_stylegan")
SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "style_statistics.py"
RECIPE = """
name: tiny
data: {source: {name: faces}, img_resolution: 16}
generator:
  name: stylegan
  args: {z_dim: 8, w_dim: 8, mapping_layers: 1, mapping_fmaps: 8, fmap_base: 32, fmap_max: 8}
discriminator: {name: stylegan, args: {fmap_base: 32, fmap_max: 8}}
loss: {name: non-saturating}
growth: {name: fixed, args: {batch_size: 4, lr: 0.002}}
train: {total_kimg: 1}
"""
GROWTH = GrowthState(resolution=16, alpha=1.0, batch_size=4, g_lr=0.002, d_lr=0.002)


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("style_statistics", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Stripes(ganzoo.StyleGenerator):
    """Row i of the image is the first numbers of layer i's w; w is twice z on the unit sphere."""

    def __init__(self):
        super().__init__(z_dim=4, w_dim=4, num_ws=4, c_dim=0, img_resolution=4, img_channels=1)

    def num_ws_at(self, resolution):
        return min(resolution // 2, 4)

    def mapping(self, z, c=None):
        return 2 * z / z.norm(dim=1, keepdim=True)

    def synthesis(self, ws, *, growth, noise="random"):
        rows = ws[:, :, None, :].transpose(1, 2)
        return rows + (0.2 * torch.randn_like(rows) if noise == "random" else 0)

    def forward(self, z, c=None, *, growth):
        return self.synthesis(self.broadcast(self.mapping(z, c)), growth=growth)


def loaded(G, resolution):
    growth = GrowthState(resolution=resolution, alpha=1.0, batch_size=4, g_lr=0.002, d_lr=0.002)
    return LoadedGenerator(G, Path("none"), None, 0, growth, None, torch.device("cpu"))


@pytest.fixture
def stripes():
    return loaded(Stripes(), 8)


def test_each_layer_has_the_effect_it_was_made_to_have(script, stripes):
    def read(images):
        first, second, third, last = images[:, 0].unbind(1)
        probabilities = torch.stack([third[:, 0] > 0, third[:, 0] <= 0], dim=1).float()
        return {"glasses": probabilities, "x": first[:, 1], "gaze": (second + last)[:, 3], "y": 0 * first[:, 0]}

    torch.manual_seed(0)
    a, b = torch.rand(2, 2000, 4, 4) - 0.5
    groups = script.layer_groups(stripes)
    assert groups == {"0": [0], "1": [1], "2": [2], "3": [3], "4x4": [0, 1], "8x8": [2, 3]}
    table = script.swap_effects(stripes, read, a, b, groups)
    noise = {name: table[name].pop("noise") for name in table}
    assert list(table["glasses"].values()) == pytest.approx([0, 0, 1, 0, 0, 1], abs=1e-6)
    assert list(table["x"].values()) == pytest.approx([1, 0, 0, 0, 1, 0], abs=1e-6)
    assert list(table["gaze"].values()) == pytest.approx([0, 0.5, 0, 0.5, 0.5, 0.5], abs=0.05)
    assert all(math.isnan(value) for value in table["y"].values())
    # Noise is added: it leaves numbers as they are but for chance, and turns many signs.
    assert noise["x"] == pytest.approx(0, abs=0.1) and 0.3 < noise["glasses"] < 0.9
    assert script.by_layer({name: table[name] for name in ("glasses", "gaze", "x")}) == ["x", "gaze", "glasses"]


def test_chance_is_not_the_other_parents_work(script):
    torch.manual_seed(0)
    a, b, other = torch.randn(3, 20_000, 2).double()
    assert script.shares(other, a, b) == pytest.approx((0, 0), abs=0.02)
    assert script.shares(0.25 * a + 0.5 * b + other + 7, a, b) == pytest.approx((0.25, 0.5), abs=0.02)
    assert script.shares(a, a, b) == pytest.approx((1, 0), abs=1e-9)
    assert script.shares(b, a, b) == pytest.approx((0, 1), abs=1e-9)


def test_the_colour_of_hair_counts_only_where_there_is_hair(script):
    styles = list(CHOICES["hair_style"])
    read = {"hair_style": torch.eye(len(styles)), "hair_colour": torch.eye(7)}
    assert [style for style, seen in zip(styles, script.visible("hair_colour", read), strict=True) if not seen] == [
        "bald"
    ]
    assert script.visible("skin", read).all()


def test_only_networks_that_tell_resolutions_apart_have_groups(script):
    G = Stripes()
    G.num_ws_at = lambda resolution: 4
    assert script.layer_groups(loaded(G, 8)) == {"0": [0], "1": [1], "2": [2], "3": [3]}


@pytest.mark.parametrize("ends", [False, True])
def test_path_lengths_of_a_linear_network(script, stripes, ends):
    def distance(before, after):
        return (before - after)[:, 0, 0].square().sum(1)

    def angles(a, b):
        return torch.arccos(torch.cosine_similarity(a, b).clamp(-1, 1))

    torch.manual_seed(0)
    (z, _), (w, error) = (
        script.path_lengths(stripes, {"d": distance}, 2000, space=space, ends=ends)["d"] for space in ("z", "w")
    )
    torch.manual_seed(1)
    a, b = torch.randn(2, 100_000, 4).double()
    # In z, w turns by the angle on a sphere of radius 2; in w, the chord is what counts.
    assert z == pytest.approx(script.trimmed_mean((2 * angles(a, b)).square())[0], rel=0.05)
    chord = script.trimmed_mean(4 * (2 - 2 * angles(a, b).cos()))[0]
    assert w == pytest.approx(chord, rel=0.05) and 0 < error < 0.05 * w


def test_slerp_turns_at_constant_speed(script):
    a, b = torch.tensor([[3.0, 0, 0, 0]]), torch.tensor([[0, 0.1, 0, 0]])
    third = math.radians(30)
    expected = torch.tensor([[2 * math.cos(third), 2 * math.sin(third), 0, 0]])
    assert torch.allclose(script.slerp(a, b, torch.tensor([[1 / 3]])), expected, atol=1e-6)
    assert torch.allclose(script.slerp(a, b, torch.tensor([[1.0]])), 20 * b, atol=1e-6)


def test_the_outermost_hundredths_are_left_out(script):
    values = torch.arange(1000.0)
    values[:9], values[-9:] = -1e9, 1e9
    assert script.trimmed_mean(values[torch.randperm(1000)])[0] == pytest.approx(499.5)


def test_the_standard_error_is_that_of_a_trimmed_mean(script):
    torch.manual_seed(0)
    means, errors = torch.tensor([script.trimmed_mean(x) for x in torch.randn(1000, 500).mul(1.5).exp()]).unbind(1)
    assert errors.mean() == pytest.approx(float(means.std()), rel=0.1)


def test_the_distance_of_features_is_that_of_a_square(script):
    distance = script.feature_distance()
    torch.manual_seed(0)
    x, step = torch.rand(3, 3, 32, 32).double() * 2 - 1, torch.randn(3, 3, 32, 32).double()
    near, far = distance(x, x + 1e-6 * step), distance(x, x + 2e-6 * step)
    assert distance(x, x).eq(0).all() and near.shape == (3,) and near.gt(0).all()
    assert torch.allclose(far / near, torch.full([3], 4.0).double(), rtol=1e-2)


@pytest.mark.parametrize(
    ("table", "entropy"),
    [
        ([[5, 0], [0, 5]], 0.0),
        ([[0, 5], [5, 0]], 0.0),
        ([[5, 5], [0, 0]], math.log(2)),
        ([[2, 2], [3, 3]], math.log(2)),
        ([[3, 1], [0, 4]], 0.5 * (0.75 * math.log(4 / 3) + 0.25 * math.log(4))),
    ],
)
def test_conditional_entropy(script, table, entropy):
    x = torch.tensor([i for i in (0, 1) for j in (0, 1) for _ in range(table[i][j])], dtype=torch.bool)
    y = torch.tensor([j for i in (0, 1) for j in (0, 1) for _ in range(table[i][j])], dtype=torch.bool)
    assert script.conditional_entropy(x, y) == pytest.approx(entropy, abs=1e-9)


def test_what_a_plane_separates_and_what_it_does_not(script):
    torch.manual_seed(0)
    x = torch.randn(4000, 3) * torch.tensor([1.0, 30.0, 0.01]) + 5
    plane = (x[:, 0] - 5) + 0.1 * (x[:, 1] - 5)
    assert script.separability(x, plane.clamp(-4, 4) / 4) < 0.05
    ring = (x[:, 0] - 5).square() - 1  # inside and outside: no plane does it
    assert script.separability(x, ring.clamp(-1, 1)) > 0.3
    assert script.separability(x, torch.where(torch.rand(4000) < 0.5, 1.0, -1.0)) == pytest.approx(
        math.log(2), abs=0.01
    )


def test_yes_is_sure_or_not(script):
    names = list(CHOICES["glasses"])
    probabilities = torch.tensor([[float(name == "none") for name in names], [0.5, 0.25, 0.25], [0.0, 0.5, 0.5]])
    assert script.yes("glasses", probabilities).tolist() == [-1, 0, 1]
    assert script.yes("x", torch.tensor([-0.5, 0.25, 0.5, 2])).tolist() == [-1, -0.5, 0, 1]
    for name, values in script.YES.items():
        assert 0 < len(set(values) & set(CHOICES[name])) == len(values) < len(CHOICES[name])
    assert script.YES.keys() == CHOICES.keys()


def test_targets_are_what_is_drawn(script):
    images, targets = script.draw_faces(16, 60, seed=3, mirror=False)
    mirrored, others = script.draw_faces(16, 60, seed=3, mirror=True)
    assert images.shape == (60, 3, 16, 16) and targets.keys() == CHOICES.keys() | RANGES.keys()
    assert torch.equal(images[1::2], mirrored[1::2]) and torch.equal(images[::2], mirrored[::2].flip(3))
    for name in RANGES:
        change = others[name] - targets[name]
        assert targets[name].min() >= 0 and targets[name].max() <= 1 and change[1::2].eq(0).all()
        assert change[::2].ne(0).all() == (name in ("x", "gaze"))
    bald = targets["hair_style"] == list(CHOICES["hair_style"]).index("bald")
    beardless = targets["beard"] == list(CHOICES["beard"]).index("none")
    assert torch.equal(targets["hair_colour"] == script.IGNORED, bald & beardless)
    assert (bald & beardless).any() and all((targets[name] >= 0).all() for name in CHOICES if name != "hair_colour")


@pytest.mark.parametrize("resolution", [8, 16, 128])
def test_readers_fit_every_resolution(script, resolution):
    found = script.Reader(resolution)(torch.zeros(2, 3, resolution, resolution))
    assert {name: tuple(x.shape) for name, x in found.items()} == {
        **{name: (2, len(values)) for name, values in CHOICES.items()},
        **{name: (2,) for name in RANGES},
    }


def test_readers_learn_the_background_in_a_moment(script):
    torch.manual_seed(0)
    reader = script.Reader(16)
    held_out = script.draw_faces(16, 200, seed=2, mirror=True)
    before = script.measure(reader.eval(), *held_out)["background"]
    script.train(reader, *script.draw_faces(16, 1000, seed=1, mirror=True), epochs=2, batch=50)
    assert before < 0.4 and script.measure(reader, *held_out)["background"] > 0.6
    assert 1 / 8 < script.sureness(reader, held_out[0])["background"] <= 1


def test_all_of_it_on_an_untrained_network(script, tmp_path, monkeypatch, capsys):
    registry = load_plugins().registry
    torch.manual_seed(0)
    G = build_generator(parse_recipe(RECIPE, registry, filename="tiny.yaml"), registry, img_channels=3, c_dim=0)
    about = {"class_names": "null", "plugins": json.dumps({}), "ganzoo": ganzoo.__version__}
    path = save_snapshot(tmp_path, G, TrainingState(nimg=1000), GROWTH, recipe=RECIPE, extra=about)
    picture = tmp_path / "pictures" / "styles.png"
    few = [
        "--num",
        "20",
        "--paths",
        "10",
        "--latents",
        "100",
        "--faces",
        "200",
        "--epochs",
        "1",
        "--accuracy",
        "0",
        "--r2=-1e9",
    ]
    monkeypatch.setattr(sys, "argv", ["style_statistics.py", str(path), *few, "--picture", str(picture)])
    script.main()
    printed = capsys.readouterr().out
    rows = [line.split("|")[1].strip() for line in printed.splitlines() if line.startswith("| ")]
    for name in (*CHOICES, *RANGES):
        assert rows.count(name) == 3, name  # how well it is read, which layers, separability
    assert "| attribute | 0 | 1 | 2 | 3 | 4 | 5 | 4x4 | 8x8 | 16x16 | noise |" in printed
    assert {"small features", "pixels", "**exp of the sum**"} <= set(rows) and picture.stat().st_size > 1000
    assert "inf" not in printed


def test_other_data_are_refused(script, tmp_path, monkeypatch, capsys):
    registry = load_plugins().registry
    recipe = RECIPE.replace("source: {name: faces}", "path: photos.zip")
    G = build_generator(parse_recipe(recipe, registry, filename="tiny.yaml"), registry, img_channels=3, c_dim=0)
    about = {"class_names": "null", "plugins": json.dumps({}), "ganzoo": ganzoo.__version__}
    path = save_snapshot(tmp_path, G, TrainingState(nimg=1000), GROWTH, recipe=recipe, extra=about)
    monkeypatch.setattr(sys, "argv", ["style_statistics.py", str(path)])
    with pytest.raises(SystemExit):
        script.main()
    assert "was not trained on the built-in faces" in capsys.readouterr().err
