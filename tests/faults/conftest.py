import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # fault_driver.py


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Where processes are started; one server of them for all tests."""
    from fault_driver import PLUGINS, World

    from ganzoo.plugins import installed

    missing = set(PLUGINS) - {candidate.name for candidate in installed()}
    if missing:
        pytest.skip(f"not installed: {', '.join(sorted(missing))}")
    with World(tmp_path_factory.mktemp("faults")) as world:
        yield world
