"""Small image files of every kind, and the recipe section that reads them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganzoo.plugins import load_plugins
from ganzoo.recipe.models import DataConfig


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Packs go here, never into the cache of whoever runs the tests."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("GANZOO_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def registry():
    return load_plugins().registry


@pytest.fixture
def config():
    """``config(path, ...)``: the data section of a recipe at 8 px, unless told otherwise."""

    def make(path=None, **options):
        path = None if path is None else str(path)
        return DataConfig(path=path, **{"img_resolution": 8, **options})

    return make


@pytest.fixture
def pixels():
    """``pixels(i)``: an 8 x 8 RGB picture, different for every i."""
    return lambda i, size=8, channels=3: np.random.RandomState(i).randint(0, 256, (size, size, channels), np.uint8)


@pytest.fixture
def folder(tmp_path, pixels):
    """Twelve PNGs in three class folders of four."""
    root = tmp_path / "animals"
    for i in range(12):
        path = root / ("cat", "dog", "eel")[i // 4] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(i)).save(path)
    return root


@pytest.fixture
def encode():
    """``encode(array or picture)``: the bytes of its PNG."""

    def make(image, format="png", **options):
        buffer = io.BytesIO()
        image = image if isinstance(image, Image.Image) else Image.fromarray(image)
        image.save(buffer, format=format, **options)
        return buffer.getvalue()

    return make


@pytest.fixture
def make_zip(tmp_path):
    """``make_zip({name: bytes})``: the path of a zip of that."""

    def make(files: dict[str, bytes | str], name: str = "set.zip") -> Path:
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for file, content in files.items():
                archive.writestr(file, content)
        return tmp_path / name

    return make
