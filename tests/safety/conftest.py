"""An empty folder to work in, and a command line to try."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from ganzoo.cli import main

sys.path.insert(0, str(Path(__file__).parent))  # for crafted.py


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """The working directory; packs and notes are kept beside it."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def refused() -> Callable[..., str]:
    """``refused(*args)``: what a command says that ends with exit code 2. A traceback is an error of the test."""

    def call(*args: object) -> str:
        result = CliRunner().invoke(main, [str(arg) for arg in args], catch_exceptions=False)
        assert result.exit_code == 2, result.output
        return result.output

    return call


@pytest.fixture
def said() -> Callable[..., str]:
    """``said(*args)``: all that a command prints, if it works."""

    def call(*args: object) -> str:
        result = CliRunner().invoke(main, [str(arg) for arg in args], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return call
