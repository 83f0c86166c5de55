"""``ganzoo recipe``: check, show and document recipes without training anything."""

from __future__ import annotations

from pathlib import Path

import click

from ganzoo.console import echo

_OVERRIDES = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a recipe key, as a.b=value."
)


@click.group()
def recipe() -> None:
    """Check, show and document recipes."""


@recipe.command()
@click.argument("recipes", nargs=-1, required=True, type=click.Path(path_type=Path))
@_OVERRIDES
def check(recipes: tuple[Path, ...], overrides: tuple[str, ...]) -> None:
    """Report every mistake in RECIPES, or nothing but 'ok'. The images need not be here."""
    from ganzoo.errors import GanzooError
    from ganzoo.plugins import load_plugins
    from ganzoo.training.plan import check_recipe

    registry = load_plugins().registry
    bad = []
    for path in recipes:
        try:
            check_recipe(path, registry, overrides)
        except GanzooError as error:
            message = str(error)
            bad.append(message if message.startswith(str(path)) else f"{path}: {message}")
        else:
            echo(f"{path}: ok")
    if bad:
        raise GanzooError("\n".join(bad))


@recipe.command()
@click.argument("path", metavar="RECIPE", type=click.Path(path_type=Path))
@_OVERRIDES
def show(path: Path, overrides: tuple[str, ...]) -> None:
    """Print RECIPE as a run would record it: `extends` and --set applied, defaults written out."""
    from ganzoo.plugins import load_plugins
    from ganzoo.recipe import dump_recipe, load_recipe

    echo(dump_recipe(load_recipe(path, load_plugins().registry, overrides)), nl=False)


@recipe.command()
def schema() -> None:
    """Print a JSON schema of recipes, installed plugins included, for editors."""
    import json

    from ganzoo.plugins import load_plugins
    from ganzoo.recipe.schema import recipe_schema

    echo(json.dumps(recipe_schema(load_plugins().registry), indent=2))


@recipe.command()
def docs() -> None:
    """Print docs/recipes.md: every key and every installed component's arguments."""
    from ganzoo.plugins import load_plugins
    from ganzoo.recipe.reference import recipe_reference

    echo(recipe_reference(load_plugins().registry), nl=False)
