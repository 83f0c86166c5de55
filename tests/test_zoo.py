"""``ganzoo zoo``: what plugins declare is listed, checked, and costs nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import ganzoo
from ganzoo import plugins
from ganzoo.cli import main
from ganzoo.errors import PluginError
from ganzoo.plugins import ENVIRONMENT, Candidate, load_models, load_plugins
from ganzoo.registry import Owner
from ganzoo.testing import declared
from ganzoo.zoo import by_family

ROOT = Path(__file__).resolve().parents[1]
TUTORIAL = (ROOT / "plugins" / "README.md").read_text(encoding="utf-8")
FACTS = {
    "name": "my-gan",
    "family": "mine",
    "title": "A GAN of My Own",
    "authors": "Me et al.",
    "year": 2020,
    "url": "https://arxiv.org/abs/2001.00001",
    "recipes": ("mine_64",),
}


def declares(*models):
    class Plugin:
        @staticmethod
        @ganzoo.hookimpl
        def ganzoo_register_models(register):
            for model in models:
                register(ganzoo.Model(**{**FACTS, **model}) if isinstance(model, dict) else model)

    return Plugin


def broken():
    raise ImportError("no module named 'left_out'")


@pytest.fixture
def installed(monkeypatch):
    """Pretend that these plugins are installed, by entry point and distribution: name=loader."""

    def install(**loaders):
        candidates = [Candidate(name, Owner(f"ganzoo-{name}", "1.2"), load) for name, load in loaders.items()]
        monkeypatch.setattr(plugins, "installed", lambda: candidates)
        monkeypatch.delenv(ENVIRONMENT, raising=False)

    return install


@pytest.fixture
def ours(monkeypatch):
    """The GANs of this repository's plugins, whatever else is installed."""
    dists = {path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml")}
    candidates = [candidate for candidate in plugins.installed() if candidate.owner.dist in dists]
    if missing := dists - {candidate.owner.dist for candidate in candidates}:
        pytest.skip(f"not installed: {', '.join(sorted(missing))}")
    monkeypatch.setenv(ENVIRONMENT, ",".join(candidate.name for candidate in candidates))
    found = load_models()
    assert not found.failures and not found.refused
    return found.models


def run(*arguments):
    result = CliRunner().invoke(main, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_models_are_listed_by_family_and_year(installed):
    new, old = {"name": "new", "year": 2021}, {"name": "old", "year": 2014}
    other = {"name": "other", "family": "others", "year": 2012, "recipes": ()}
    installed(a=lambda: declares(new, old), b=lambda: declares(other))
    families = by_family(load_models().models.values())
    assert {family: [m.name for m in models] for family, models in families.items()} == {
        "others": ["other"],
        "mine": ["old", "new"],
    }
    code, output = run("zoo")
    assert code == 0 and re.search(r"others\s+other +Me et al\. 2012 +2001\.00001", output)
    assert output.index("old") < output.index("new") and "mine_64" in output
    code, output = run("zoo", "--json")
    models = {model["name"]: model for model in json.loads(output)["models"]}
    assert models["old"] == {**FACTS, **old, "recipes": ["mine_64"], "dist": "ganzoo-a", "version": "1.2"}
    row = "| `new` | mine | [A GAN of My Own](https://arxiv.org/abs/2001.00001), Me et al. 2021 | `mine_64` |"
    assert row in run("zoo", "--markdown")[1].splitlines()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "My_GAN", "name must be kebab-case, such as 'wgan-gp', not 'My_GAN'"),
        ("name", None, "name must be a line of text"),
        ("family", "", "family must be a line of text"),
        ("title", "one | two", "title must be a line of text without '|'"),
        ("authors", "one\ntwo", "authors must be a line of text"),
        ("year", "2020", "year must be a year, such as 2018, not '2020'"),
        ("year", 20, "year must be a year"),
        ("url", "arXiv:2001.00001", "url must be an address"),
        ("recipes", ["mine_64"], "recipes must be a tuple of names"),
        ("recipes", ("mine/64.yaml",), "recipes must be a tuple of names of recipes without '.yaml'"),
    ],
)
def test_a_wrong_field_is_named_and_the_others_work(installed, field, value, message):
    with pytest.raises(PluginError, match=re.escape(message)):
        ganzoo.Model(**{**FACTS, field: value})
    installed(bad=lambda: declares({field: value}), good=lambda: declares({"name": "fine"}))
    found = load_models()
    assert list(found.models) == ["fine"]
    assert message in found.failures[0].reason and found.failures[0].owner.dist == "ganzoo-bad"
    code, output = run("zoo")
    assert code == 0 and "fine" in output and "left out: ganzoo-bad 1.2" in output


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (broken, "no module named 'left_out'"),
        (lambda: declares({}, {}), "registers two models 'my-gan'"),
        (lambda: declares("my-gan"), "registers 'my-gan' as a model, which is no ganzoo.Model"),
    ],
)
def test_a_plugin_that_breaks_the_contract_is_left_out(installed, load, reason):
    installed(bad=load, good=lambda: declares({"name": "fine"}))
    found = load_models()
    assert list(found.models) == ["fine"] and reason in found.failures[0].reason
    assert json.loads(run("zoo", "--json")[1])["failures"][0]["dist"] == "ganzoo-bad"


