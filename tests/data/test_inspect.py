from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ganzoo.cli import main
from ganzoo.data import open_dataset
from ganzoo.data.inspect import contact_sheet, inspect_data


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *args: CliRunner().invoke(main, ["data", *map(str, args)])


@pytest.fixture
def mixed(folder, encode):
    """Twelve small PNGs, a large grey picture, a palette, and a broken file."""
    (folder / "cat" / "large.png").write_bytes(encode(np.zeros((100, 200), np.uint8)))
    (folder / "dog" / "palette.png").write_bytes(encode(Image.new("P", (8, 8))))
    (folder / "eel" / "broken.jpg").write_bytes(b"\xff\xd8junk")
    return folder


def test_report(mixed):
    report, good = inspect_data(open_dataset(str(mixed)))
    assert report.num_images == len(good) == 14
    assert report.widths == (8, 8, 200) and report.heights == (8, 8, 100) and report.num_square == 13
    assert report.modes == {"RGB": 12, "L": 1, "P": 1}
    assert report.classes == {"cat": 5, "dog": 5, "eel": 4}
    assert len(report.bad) == 1 and "eel/broken.jpg" in report.bad[0]
    assert report.advice[0] == "img_resolution: 8" and any("skip_bad: 1" in line for line in report.advice)


def test_advice_on_long_pictures(make_zip, encode):
    long = encode(np.zeros((64, 200, 3), np.uint8))
    report, _ = inspect_data(open_dataset(str(make_zip({"a.png": long}))))
    assert report.advice == [
        "img_resolution: 64",
        "fit: pad    (half of the images are 3.1 times longer than wide; crop keeps the centre)",
    ]
    assert report.classes is None


def test_contact_sheet_shows_whole_pictures(folder):
    data = open_dataset(str(folder))
    assert contact_sheet(data, list(range(12))).size == (12 * 96, 96)
    assert contact_sheet(data, [0, 1]).size == (2 * 96, 96)


def test_inspect_prints_everything_and_draws_a_sheet(run, mixed, tmp_path):
    result = run("inspect", mixed)
    assert result.exit_code == 0
    for part in (
        "animals: 14 images, and 1 bad",
        "smallest",
        "RGB 12, L 1, P 1",
        "eel",
        "broken.jpg",
        "img_resolution: 8",
    ):
        assert part in result.output
    assert "contact sheet: animals-contact.png" in result.output
    assert Image.open(tmp_path / "animals-contact.png").size == (12 * 96, 2 * 96)


def test_inspect_json(run, mixed, tmp_path):
    result = run("inspect", mixed, "--json", "--contact-sheet", tmp_path / "sheets" / "s.png")
    report = json.loads(result.stdout)
    assert report["num_images"] == 14 and report["classes"]["cat"] == 5 and len(report["bad"]) == 1
    assert (tmp_path / "sheets" / "s.png").is_file() and not (tmp_path / "animals-contact.png").exists()


def test_names_do_not_act_on_the_terminal(run, make_zip, encode, pixels):
    path = make_zip({"cat\x1b[2J/a.png": encode(pixels(0)), "dog/b.png": encode(pixels(1)), "dog/\x07.png": b"junk"})
    for arguments in (["inspect", path], ["pack", path, "out", "--resolution", 8, "--skip-bad", 1]):
        output = run(*arguments).output
        assert "\\x07.png" in output and not {"\x1b", "\x07"} & set(output)


@pytest.mark.parametrize("sheet", ["sheet.xyz", "sheet.pdf", "sheet"])
def test_a_sheet_that_is_no_png_is_refused_before_anything_is_read(run, sheet):
    result = run("inspect", "no-such-folder", "--contact-sheet", sheet)
    assert result.exit_code == 2 and f"'{sheet}' does not end in .png" in result.output


def test_inspect_fails_if_nothing_is_usable(run, tmp_path):
    (tmp_path / "x.png").write_bytes(b"junk")
    result = run("inspect", tmp_path)
    assert result.exit_code == 2 and "not one image can be used" in result.output and "x.png" in result.output


def test_pack_command(run, folder, tmp_path):
    result = run("pack", folder, "out", "--resolution", 4, "--fit", "pad", "--filter", "box", "--channels", 1)
    assert result.exit_code == 0 and "12 images, 4 x 4 grey" in result.output
    pack = open_dataset(str(tmp_path / "out")).pack
    assert (pack.fit.mode, pack.fit.filter, pack.fit.channels) == ("pad", "box", 1)
    assert run("inspect", "out").exit_code == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere", "out", "--resolution", "8"], "nowhere: no such file or folder"),
        (["animals", "out", "--resolution", "9"], "9 is not a power of two"),
        (["animals", "animals", "--resolution", "8"], "exists already"),
        (["animals", "out", "--resolution", "8", "--background", "blu"], "'blu' is not a colour"),
    ],
)
def test_mistakes_exit_with_2_and_write_nothing(run, folder, tmp_path, args, message):
    result = run("pack", *args)
    assert result.exit_code == 2 and message in result.output and "Traceback" not in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["animals"]


def test_help_does_not_load_torch():
    import subprocess
    import sys

    code = "import sys, ganzoo.cli.data; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
