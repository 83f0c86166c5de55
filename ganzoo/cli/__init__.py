"""The command line: one small module a command, imported when the command is called.

``ganzoo --help`` therefore loads no torch. It imports the modules of plugins for the commands that they bring, and asks
for nothing else; core's own commands do not wait for that.
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
from ganzoo.console import echo
from ganzoo.errors import GanzooError, PluginError, printable
from ganzoo.plugins import LoadedCommands, load_commands
from ganzoo.registry import did_you_mean

# Command -> what --help says of it. Module and function have the command's name, unless _NAMES has another.
COMMANDS = {
    "run": "Train a recipe, or go on with a run.",
    "sample": "Make images from a snapshot.",
    "walk": "Make a video of the way between latents.",
    "export-dataset": "Make a data set of generated images, with labels.",
    "eval": "Measure a snapshot or images: FID and its kin.",
    "compare": "Put two results of eval side by side.",
    "data": "Inspect and pack images.",
    "plan": "Say what a recipe needs and how long it takes, before training.",
    "bench": "Measure the training step of a recipe on this machine.",
    "recipe": "Check, show and document recipes.",
    "import": "Make a snapshot of the weights of another project.",
    "zoo": "List the installed GANs, with papers and recipes.",
    "plugins": "List the installed plugins.",
    "doctor": "Check this installation, and say what to do.",
}
_NAMES = {"eval": "evaluate", "export-dataset": "export_dataset", "import": "import_"}  # eval and import are Python's


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *_of_plugins(ctx).commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            name = _NAMES.get(cmd_name, cmd_name)
            return getattr(importlib.import_module(f"ganzoo.cli.{name}"), name)
        found = _of_plugins(ctx)
        if cmd_name in found.refused:
            raise PluginError(found.refused[cmd_name])
        return found.commands[cmd_name].command if cmd_name in found.commands else None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None:
            names = self.list_commands(ctx)
            near = did_you_mean(args[0], names)
            message = f"no such command {args[0]!r}{near or '; there are: ' + ', '.join(names)}"
            if failures := _of_plugins(ctx).failures:
                message += f"; or is it of a plugin that failed to load: {'; '.join(map(str, failures))}"
            raise click.UsageError(message)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # click would import every command for its help.
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        try:
            found = _of_plugins(ctx)
        except PluginError as error:
            _warn(formatter, [str(error)])
            return
        for dist in sorted({entry.owner.dist for entry in found.commands.values()}):
            brought = sorted(
                (name, entry.command) for name, entry in found.commands.items() if entry.owner.dist == dist
            )
            with formatter.section(f"Commands of plugins ({printable(dist)})"):
                formatter.write_dl([(name, printable(command.get_short_help_str(100))) for name, command in brought])
        _warn(formatter, [*found.refused.values(), *map(str, found.failures)])

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _printable_usage():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with report_errors(), _printable_usage():
            return super().invoke(ctx)


def _of_plugins(ctx: click.Context) -> LoadedCommands:
    """The plugins' commands, loaded once an invocation."""
    if "ganzoo.commands" not in ctx.meta:
        ctx.meta["ganzoo.commands"] = load_commands(COMMANDS)
    return ctx.meta["ganzoo.commands"]


def _warn(formatter: click.HelpFormatter, problems: list[str]) -> None:
    if problems:
        with formatter.section("Left out"):
            for problem in problems:
                formatter.write_text(printable(problem))


@contextmanager
def report_errors() -> Iterator[None]:
    """A mistake outside the code shows its message alone and exits with its code, 2; a bug keeps its traceback."""
    try:
        yield
    except GanzooError as error:
        echo("error: ", fg="red", nl=False, err=True)
        echo(str(error), err=True)
        raise SystemExit(error.exit_code) from None


@contextmanager
def _printable_usage() -> Iterator[None]:
    """click prints a mistake on the command line as it was written: by hand, or by a ``*`` over strangers' files."""
    try:
        yield
    except click.ClickException as error:
        error.message = printable(error.message)  # type: ignore[misc]  # click offers no other way
        raise


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
