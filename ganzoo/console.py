"""What commands print: one way out, so that no name of a file, a class or a recipe can act on the terminal."""

from __future__ import annotations

from typing import Any

import click

from ganzoo.errors import printable


def echo(message: object = "", *, err: bool = False, nl: bool = True, **style: Any) -> None:
    """Print ``message`` with its control characters written out. style: as ``click.style`` takes it (fg, bold, ...).

    What JSON escapes stays JSON. Commands of plugins use this in place of ``click.echo``, too.
    """
    click.secho(printable(str(message)), err=err, nl=nl, **style)
