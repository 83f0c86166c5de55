import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))  # tiny.py


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Packs of one test must not be found by the next."""
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def recipes():
    return Path(__file__).parents[2] / "recipes"
