import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # tiny.py and run_tiny.py


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Packs of one test must not be found by the next."""
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def ctrl_c():
    """Works, even where the tests are a background job, for which shells have SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
