"""``ganzoo zoo``: the GANs that are installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ganzoo.console import echo

if TYPE_CHECKING:
    from ganzoo.zoo import PluginModel


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--markdown", "as_markdown", is_flag=True, help="A table for documents.")
def zoo(as_json: bool, as_markdown: bool) -> None:
    """List the GANs that are installed, by family: name, paper, and the recipes that train each.

    Papers are at https://arxiv.org/abs/ and the number, if there is no other address.
    """
    import json

    from ganzoo.plugins import load_models
    from ganzoo.zoo import markdown

    if as_json and as_markdown:
        raise click.UsageError("--json and --markdown: choose one")
    found = load_models()
    models = list(found.models.values())
    if as_json:
        failures = [
            {"name": f.name, "dist": f.owner.dist, "version": f.owner.version, "reason": f.reason}
            for f in found.failures
        ]
        content = {"models": [m.to_dict() for m in models], "refused": found.refused, "failures": failures}
        echo(json.dumps(content, indent=2))
        return
    if as_markdown:
        echo(markdown(models))
    else:
        _print_table(models)
    for problem in [*found.refused.values(), *map(str, found.failures)]:
        echo(f"left out: {problem}", fg="red", err=as_markdown)


def _print_table(models: list[PluginModel]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ganzoo.errors import printable
    from ganzoo.zoo import by_family

    if not models:
        echo("no GAN is installed; pip install a plugin, such as ganzoo-progan")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    names = {
        "GAN": [entry.name for entry in models],
        "recipes": [recipe for entry in models for recipe in entry.model.recipes],
    }
    for column in ("GAN", "paper", "arXiv", "recipes"):
        # Names stay whole, and papers give way, as long as these leave room for them.
        whole = column in names and max(map(len, names[column]), default=0) <= 28
        table.add_column(column, overflow="fold", no_wrap=whole)
    for family, entries in by_family(models).items():
        table.add_row(Text(printable(family), style="bold"))
        for entry in entries:
            model = entry.model
            cells = (
                model.name,
                f"{model.authors} {model.year}",
                model.url.removeprefix("https://arxiv.org/abs/"),
                "\n".join(model.recipes),
            )
            table.add_row(*(Text(printable(cell)) for cell in cells))
        table.add_row()
    console = Console()
    # A file or a pipe has no width; there, and on wide terminals, the table is for 80 columns.
    Console(width=min(console.width, 80) if console.is_terminal else 80).print(table)
