"""A training run in a process of its own, to be killed: ``run_tiny.py OUTDIR [--resume RUN_DIR] [--set KEY=VALUE]``.

--translate: of tiny_translation.py in place of tiny.py. --kill-at N: by its own hand, after N images.
"""

import os
import signal
import sys
from pathlib import Path

import click
import tiny
import tiny_translation

from ganzoo.cli import report_errors
from ganzoo.plugins import make_plugin_manager
from ganzoo.recipe import parse_recipe
from ganzoo.training.loop import train
from ganzoo.training.report import Reporter


class KillAt(Reporter):
    def __init__(self, nimg):
        super().__init__()
        self.nimg = nimg

    def progress(self, nimg, growth):
        if nimg >= self.nimg:
            os.kill(os.getpid(), signal.SIGKILL)


@click.command()
@click.argument("outdir", type=Path)
@click.option("--resume", type=Path)
@click.option("--set", "overrides", multiple=True)
@click.option("--translate", is_flag=True)
@click.option("--kill-at", type=int)
def main(outdir, resume, overrides, translate, kill_at):
    with report_errors():
        plugins = make_plugin_manager({"tiny": tiny_translation.TranslationPlugin if translate else tiny.TinyPlugin})
        text = tiny_translation.RECIPE if translate else tiny.RECIPE
        recipe = parse_recipe(text, plugins.registry, filename="tiny", overrides=overrides)
        reporter = None if kill_at is None else KillAt(kill_at)
        result = train(recipe, plugins=plugins, outdir=outdir, resume_from=resume, reporter=reporter)
    print("images seen:", tiny.TinyExtractor.seen, file=sys.stderr)
    sys.exit(result.exit_code)


if __name__ == "__main__":
    main()
