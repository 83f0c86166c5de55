"""A training run in a process of its own, to be killed: ``run_tiny.py OUTDIR [--resume RUN_DIR] [KEY=VALUE ...]``."""

import sys
from pathlib import Path

import tiny

from ganzoo.cli import _LazyGroup
from ganzoo.plugins import make_plugin_manager
from ganzoo.recipe import parse_recipe
from ganzoo.training.loop import train


class Main(_LazyGroup):
    """The command line's way with errors, around a recipe that needs no installed plugin."""


def main() -> None:
    import click

    @click.group(cls=Main, invoke_without_command=True)
    @click.argument("outdir")
    @click.option("--resume")
    @click.option("--set", "overrides", multiple=True)
    def run(outdir, resume, overrides):
        plugins = make_plugin_manager({"tiny": tiny.TinyPlugin})
        recipe = parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=overrides)
        result = train(recipe, plugins=plugins, outdir=Path(outdir), resume_from=Path(resume) if resume else None)
        if result.signal:
            sys.exit(0 if result.signal == 2 else 128 + result.signal)

    run()


if __name__ == "__main__":
    main()
