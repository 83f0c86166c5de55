"""plugins/README.md is true: its files are packaged, installed, checked and trained, and core does not change."""

from __future__ import annotations

import hashlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ganzoo import hookspecs

ROOT = Path(__file__).resolve().parents[1]
TUTORIAL = (ROOT / "plugins" / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```(\w+)\n(.*?)^```$", TUTORIAL, re.MULTILINE | re.DOTALL)
HOOKS = [name for name in dir(hookspecs) if name.startswith("ganzoo_")]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_its_heading_and_example(hook):
    arguments = ", ".join(inspect.signature(getattr(hookspecs, hook)).parameters)
    heading = re.escape(f"### {hook}({arguments})")
    section = re.search(rf"^{heading}\n\n(.*?)(?=^### |\Z)", TUTORIAL, re.MULTILINE | re.DOTALL)
    assert section, f"plugins/README.md has no heading '### {hook}({arguments})'"
    assert f"@hookimpl\ndef {hook}(" in section[1]


def test_every_python_snippet_compiles():
    python = [code for language, code in SNIPPETS if language == "python"]
    assert len(python) > len(HOOKS)
    for code in python:
        compile(code, "plugins/README.md", "exec")


def test_no_heading_for_a_hook_that_does_not_exist():
    assert sorted(re.findall(r"^### (ganzoo_\w+)", TUTORIAL, re.MULTILINE)) == sorted(HOOKS)


Run = Callable[..., str]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """Runs Python in a folder with the tutorial's files, where the plugin they make is installed."""
    folder = tmp_path_factory.mktemp("tutorial")
    for _, code in SNIPPETS:
        if named := re.match(r"# file: (\S+)\n", code):
            path = folder / named[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code, encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(folder / "site"), os.environ.get("PYTHONPATH")])),
        "GANZOO_CACHE": str(folder / "cache"),
        "GANZOO_LOAD_PLUGINS": "lsgan,colours,progan",
        "OMP_NUM_THREADS": "1",
    }

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps")
    run(*pip, "--no-build-isolation", "--target", "site", "./ganzoo-lsgan", "./ganzoo-colours")
    return run


def test_plugins_are_listed(run):
    listed = run("-m", "ganzoo", "plugins")
    assert re.search(r"ganzoo-colours 0\.1\.0 +\(colours\)\n +extractor +colour-histogram\n +metric +mean-dist", listed)
    assert re.search(r"ganzoo-lsgan 0\.1\.0 +\(lsgan\)\n +loss +lsgan\n +growth +linear-decay", listed)


@pytest.mark.parametrize("plugin", ["ganzoo-lsgan", "ganzoo-colours"])
def test_plugin_passes_its_own_tests(run, plugin):
    assert "3 passed" in run("-m", "pytest", "-q", "-p", "no:cacheprovider", f"{plugin}/tests")


def test_plugin_trains_and_core_is_untouched(run):
    before = _contents(ROOT / "ganzoo")
    settings = ["system.precision=fp32", "data.source.args.num_images=64", "data.cache=off", "train.grid=[2, 2]"]
    output = run(
        *("-m", "ganzoo", "run", "ganzoo-lsgan/recipes/lsgan_faces.yaml", "--kimg", "0.1", "--device", "cpu"),
        *(part for setting in settings for part in ("--set", setting)),
    )
    assert "done: kimg 0.128" in output
    images = ("-m", "ganzoo", "sample", "runs/00000-lsgan_faces-faces", "--seeds", "0", "--device", "cpu")
    assert "1 of 16 x 16 px" in run(*images)
    metric = ("--metric", "mean-distance", "--extractor", "colour-histogram", "--num", "50", "--device", "cpu")
    assert re.match(r"mean_distance +0\.\d+ ± ", run("-m", "ganzoo", "eval", "runs/00000-lsgan_faces-faces", *metric))
    assert _contents(ROOT / "ganzoo") == before


def _contents(folder: Path) -> dict[Path, str]:
    files = (p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
