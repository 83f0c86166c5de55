"""``ganzoo sample`` and ``ganzoo walk``."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from ganzoo.cli import main
from ganzoo.generation import load, video
from ganzoo.weights import load_weights, save_weights


@pytest.fixture
def run(plugins, monkeypatch, tmp_path):
    """Runs a command in an empty folder: (exit code, output)."""
    monkeypatch.setattr(load, "load_plugins", lambda: plugins)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        result = CliRunner().invoke(main, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output

    return run


def test_sample_writes_one_file_a_seed(run, make_snapshot, tmp_path):
    code, output = run("sample", make_snapshot(), "--seeds", "0-2,40", "--outdir", "out", "--device", "cpu")
    assert code == 0, output
    files = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert files == ["seed0000.png", "seed0001.png", "seed0002.png", "seed0040.png"]
    assert "4 of 16 x 16 px" in output
    with Image.open(tmp_path / "out" / "seed0040.png") as picture:
        assert picture.size == (16, 16) and picture.mode == "RGB"


def test_sample_is_reproducible(run, make_snapshot, tmp_path):
    snapshot = make_snapshot()
    run("sample", snapshot, "--seeds", "0-4", "--outdir", "a", "--device", "cpu")
    run("sample", snapshot, "--seeds", "3", "--outdir", "b", "--device", "cpu")
    assert (tmp_path / "a" / "seed0003.png").read_bytes() == (tmp_path / "b" / "seed0003.png").read_bytes()


def test_sample_in_bf16_rounds_differently_and_is_asked_for(run, make_snapshot, tmp_path):
    snapshot = make_snapshot()
    for out, options in (("default", []), ("fp32", ["--precision", "fp32"]), ("bf16", ["--precision", "bf16"])):
        code, output = run("sample", snapshot, "--seeds", "0", "--outdir", out, "--device", "cpu", *options)
        assert code == 0, output
    default, fp32, bf16 = (
        np.asarray(Image.open(tmp_path / out / "seed0000.png")).astype(int) for out in ("default", "fp32", "bf16")
    )
    assert np.array_equal(default, fp32)
    assert 0 < np.abs(fp32 - bf16).max() <= 8


def test_grid_shows_the_first_images_and_leaves_the_rest_white(run, make_snapshot, tmp_path):
    code, output = run("sample", make_snapshot(), "--seeds", "0-4", "--grid", "2x3", "--device", "cpu")
    assert code == 0 and "grid.png" in output
    with Image.open(tmp_path / "samples" / "grid.png") as picture:
        grid = np.asarray(picture)
    assert grid.shape == (32, 48, 3)
    with Image.open(tmp_path / "samples" / "seed0004.png") as picture:
        assert np.array_equal(grid[16:, 16:32], np.asarray(picture))
    assert (grid[16:, 32:] == 255).all()


def test_sample_says_that_the_snapshot_was_still_growing(run, make_snapshot):
    _, output = run("sample", make_snapshot(resolution=8), "--seeds", "0", "--device", "cpu")
    assert "at 8 px of 16" in output


def test_class_is_chosen_by_name(run, make_snapshot, tmp_path):
    snapshot = make_snapshot(c_dim=2, class_names=["cat", "dog"])
    for outdir, chosen in (("name", "dog"), ("index", "1"), ("other", "cat")):
        assert run("sample", snapshot, "--seeds", "0", "--outdir", outdir, "--class", chosen, "--device", "cpu")[0] == 0
    name, index, other = ((tmp_path / d / "seed0000.png").read_bytes() for d in ("name", "index", "other"))
    assert name == index != other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0-"], "write them like 0-35,40"),
        (["--grid", "6"], "ROWSxCOLS"),
        (["--grid", "999x999", "--seeds", "0-1"], "999x999 images of 16 px are too many"),
        (["--class", "1"], "without labels"),
        (["--device", "cuda:99"], "cannot be used here"),
    ],
)
def test_sample_refuses(run, make_snapshot, tmp_path, arguments, message):
    code, output = run("sample", make_snapshot(), "--device", "cpu", *arguments)
    assert code == 2 and message in output
    assert not (tmp_path / "samples").exists()


def test_walk_writes_a_video(run, make_snapshot, tmp_path):
    snapshot = make_snapshot(img_channels=4)
    code, output = run("walk", snapshot, "--seeds", "0,5,9", "--frames", "3", "--out", "w.gif", "--loop", "--fps", "10")
    assert code == 0 and "w.gif (9 frames, 0.9 s)" in output
    with Image.open(tmp_path / "w.gif") as gif:
        assert gif.n_frames == 9


@pytest.mark.parametrize(("mp4", "name"), [(False, "walk.gif"), (True, "walk.mp4")])
def test_walk_needs_nothing_optional(run, make_snapshot, tmp_path, monkeypatch, mp4, name):
    monkeypatch.setattr(video, "can_write_mp4", lambda: mp4)
    monkeypatch.setattr(video, "_write_mp4", lambda path, pictures, fps: path.write_bytes(b"mp4"))
    code, output = run("walk", make_snapshot(), "--seeds", "0,1", "--frames", "2")
    assert code == 0 and name in output and (tmp_path / name).is_file()


def test_walk_refuses_before_it_loads_anything(run, tmp_path):
    code, output = run("walk", "no-such-snapshot", "--out", "walk.avi")
    assert code == 2 and "use .mp4 or .gif" in output


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture).astype(int)


def test_truncation_draws_images_to_the_mean(run, make_snapshot, tmp_path):
    snapshot = make_snapshot(generator="small-style")
    for psi in ("1", "0.5", "0"):
        code, output = run("sample", snapshot, "--seeds", "0-1", "--outdir", psi, "--trunc", psi, "--device", "cpu")
        assert code == 0, output
    run("sample", snapshot, "--seeds", "0-1", "--outdir", "plain", "--device", "cpu")
    (a, b), (half_a, half_b), (mean_a, mean_b), (plain, _) = (
        [pixels(tmp_path / d / f"seed000{i}.png") for i in (0, 1)] for d in ("1", "0.5", "0", "plain")
    )
    assert np.array_equal(mean_a, mean_b) and np.array_equal(a, plain)
    assert 0 < np.abs(half_a - half_b).mean() < np.abs(a - b).mean()


def test_truncation_without_w_and_standing_statistics(run, make_snapshot, tmp_path):
    """A seed's picture depends on --trunc and --standing-stats, and on no other seed."""
    snapshot = make_snapshot()
    given = {
        "plain": [],
        "large": ["--trunc", "50"],
        "half": ["--trunc", "0.5"],
        "stats": ["--standing-stats", "3"],
        "both": ["--trunc", "0.5", "--standing-stats", "3"],
    }
    for outdir, arguments in given.items():
        code, output = run("sample", snapshot, "--seeds", "0-1", "--outdir", outdir, *arguments, "--device", "cpu")
        assert code == 0, output
    run("sample", snapshot, "--seeds", "1", "--outdir", "alone", *given["both"], "--device", "cpu")
    images = {d: (tmp_path / d / "seed0001.png").read_bytes() for d in (*given, "alone")}
    assert images["large"] == images["plain"] and images["alone"] == images["both"]
    assert len(set(images.values())) == 4


