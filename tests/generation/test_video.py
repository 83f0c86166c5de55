"""Videos that players can open, whole or not at all."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageSequence

from ganzoo.errors import GanzooError
from ganzoo.generation import video, write_video


def frames(n=5, channels=3, size=16):
    """Brightness rises from frame to frame."""
    return [np.full((channels, size, size), 40 * i, np.uint8) for i in range(n)]


@pytest.mark.parametrize("channels", [1, 3])
def test_gif(tmp_path, channels):
    write_video(tmp_path / "new" / "walk.gif", frames(channels=channels), fps=20)
    with Image.open(tmp_path / "new" / "walk.gif") as gif:
        assert gif.n_frames == 5 and gif.size == (256, 256) and gif.info["duration"] == 50 and gif.info["loop"] == 0
        means = [np.asarray(frame.convert("L")).mean() for frame in ImageSequence.Iterator(gif)]
    assert means == pytest.approx([0, 40, 80, 120, 160], abs=2)


@pytest.mark.parametrize(("fps", "milliseconds"), [(10, 100), (30, 30), (50, 20), (60, 20), (100, 20)])
def test_gif_has_no_delay_that_browsers_replace(tmp_path, fps, milliseconds):
    write_video(tmp_path / "walk.gif", frames(), fps=fps)
    with Image.open(tmp_path / "walk.gif") as gif:
        assert gif.info["duration"] == milliseconds


def test_mp4(tmp_path):
    imageio = pytest.importorskip("imageio.v2", reason="needs ganzoo[video]")
    pytest.importorskip("imageio_ffmpeg", reason="needs ganzoo[video]")
    write_video(tmp_path / "walk.mp4", frames(size=257), fps=10)
    with imageio.get_reader(tmp_path / "walk.mp4") as reader:
        assert reader.get_meta_data()["size"] == (258, 258) and reader.get_meta_data()["fps"] == 10
        means = [frame.mean() for frame in reader]
    assert means == pytest.approx([0, 40, 80, 120, 160], abs=4)


def test_transparent_frames_are_shown_over_the_background(tmp_path):
    half_blue = np.zeros((4, 16, 16), np.uint8)
    half_blue[2:] = 128  # premultiplied: blue 255 times alpha 128 / 255
    write_video(tmp_path / "walk.gif", [half_blue], background="#ff0000")
    with Image.open(tmp_path / "walk.gif") as gif:
        assert np.abs(np.array(gif.convert("RGB").getpixel((0, 0))) - [127, 0, 128]).max() <= 1


@pytest.mark.parametrize("name", ["walk.avi", "walk"])
def test_other_kinds_are_refused(tmp_path, name):
    with pytest.raises(GanzooError, match=r"use \.mp4 or \.gif"):
        write_video(tmp_path / name, frames())


def test_mp4_without_the_optional_dependency(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "find_spec", lambda name: None)
    with pytest.raises(GanzooError, match=r"pip install 'ganzoo\[video\]'\. A \.gif needs nothing"):
        write_video(tmp_path / "walk.mp4", frames())


@pytest.mark.parametrize("suffix", ["gif", "mp4"])
def test_what_was_there_survives_a_failure(tmp_path, suffix):
    if suffix == "mp4":
        pytest.importorskip("imageio_ffmpeg", reason="needs ganzoo[video]")
    path = tmp_path / f"walk.{suffix}"
    path.write_text("old")

    def broken():
        yield from frames()
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        write_video(path, broken())
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
