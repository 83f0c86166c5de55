"""``ganzoo export-dataset``: generated images as a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ganzoo.cli.options import precision_option
from ganzoo.console import echo

if TYPE_CHECKING:
    from ganzoo.generation.load import Precision
    from ganzoo.interfaces import Noise


@click.command("export-dataset")
@click.argument("snapshot", type=click.Path(path_type=Path))
@click.option("--num", type=click.IntRange(min=1), default=10_000, show_default=True, help="How many images.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="PATH", help="A .zip; any other name is a folder."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the first image.")
@click.option("--class", "chosen", metavar="K", help="Class name or index for all; without it classes come in turn.")
@click.option("--trunc", type=float, metavar="PSI", help="Style generators: how far w is from its mean; 1 = as it is.")
@click.option("--trunc-cutoff", type=int, metavar="K", help="Truncate the first K layers only.")
@click.option(
    "--noise",
    type=click.Choice(["const", "random", "none"]),
    help="Style generators: the stored noise, new noise each time, or none.  [default: const]",
)
@click.option("--batch", type=click.IntRange(min=1), default=32, show_default=True, help="Images made at a time.")
@click.option("--force", is_flag=True, help="Replace what was exported there before.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@precision_option
def export_dataset(
    snapshot: Path,
    num: int,
    out: Path,
    seed: int,
    chosen: str | None,
    trunc: float | None,
    trunc_cutoff: int | None,
    noise: Noise | None,
    batch: int,
    force: bool,
    device: str,
    precision: Precision,
) -> None:
    """Make a data set of generated images from SNAPSHOT, a snapshot file or a run folder (then its newest snapshot).

    \b
    ganzoo export-dataset runs/00000-faces --num 10000 --out fake.zip
    ganzoo data inspect fake.zip

    The layout is that of NVIDIA's dataset_tool.py: 00000/img00000000.png and so on, and labels in dataset.json, with
    the names of the classes. Image i has the seed SEED + i. Classes come in turn, so that all are equally frequent; how
    frequent they were in the data that the GAN was trained on, a snapshot does not know. --batch may change single
    pixels by rounding. Nothing is written unless all is.
    """
    from ganzoo import generation
    from ganzoo.cli.sample import check_truncation
    from ganzoo.data.packing import progress_bar
    from ganzoo.generation.export import check_export

    check_truncation(trunc, trunc_cutoff)
    check_export(out, num=num, seed=seed, force=force)
    generator = generation.load_generator(snapshot, device=device, precision=precision)
    with progress_bar(num) as advance:
        generation.export_dataset(
            generator,
            out,
            num=num,
            seed=seed,
            chosen=chosen,
            trunc=trunc,
            trunc_cutoff=trunc_cutoff,
            noise=noise,
            batch_size=batch,
            force=force,
            advance=advance,
        )
    size = generator.growth.resolution
    echo(f"snapshot: {generator.path} (kimg {generator.nimg / 1000:g})")
    if size < generator.img_resolution:
        echo(f"note:     taken while growing, at {size} px of {generator.img_resolution}")
    labels = f"labels of {generator.c_dim} classes" if generator.c_dim else "no labels"
    echo(f"data set: {out} ({num:,} images of {size} x {size} px, {labels})")