def test_truncation_ends_at_the_cutoff(run, make_snapshot, tmp_path):
    snapshot = make_snapshot(generator="small-style")
    for outdir, arguments in (("all", []), ("first", ["--trunc-cutoff", 1]), ("both", ["--trunc-cutoff", 2])):
        run("sample", snapshot, "--seeds", "0-1", "--outdir", outdir, "--trunc", "0", *arguments, "--device", "cpu")
    everything, first, both = (
        [pixels(tmp_path / d / f"seed000{i}.png") for i in (0, 1)] for d in ("all", "first", "both")
    )
    assert np.array_equal(everything, both) and not np.array_equal(first[0], first[1])


def test_noise_is_chosen(run, make_snapshot, tmp_path):
    snapshot = make_snapshot(generator="small-style")
    for outdir in ("default", "const", "random", "none"):
        chosen = [] if outdir == "default" else ["--noise", outdir]
        assert run("sample", snapshot, "--seeds", "3", "--outdir", outdir, *chosen, "--device", "cpu")[0] == 0
    default, const, random, none = (
        (tmp_path / d / "seed0003.png").read_bytes() for d in ("default", "const", "random", "none")
    )
    assert default == const and len({const, random, none}) == 3


@pytest.mark.parametrize(
    ("generator", "arguments", "message"),
    [
        ("small", ["--trunc", "0.7", "--trunc-cutoff", "1"], "has no w to truncate in some layers only: 'small' is no"),
        ("small", ["--trunc", "0"], "truncation 0: latents are drawn again until they lie in"),
        ("small", ["--trunc", "nan"], "truncation nan: latents"),
        ("small", ["--trunc", "inf"], "truncation inf: latents"),
        ("small", ["--standing-stats", "0"], "0 is not in the range"),
        ("small-style", ["--standing-stats", "4"], "'small-style' has no batch norm with running statistics"),
        ("small", ["--noise", "const"], "has no noise to choose: 'small' is no style generator"),
        ("small-style", ["--trunc", "nan"], "truncation nan: use a number such as 0.7"),
        ("small-style", ["--trunc", "inf"], "truncation inf: use a number such as 0.7"),
        ("small-style", ["--trunc", "much"], "is not a valid float"),
        ("small-style", ["--trunc", "0.7", "--trunc-cutoff", "3"], "has 2 layers, so use 1 to 2"),
        ("small-style", ["--trunc", "0.7", "--trunc-cutoff", "0"], "has 2 layers, so use 1 to 2"),
        ("small-style", ["--trunc-cutoff", "1"], "give --trunc PSI as well"),
        ("small-style", ["--noise", "loud"], "'loud' is not one of"),
    ],
)
def test_sample_refuses_styles_that_are_not_there(run, make_snapshot, tmp_path, generator, arguments, message):
    code, output = run("sample", make_snapshot(generator=generator), "--seeds", "0", "--device", "cpu", *arguments)
    assert code == 2 and message in " ".join(output.split()), output
    assert not (tmp_path / "samples").exists()


