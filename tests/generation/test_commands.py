"""``ganzoo sample`` and ``ganzoo walk``."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ganzoo.cli import main
from ganzoo.generation import load, video


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