def test_a_name_of_two_plugins_is_neithers(installed):
    installed(a=lambda: declares({}), b=lambda: declares({}), c=lambda: declares({"name": "fine"}))
    found = load_models()
    assert list(found.models) == ["fine"]
    message = "model 'my-gan' of ganzoo-b 1.2 is also one of ganzoo-a 1.2: two owners of one name"
    assert message in " ".join(run("zoo")[1].split())
    # The list is the only thing that fails: components of both load.
    assert not load_plugins().failures


def test_authors_can_check_what_they_declare():
    assert [model.name for model in declared(declares({"name": "a"}, {"name": "b"}))] == ["a", "b"]
    with pytest.raises(PluginError, match="registers two models 'my-gan'"):
        declared(declares({}, {}))


def test_without_plugins_the_zoo_is_empty(installed):
    installed()
    assert run("zoo") == (0, "no GAN is installed; pip install a plugin, such as ganzoo-progan\n")


def test_two_formats_are_one_too_many():
    code, output = run("zoo", "--json", "--markdown")
    assert code == 2 and "choose one" in output


def test_the_table_fits_80_columns_and_is_whole(ours):
    code, output = run("zoo")
    assert code == 0 and max(map(len, output.splitlines())) <= 80
    for name, entry in ours.items():
        assert re.search(rf"\b{name}\b", output)
        for recipe in entry.model.recipes:
            assert recipe in output.split(), f"{recipe} is broken over lines"


def test_listing_imports_no_torch():
    code = (
        "import sys, click.testing, ganzoo.cli as c\n"
        "r = click.testing.CliRunner().invoke(c.main, ['zoo'])\n"
        "assert r.exit_code == 0, r.output\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_recipes_named_exist(ours):
    for entry in ours.values():
        for recipe in entry.model.recipes:
            assert (ROOT / "recipes" / f"{recipe}.yaml").is_file(), f"{entry.name}: {recipe}"


def test_the_readmes_table_is_the_commands(ours):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- ganzoo zoo --markdown -->\n(.*?)<!-- end -->", readme, re.DOTALL)
    assert shown and shown[1] == run("zoo", "--markdown")[1], "put `ganzoo zoo --markdown` between the markers"


def test_the_tutorials_example_is_listed(installed):
    section = TUTORIAL.split("### ganzoo_register_models(register)")[1].split("\n### ")[0]
    (code,) = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    namespace: dict = {}
    exec(code, namespace)
    plugin = type("Plugin", (), {name: staticmethod(f) for name, f in namespace.items() if name.startswith("ganzoo_")})
    installed(lsgan=lambda: plugin)
    code, output = run("zoo")
    assert code == 0 and re.search(r"lsgan-decay +Mao et al\. 2017 +1611\.04076 +lsgan_faces", output)
