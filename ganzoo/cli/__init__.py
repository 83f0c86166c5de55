"""The command line: one small module a command, imported when the command is called.

``ganzoo --help`` therefore loads neither torch nor any plugin.
"""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

import ganzoo
from ganzoo.errors import GanzooError, printable

# Command -> what --help says of it. Module and function have the command's name, unless _NAMES has another.
COMMANDS = {
    "run": "Train a recipe, or go on with a run.",
    "sample": "Make images from a snapshot.",
    "walk": "Make a video of the way between latents.",
    "eval": "Measure a snapshot or images: FID and its kin.",
    "compare": "Put two results of eval side by side.",
    "data": "Inspect and pack images.",
    "recipe": "Check, show and document recipes.",
    "plugins": "List the installed plugins.",
    "doctor": "Check this installation, and say what to do.",
}
_NAMES = {"eval": "evaluate"}  # eval is Python's


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = _NAMES.get(cmd_name, cmd_name)
        return getattr(importlib.import_module(f"ganzoo.cli.{name}"), name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS:
            from ganzoo.registry import did_you_mean

            near = did_you_mean(args[0], list(COMMANDS))
            raise click.UsageError(f"no such command {args[0]!r}{near or '; there are: ' + ', '.join(COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # click would import every command for its help.
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        with report_errors():
            return super().invoke(ctx)


@contextmanager
def report_errors() -> Iterator[None]:
    """A mistake outside the code shows its message alone and exits with 2; a bug keeps its traceback."""
    try:
        yield
    except GanzooError as error:
        click.secho("error: ", fg="red", nl=False, err=True)
        click.echo(printable(str(error)), err=True)
        raise SystemExit(2) from None


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(ganzoo.__version__, prog_name="ganzoo")
def main() -> None:
    """ganzoo: train, resume, sample and share GANs from one YAML recipe.

    \b
    ganzoo run recipes/quickstart.yaml            train on the built-in faces
    ganzoo run RECIPE --data FOLDER_OR_ZIP        train on your own images
    ganzoo run --resume runs/00000-...            go on where a run stopped
    ganzoo sample SNAPSHOT --seeds 0-35           use the result
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a console that lacks a character is no reason to fail
