"""``ganzoo sample``: images from a snapshot."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ganzoo.cli.options import precision_option
from ganzoo.console import echo

if TYPE_CHECKING:
    from torch import Tensor

    from ganzoo.generation.load import Precision
    from ganzoo.interfaces import Noise

_LARGEST_GRID = 2**27  # pixels


@click.command()
@click.argument("snapshot", type=click.Path(path_type=Path))
@click.option("--seeds", default="0-35", show_default=True, help="Which images: numbers and ranges, as 0-35,40.")
@click.option(
    "--outdir", type=click.Path(path_type=Path), default=Path("samples"), show_default=True, help="Where images go."
)
@click.option("--class", "chosen", metavar="K", help="Class name or index, or all; without it each seed draws its own.")
@click.option(
    "--trunc",
    type=float,
    metavar="PSI",
    help="Style generators: how far w is from its mean; 1 = as it is. Others: numbers of z beyond it are drawn again.",
)
@click.option("--trunc-cutoff", type=int, metavar="K", help="Truncate the first K layers only.")
@click.option(
    "--noise",
    type=click.Choice(["const", "random", "none"]),
    help="Style generators: the stored noise, new noise each time, or none.  [default: const]",
)
@click.option(
    "--standing-stats",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help="Compute the statistics of batch norm anew, over N batches of latents drawn like those of the images.",
)
@click.option(
    "--grid", metavar="ROWSxCOLS", help="Also write grid.png with the first ROWS x COLS images; auto: with all of them."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@precision_option
def sample(
    snapshot: Path,
    seeds: str,
    outdir: Path,
    chosen: str | None,
    trunc: float | None,
    trunc_cutoff: int | None,
    noise: Noise | None,
    standing_stats: int | None,
    grid: str | None,
    device: str,
    precision: Precision,
) -> None:
    """Make images from SNAPSHOT, a snapshot file or a run folder (then its newest snapshot).

    Each seed becomes OUTDIR/seed0000.png and so on; the same seed always gives the same image, but for --noise random.
    With --class all it becomes an image of every class, class0-seed0000.png and so on, and the grid has a row for each
    class, in their order, and a column for each seed. (A class that is called all is chosen by its index.) Cells of the
    grid that have no image stay white.
    """
    import numpy as np
    from rich.console import Console
    from rich.progress import track

    from ganzoo import generation
    from ganzoo.data.images import image_grid, save_image
    from ganzoo.files import atomic

    check_truncation(trunc, trunc_cutoff)
    numbers = generation.parse_seeds(seeds)
    shape = None if grid is None or grid == "auto" else _parse_grid(grid)
    generator = generation.load_generator(snapshot, device=device, precision=precision)
    generator.check_latents()
    z_trunc = None  # of z where there is no w
    if trunc is not None and not generator.is_style:
        if trunc_cutoff is not None:
            generator.style("no w to truncate in some layers only")
        z_trunc, trunc = trunc, None
    c: Tensor | None
    if chosen == "all":
        z, c = generation.latents_of_every_class(generator, numbers, z_trunc)
        width = len(str(generator.c_dim - 1))
        names = [f"class{k:0{width}d}-seed{seed:04d}.png" for k in range(generator.c_dim) for seed in numbers]
        layout = generator.c_dim, len(numbers)
    else:
        z = generation.seeds_to_latents(numbers, generator.z_dim, z_trunc)
        c = generation.labels_for_seeds(generator, numbers, chosen)
        names = [f"seed{seed:04d}.png" for seed in numbers]
        cols = shape[1] if shape else math.isqrt(len(numbers) - 1) + 1
        layout = -(-len(numbers) // cols), cols
    if grid == "auto":
        shape = layout
    size = generator.growth.resolution
    if shape is not None and shape[0] * shape[1] * size**2 > _LARGEST_GRID:
        raise click.BadParameter(
            f"{shape[0]}x{shape[1]} images of {size} px are too many for one picture", param_hint="--grid"
        )

    if standing_stats is not None:
        generation.standing_statistics(generator, standing_stats, trunc=z_trunc)
    images = generation.sample(generator, z, c, trunc=trunc, trunc_cutoff=trunc_cutoff, noise=noise)

    console = Console(stderr=True)
    cells = None if shape is None else np.full((*shape, generator.img_channels, size, size), 255, np.uint8)
    for i, (name, image) in enumerate(
        track(
            zip(names, images, strict=True),
            "images",
            total=len(names),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
    ):
        save_image(outdir / name, image)
        row, col = divmod(i, layout[1])
        if cells is not None and row < len(cells) and col < len(cells[0]):
            cells[row, col] = image

    echo(f"snapshot: {generator.path} (kimg {generator.nimg / 1000:g})")
    if size < generator.img_resolution:
        echo(f"note:     taken while growing, at {size} px of {generator.img_resolution}")
    pattern = "class*-seed*.png" if chosen == "all" else "seed*.png"
    echo(f"images:   {outdir / pattern} ({len(set(names))} of {size} x {size} px)")
    if cells is not None and shape is not None:
        with atomic(outdir / "grid.png") as temporary:
            image_grid(cells.reshape(-1, *cells.shape[2:]), *shape).save(temporary)
        echo(f"grid:     {outdir / 'grid.png'}")


def check_truncation(trunc: float | None, cutoff: int | None) -> None:
    """Raise click.UsageError for a cutoff without truncation: it would do nothing."""
    if cutoff is not None and trunc is None:
        raise click.UsageError("--trunc-cutoff says where truncation ends: give --trunc PSI as well, 0.7 is usual")


def _parse_grid(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,2})x([1-9]\d{0,2})", text)
    if match is None:
        raise click.BadParameter(f"{text!r} is neither ROWSxCOLS, such as 6x6, nor auto", param_hint="--grid")
    return int(match[1]), int(match[2])
