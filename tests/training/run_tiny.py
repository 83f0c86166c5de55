"""A training run in a process of its own, to be killed: ``run_tiny.py OUTDIR [--resume RUN_DIR] [--set KEY=VALUE]``."""

import sys
from pathlib import Path

import click
import tiny

from ganzoo.cli import report_errors
from ganzoo.plugins import make_plugin_manager
from ganzoo.recipe import parse_recipe
from ganzoo.training.loop import train


@click.command()
@click.argument("outdir", type=Path)
@click.option("--resume", type=Path)
@click.option("--set", "overrides", multiple=True)
def main(outdir, resume, overrides):
    with report_errors():
        plugins = make_plugin_manager({"tiny": tiny.TinyPlugin})
        recipe = parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=overrides)
        result = train(recipe, plugins=plugins, outdir=outdir, resume_from=resume)
    print("images seen:", tiny.TinyExtractor.seen, file=sys.stderr)
    sys.exit(result.exit_code)


if __name__ == "__main__":
    main()
