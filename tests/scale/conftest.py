import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # families.py


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Packs of one test must not be found by the next."""
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
