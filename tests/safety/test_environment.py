"""What the environment says is input, too."""

from __future__ import annotations

import pytest
from crafted import RECIPE

from ganzoo.errors import GanzooError
from ganzoo.training import distributed


@pytest.mark.parametrize("value", ["abc", "", "0", "-1", "1.5", "9" * 5000, "\x1b[2J"])
def test_a_world_size_that_is_none(here, refused, monkeypatch, value):
    (here / "small.yaml").write_text(RECIPE)
    monkeypatch.setenv("WORLD_SIZE", value)
    said = refused("run", "small.yaml", "--device", "cpu")
    assert "WORLD_SIZE=" in said
    assert "unset WORLD_SIZE" in said
    assert "\x1b" not in said
    assert not (here / "runs").exists()


def test_a_world_size_without_the_rest_of_torchrun(monkeypatch):
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(GanzooError, match=r"2 processes cannot be joined: .*RANK.*torchrun"):
        distributed.start("cpu")


@pytest.mark.parametrize("name", ["LOCAL_RANK", "LOCAL_WORLD_SIZE"])
def test_local_ranks_that_are_none(monkeypatch, name):
    monkeypatch.setenv(name, "x")
    assert distributed.start("cpu").world_size == 1  # alone, nobody asks for them
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed.dist, "is_initialized", lambda: True)
    with pytest.raises(GanzooError, match=f"{name}='x'"):
        distributed.start("cpu")
