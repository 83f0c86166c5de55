"""Trains tiny recipes by groups of processes: ``train_families.py OUTDIR 1 2 4 --family progan --family biggan``.

Each number is the size of a group, which trains in OUTDIR/<size>; with ``--resume`` the groups go on with one run, in
OUTDIR, ``--steps`` further each. Rank 0 leaves <family>.json there: the losses of every step. Processes are forked, so
that torch is imported once.
"""

import json
import multiprocessing
import os
import socket
import sys
from pathlib import Path

import click
from families import recipe_of

from ganzoo.cli import report_errors
from ganzoo.plugins import load_plugins
from ganzoo.recipe import parse_recipe
from ganzoo.training import distributed
from ganzoo.training.loop import train
from ganzoo.training.report import Reporter


class Losses(Reporter):
    def __init__(self):
        super().__init__(active=False)
        self.steps = []

    def tick(self, record):
        self.steps.append({"nimg": record["nimg"], **record["loss"], **record.get("augmentation", {})})


def train_all(rank, world_size, port, plugins, outdir, families, steps, apart):
    group = {"RANK": rank, "WORLD_SIZE": world_size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": world_size}
    os.environ |= {k: str(v) for k, v in {**group, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items()}
    leave, distributed.stop = distributed.stop, lambda: None  # one group for all families: to join takes a while
    for family in families:
        reporter = Losses()
        with report_errors():
            recipe = parse_recipe(
                recipe_of(family, steps=steps, whole_batch=not apart), plugins.registry, filename=family
            )
            resume_from = next(outdir.glob(f"*-{family}-*"), None)
            train(recipe, plugins=plugins, outdir=outdir, resume_from=resume_from, reporter=reporter)
        if rank == 0:
            (outdir / f"{family}.json").write_text(json.dumps(reporter.steps))
    leave()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@click.command()
@click.argument("outdir", type=Path)
@click.argument("sizes", nargs=-1, type=int)
@click.option("--family", "families", multiple=True)
@click.option("--steps", default=6)
@click.option("--resume", is_flag=True)
@click.option("--apart", is_flag=True, help="system.whole_batch: false")
def main(outdir, sizes, families, steps, resume, apart):
    plugins, fork = load_plugins(), multiprocessing.get_context("fork")
    for i, size in enumerate(sizes):
        folder, port = outdir if resume else outdir / str(size), free_port()
        folder.mkdir(parents=True, exist_ok=True)
        until = steps * (i + 1) if resume else steps
        arguments = [(r, size, port, plugins, folder, families, until, apart) for r in range(size)]
        group = [fork.Process(target=train_all, args=a) for a in arguments]
        for process in group:
            process.start()
        for process in group:
            process.join()
        if any(process.exitcode for process in group):
            sys.exit(f"{size} processes ended with {[process.exitcode for process in group]}")


if __name__ == "__main__":
    main()
