"""What the documents say must be so: links, pictures, commands, hooks, tables."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import click
import pytest
import yaml

from ganzoo import hookspecs
from ganzoo.cli import main
from ganzoo.plugins import ENVIRONMENT, installed, load_plugins
from ganzoo.recipe.reference import recipe_reference
from ganzoo.registry import Registry

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("plugins/**/README.md")),
]
RECIPES = sorted(ROOT.glob("recipes/*.yaml"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(path: Path) -> str:
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    """GitHub's anchors of the headings."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def shown_commands() -> list[tuple[str, str]]:
    """(file, command) for every `ganzoo ...` in console blocks of documents and in comments of recipes."""
    lines = [
        (name_of(path), line.removeprefix("$ "))
        for path in DOCUMENTS
        for language, block in FENCE.findall(path.read_text(encoding="utf-8"))
        if language == "console"
        for line in block.splitlines()
        if line.startswith("$ ")
    ]
    for path in RECIPES:
        lines += [(name_of(path), line) for line in re.findall(r"^#   (.+)$", path.read_text(), re.MULTILINE)]
    return [(name, line) for name, line in lines if re.match(r"ganzoo |torchrun .*-m ganzoo ", line)]


def find_command(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that ``words`` name, and the words after its name."""
    command: click.Command = main
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"there is no command {words[0]!r}"
        command, words = found, words[1:]
    return command, words


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Core and the plugins of this repository, whatever else is installed."""
    ours = {path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml")}
    candidates = [candidate for candidate in installed() if candidate.owner.dist in ours]
    missing = ours - {candidate.owner.dist for candidate in candidates}
    if missing:
        pytest.skip(f"not installed: {', '.join(sorted(missing))}")
    monkeypatch.setenv(ENVIRONMENT, ",".join(candidate.name for candidate in candidates))
    loaded = load_plugins()
    assert not loaded.failures
    return loaded.registry


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose(path)):
        file, _, anchor = target.partition("#")
        there = (path.parent / file) if file else path
        assert there.exists(), f"{name_of(path)}: {target} does not exist"
        assert not anchor or anchor in anchors(there), f"{name_of(path)}: {target} is no heading there"


def test_commands_are_found_in_every_kind_of_place() -> None:
    files = {name for name, _ in shown_commands()}
    assert {"README.md", "plugins/README.md", "recipes/progan_1024_8gpu.yaml"} <= files


@pytest.mark.parametrize(("where", "line"), shown_commands())
def test_shown_commands_parse(where: str, line: str) -> None:
    words = shlex.split(line.split(" > ")[0], comments=True)
    command, arguments = find_command(words[words.index("ganzoo") + 1 :])
    try:
        command.make_context("ganzoo", list(arguments))
    except click.UsageError as error:
        pytest.fail(f"{where}: {line}: {error.format_message()}")
    for word in arguments:
        assert not word.startswith("recipes/") or (ROOT / word).exists(), f"{where}: {word} does not exist"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_commands_named_in_passing_exist(path: Path) -> None:
    for words in re.findall(r"`ganzoo ([a-z][^`]*)`", prose(path)):
        find_command(words.split())


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_hooks_named_exist(path: Path) -> None:
    named = set(re.findall(r"\bganzoo_register_\w+", path.read_text(encoding="utf-8")))
    assert named <= set(vars(hookspecs))


def test_every_hook_is_explained() -> None:
    hooks = {name for name in vars(hookspecs) if name.startswith("ganzoo_")}
    assert hooks
    assert hooks <= set(re.findall(r"ganzoo_\w+", prose(ROOT / "docs/architecture.md")))
    headings = re.findall(r"^### (ganzoo_\w+)\(.*\)$", prose(ROOT / "plugins/README.md"), re.MULTILINE)
    assert hooks == set(headings)


def test_the_recipe_reference_is_up_to_date(zoo: Registry) -> None:
    assert (ROOT / "docs/recipes.md").read_text(encoding="utf-8") == recipe_reference(zoo), "run `make docs`"


def test_the_readme_lists_every_recipe() -> None:
    listed = re.findall(r"^\| \[([\w-]+)\]\(recipes/([\w-]+)\.yaml\)", README, re.MULTILINE)
    assert [(path.stem, path.stem) for path in RECIPES] == sorted(listed)


def test_the_readme_lists_every_component(zoo: Registry) -> None:
    rows = re.findall(r"^\| ([\w, ]+) \| (`.+?`) \|", README, re.MULTILINE)
    listed = {
        (kind, name) for kinds, names in rows for kind in kinds.split(", ") for name in re.findall(r"`([\w-]+)`", names)
    }
    assert listed == {(entry.kind, entry.name) for entry in zoo.entries()}


def test_the_sites_pages_exist() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    for entry in config["nav"]:
        for page in entry.values():
            assert page == "index.md" or (ROOT / "docs" / page).exists() or (ROOT / page).exists(), page


@pytest.mark.slow
def test_the_readmes_python_runs(zoo: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = [block for language, block in FENCE.findall(README) if language == "python"]
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert len(list(tmp_path.glob("face*.png"))) == 4
