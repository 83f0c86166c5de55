"""``ganzoo walk``: a video of the way between latents."""

from __future__ import annotations

from pathlib import Path

import click

from ganzoo.console import echo


@click.command()
@click.argument("snapshot", type=click.Path(path_type=Path))
@click.option("--seeds", default="0-5", show_default=True, help="The stops: numbers and ranges, as 0,5,9.")
@click.option("--frames", type=click.IntRange(min=1), default=60, show_default=True, help="From one stop to the next.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="An .mp4 or a .gif.  [default: walk.mp4, or walk.gif where ganzoo[video] is not installed]",
)
@click.option(
    "--fps", type=click.IntRange(1, 100), default=30, show_default=True, help="Frames a second; a GIF shows 50 at most."
)
@click.option("--class", "chosen", metavar="K", help="Class name or index; without it each seed draws its own.")
@click.option(
    "--space",
    type=click.Choice(["w", "z"]),
    help="Straight lines in w, or a sphere in z.  [default: w for style generators, z for others]",
)
@click.option("--trunc", type=float, metavar="PSI", help="Style generators: how far w is from its mean; 1 = as it is.")
@click.option("--trunc-cutoff", type=int, metavar="K", help="Truncate the first K layers only.")
@click.option("--loop", is_flag=True, help="Go back to the first stop, so that the video can be repeated.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
def walk(
    snapshot: Path,
    seeds: str,
    frames: int,
    out: Path | None,
    fps: int,
    chosen: str | None,
    space: str | None,
    trunc: float | None,
    trunc_cutoff: int | None,
    loop: bool,
    device: str,
) -> None:
    """Make a video from SNAPSHOT, a snapshot file or a run folder (then its newest snapshot).

    It goes through the images of the seeds: in straight lines through w where the generator has one, as StyleGAN, else
    on the sphere that latents lie on. Frames smaller than 256 pixels are enlarged; transparent ones are shown over the
    recipe's data.background.
    """
    from rich.console import Console
    from rich.progress import track

    from ganzoo import generation
    from ganzoo.cli.sample import check_truncation
    from ganzoo.generation.video import can_write_mp4, check_video_path

    check_truncation(trunc, trunc_cutoff)
    numbers = generation.parse_seeds(seeds)
    out = out or Path("walk.mp4" if can_write_mp4() else "walk.gif")
    check_video_path(out)
    generator = generation.load_generator(snapshot, device=device)
    generator.check_latents()
    if space == "w" or (space is None and generator.is_style):
        w = generation.walk_w(generator, numbers, frames=frames, loop=loop, chosen=chosen)
        total = len(w)
        drawn = generation.sample_w(generator, w, trunc=1.0 if trunc is None else trunc, trunc_cutoff=trunc_cutoff)
    else:
        z, c = generation.walk(generator, numbers, frames=frames, loop=loop, chosen=chosen)
        total = len(z)
        drawn = generation.sample(generator, z, c, trunc=trunc, trunc_cutoff=trunc_cutoff)

    console = Console(stderr=True)
    images = track(
        drawn,
        "frames",
        total=total,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    generation.write_video(out, images, fps=fps, background=generator.recipe.data.background)
    echo(f"snapshot: {generator.path} (kimg {generator.nimg / 1000:g})")
    echo(f"video:    {out} ({total} frames, {total / fps:.1f} s)")
