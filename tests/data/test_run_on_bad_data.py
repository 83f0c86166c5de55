"""``ganzoo run`` on data that cannot be trained on: a message with the way out, exit code 2, and no run folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from ganzoo.cli import main
from ganzoo.data.repack import pack_images

QUICKSTART = Path(__file__).resolve().parents[2] / "recipes" / "quickstart.yaml"


def missing(folder: Path) -> Path:
    return folder / "nowhere"


def empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def truncated(folder: Path) -> Path:
    path = folder / "cat" / "00.png"
    path.write_bytes(path.read_bytes()[:100])
    return folder


def grey_pack(folder: Path) -> Path:
    pack_images(str(folder), folder / "pack", resolution=32, channels=1, log=lambda line: None)
    return folder / "pack"


def small_pack(folder: Path) -> Path:
    pack_images(str(folder), folder / "pack", resolution=16, log=lambda line: None)
    return folder / "pack"


def unlabelled(folder: Path) -> Path:
    Image.new("RGB", (8, 8)).save(folder / "no-class.png")
    return folder


@pytest.mark.parametrize(
    ("make", "settings", "messages"),
    [
        (missing, [], ["nowhere: no such file or folder", "--data PATH"]),
        (empty, [], ["empty: no images", ".png"]),
        (truncated, [], ["cat/00.png: cannot be read", "data.skip_bad=N"]),
        (grey_pack, ["data.img_channels=3"], ["packed with 1 channels, and the recipe wants 3", "--channels 3"]),
        (small_pack, [], ["packed at 16 x 16, and the recipe wants 32", "--resolution 32"]),
        (unlabelled, ["data.labels=true"], ["there are no labels", "dataset.json"]),
        (unlabelled, ["data.img_resolution=48"], ["data.img_resolution: 48 is not a power of two; use 32 or 64"]),
        (unlabelled, ["data.background=blu"], ["'blu' is no colour", "#rrggbb"]),
    ],
)
def test_message_exit_code_and_nothing_written(registry, folder, tmp_path, monkeypatch, make, settings, messages):
    if "progan" not in registry.names("generator"):
        pytest.skip("ganzoo-progan is not installed")
    monkeypatch.chdir(tmp_path)
    options = [part for setting in settings for part in ("--set", setting)]
    result = CliRunner().invoke(
        main, ["run", str(QUICKSTART), "--data", str(make(folder)), "--device", "cpu", *options]
    )
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit)
    for message in messages:
        assert message in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["animals"]
