"""``ganzoo sample``: images from a snapshot."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ganzoo.interfaces import Noise

_LARGEST_GRID = 2**27  # pixels


@click.command()
@click.argument("snapshot", type=click.Path(path_type=Path))
@click.option("--seeds", default="0-35", show_default=True, help="Which images: numbers and ranges, as 0-35,40.")
@click.option(
    "--outdir", type=click.Path(path_type=Path), default=Path("samples"), show_default=True, help="Where images go."
)
@click.option("--class", "chosen", metavar="K", help="Class name or index; without it each seed draws its own.")
@click.option("--trunc", type=float, metavar="PSI", help="Style generators: how far w is from its mean; 1 = as it is.")
@click.option("--trunc-cutoff", type=int, metavar="K", help="Truncate the first K layers only.")
@click.option(
    "--noise",
    type=click.Choice(["const", "random", "none"]),
    help="Style generators: the stored noise, new noise each time, or none.  [default: const]",
)
@click.option("--grid", metavar="ROWSxCOLS", help="Also write grid.png with the first ROWS x COLS images.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
def sample(
    snapshot: Path,
    seeds: str,
    outdir: Path,
    chosen: str | None,
    trunc: float | None,
    trunc_cutoff: int | None,
    noise: Noise | None,
    grid: str | None,
    device: str,
) -> None:
    """Make images from SNAPSHOT, a snapshot file or a run folder (then its newest snapshot).

    Each seed becomes OUTDIR/seed0000.png and so on; the same seed always gives the same image, but for --noise random.
    Cells of the grid that have no image stay white.
    """
    import numpy as np
    from rich.console import Console
    from rich.progress import track

    from ganzoo import generation
    from ganzoo.data.images import image_grid, save_image
    from ganzoo.files import atomic

    check_truncation(trunc, trunc_cutoff)
    numbers = generation.parse_seeds(seeds)
    shape = _parse_grid(grid) if grid is not None else None
    generator = generation.load_generator(snapshot, device=device)
    generator.check_latents()
    z = generation.seeds_to_latents(numbers, generator.z_dim)
    c = generation.labels_for_seeds(generator, numbers, chosen)
    size = generator.growth.resolution
    if shape is not None and shape[0] * shape[1] * size**2 > _LARGEST_GRID:
        raise click.BadParameter(f"{grid} images of {size} px are too many for one picture", param_hint="--grid")

    images = generation.sample(generator, z, c, trunc=trunc, trunc_cutoff=trunc_cutoff, noise=noise)

    console = Console(stderr=True)
    shown: list[np.ndarray] = []
    for seed, image in track(
        zip(numbers, images, strict=True),
        "images",
        total=len(numbers),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ):
        save_image(outdir / f"seed{seed:04d}.png", image)
        if shape is not None and len(shown) < shape[0] * shape[1]:
            shown.append(image)

    click.echo(f"snapshot: {generator.path} (kimg {generator.nimg / 1000:g})")
    if size < generator.img_resolution:
        click.echo(f"note:     taken while growing, at {size} px of {generator.img_resolution}")
    click.echo(f"images:   {outdir / 'seed*.png'} ({len(set(numbers))} of {size} x {size} px)")
    if shape is not None:
        with atomic(outdir / "grid.png") as temporary:
            image_grid(np.stack(shown), *shape).save(temporary)
        click.echo(f"grid:     {outdir / 'grid.png'}")


def check_truncation(trunc: float | None, cutoff: int | None) -> None:
    """Raise click.UsageError for a cutoff without truncation: it would do nothing."""
    if cutoff is not None and trunc is None:
        raise click.UsageError("--trunc-cutoff says where truncation ends: give --trunc PSI as well, 0.7 is usual")


def _parse_grid(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,2})x([1-9]\d{0,2})", text)
    if match is None:
        raise click.BadParameter(f"{text!r} is not ROWSxCOLS, such as 6x6", param_hint="--grid")
    return int(match[1]), int(match[2])