def test_a_mean_of_w_that_was_never_followed_is_no_mean(run, make_snapshot, plugins, tmp_path):
    path = make_snapshot(generator="small-style")
    tensors, metadata = load_weights(path)
    del metadata["sha256"]
    save_weights(path, {**tensors, "w_avg": torch.zeros(6)}, metadata)
    code, output = run("sample", path, "--seeds", "0", "--trunc", "0.7", "--device", "cpu")
    assert code == 2 and "has no mean of w to truncate towards" in output
    assert run("sample", path, "--seeds", "0", "--device", "cpu")[0] == 0


@pytest.mark.parametrize("arguments", [[], ["--space", "w"], ["--space", "z"], ["--trunc", "0.5"]])
def test_walk_of_a_style_generator(run, make_snapshot, tmp_path, arguments):
    snapshot = make_snapshot(generator="small-style")
    code, output = run("walk", snapshot, "--seeds", "0,5", "--frames", "4", "--out", "w.gif", *arguments)
    assert code == 0 and "w.gif (5 frames, 0.2 s)" in output, output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--space", "w"], "has no w: 'small' is no style generator"),
        (["--trunc", "0.7"], "has no w to truncate"),
        (["--trunc-cutoff", "1"], "give --trunc PSI as well"),
    ],
)
def test_walk_refuses_styles_that_are_not_there(run, make_snapshot, tmp_path, arguments, message):
    code, output = run("walk", make_snapshot(), "--seeds", "0,1", "--out", "w.gif", *arguments)
    assert code == 2 and message in " ".join(output.split()), output
    assert not (tmp_path / "w.gif").exists()


def test_every_class_has_a_row_of_the_grid(run, make_snapshot, tmp_path):
    snapshot = make_snapshot(c_dim=3, class_names=["cat", "dog", "all"])
    code, output = run(
        "sample", snapshot, "--seeds", "4,7", "--class", "all", "--grid", "auto", "--outdir", "out", "--device", "cpu"
    )
    assert code == 0 and "6 of 16 x 16 px" in output, output
    grid = pixels(tmp_path / "out" / "grid.png")
    assert grid.shape == (3 * 16, 2 * 16, 3)
    for k, name in enumerate(["cat", "dog", "2"]):  # a class called all has its index
        run("sample", snapshot, "--seeds", "4,7", "--class", name, "--outdir", name, "--device", "cpu")
        for j, seed in enumerate((4, 7)):
            cell = grid[16 * k : 16 * k + 16, 16 * j : 16 * j + 16]
            assert np.array_equal(cell, pixels(tmp_path / name / f"seed000{seed}.png"))
            assert np.array_equal(cell, pixels(tmp_path / "out" / f"class{k}-seed000{seed}.png"))


def test_a_grid_of_given_shape_keeps_classes_in_rows(run, make_snapshot, tmp_path):
    snapshot = make_snapshot(c_dim=3)
    run("sample", snapshot, "--seeds", "0-1", "--class", "all", "--grid", "2x3", "--outdir", "out", "--device", "cpu")
    grid = pixels(tmp_path / "out" / "grid.png")
    assert grid.shape == (32, 48, 3) and (grid[:, 32:] == 255).all()
    assert np.array_equal(grid[16:, :16], pixels(tmp_path / "out" / "class1-seed0000.png"))


@pytest.mark.parametrize(("seeds", "shape"), [("0", (1, 1)), ("0-4", (2, 3)), ("0-8", (3, 3)), ("0-9", (3, 4))])
def test_an_automatic_grid_has_room_for_all(run, make_snapshot, tmp_path, seeds, shape):
    code, output = run("sample", make_snapshot(), "--seeds", seeds, "--grid", "auto", "--device", "cpu")
    assert code == 0 and pixels(tmp_path / "samples" / "grid.png").shape == (16 * shape[0], 16 * shape[1], 3), output


@pytest.mark.parametrize(
    ("c_dim", "seeds", "message"),
    [(0, "0", "without labels"), (3, "0-40000", "40,001 seeds of 3 classes are more than 100,000 images")],
)
def test_every_class_is_refused(run, make_snapshot, tmp_path, c_dim, seeds, message):
    code, output = run("sample", make_snapshot(c_dim=c_dim), "--seeds", seeds, "--class", "all", "--device", "cpu")
    assert code == 2 and message in output
    assert not (tmp_path / "samples").exists()
