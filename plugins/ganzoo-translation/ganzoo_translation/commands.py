"""``ganzoo translate``: images to images, with the snapshot of a translator.

torch and numpy are imported when the command runs: ``ganzoo --help`` imports this module.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ganzoo.console import echo

if TYPE_CHECKING:
    import numpy as np


@click.command()
@click.argument("snapshot", type=click.Path(path_type=Path))
@click.option(
    "--input",
    "source",
    type=click.Path(path_type=Path),
    required=True,
    help="What to translate: a folder, a zip or a pack of images, or one image.",
)
@click.option("--folder", metavar="NAME", help="Only the images in this folder of --input, as testA.")
@click.option(
    "--outdir", type=click.Path(path_type=Path), default=Path("translated"), show_default=True, help="Where images go."
)
@click.option(
    "--direction",
    default="a2b",
    show_default=True,
    metavar="DIRECTION",
    help="b2a goes back, where a generator can, as CycleGAN's.",
)
@click.option(
    "--degrade/--no-degrade",
    default=False,
    show_default=True,
    help="Spoil the images first, as the recipe does in training.",
)
@click.option("--keep-size", is_flag=True, help="Translate images at their own size, not at that of training.")
@click.option("--class", "chosen", metavar="K", help="Class name or index, for a generator with labels.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of what --degrade does.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
def translate(
    snapshot: Path,
    source: Path,
    folder: str | None,
    outdir: Path,
    direction: str,
    degrade: bool,
    keep_size: bool,
    chosen: str | None,
    seed: int,
    device: str,
) -> None:
    """Translate images with SNAPSHOT, a snapshot file or a run folder.

    Each image NAME becomes OUTDIR/NAME.png, and OUTDIR-overview.png shows the first 16 beside what became of them.
    Images are cropped and scaled as the recipe does its data; with --keep-size they stay as they are, reflected at
    their right and lower border up to the next size that the network takes, and cut back after it.
    """
    from rich.console import Console
    from rich.progress import track

    from ganzoo.data.images import save_image
    from ganzoo.files import atomic
    from ganzoo.generation import load_generator

    from .translation import Inputs, Translation, overview

    generator = load_generator(snapshot, device=device)
    translation = Translation(
        generator, direction=direction, degrade=degrade, keep_size=keep_size, chosen=chosen, seed=seed
    )
    inputs = Inputs(source, folder)
    inputs.check_names(outdir)

    console = Console(stderr=True)
    shown: list[tuple[np.ndarray, np.ndarray]] = []
    for name, image in track(
        inputs, "images", total=len(inputs), console=console, transient=True, disable=not console.is_terminal
    ):
        given, made = translation(image, name)
        save_image(outdir / f"{inputs.stem(name)}.png", made)
        if len(shown) < 16:
            shown.append((given, made))
    # Not among the images, so that `ganzoo eval` of the folder does not count it.
    picture = outdir.resolve().with_name(f"{outdir.resolve().name}-overview.png")
    with atomic(picture) as temporary:
        overview(shown, generator.img_resolution).save(temporary)

    size = "their own sizes" if keep_size else f"{generator.img_resolution} x {generator.img_resolution} px"
    echo(f"snapshot: {generator.path} (kimg {generator.nimg / 1000:g})")
    if degrade:
        echo(f"degraded: {translation.degradation_name}, seed {seed}")
    echo(f"images:   {outdir / '*.png'} ({len(inputs)} of {size}, {direction})")
    echo(f"overview: {_relative(picture)} (each image, and to its right what became of it)")


def _relative(path: Path) -> Path:
    """As seen from here, if it lies below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
