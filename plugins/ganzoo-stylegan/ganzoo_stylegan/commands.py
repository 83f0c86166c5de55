"""``ganzoo mix``, ``project``, ``directions`` and ``edit``: what can be done with the w of a style generator.

torch and numpy are imported when a command runs: ``ganzoo --help`` imports this module.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ganzoo.console import echo
from ganzoo.errors import GanzooError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ganzoo.generation import LoadedGenerator

T = TypeVar("T")
Command = Callable[..., Any]

_FRAMES = 120  # of the video of a projection: four seconds

_snapshot = click.argument("snapshot", type=click.Path(path_type=Path))
_device = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
_class = click.option("--class", "chosen", metavar="K", help="Class name or index; without it each seed draws its own.")
_strength = click.option(
    "--strength", default="-3..3", show_default=True, metavar="FROM..TO", help="How far along: -3..3, or one number."
)
_cols = click.option("--cols", type=click.IntRange(1, 100), default=7, show_default=True, help="Strengths to show.")


def _truncation(command: Command) -> Command:
    command = click.option("--trunc-cutoff", type=int, metavar="K", help="Truncate the first K layers only.")(command)
    return click.option(
        "--trunc", type=float, metavar="PSI", help="How far w is from its mean; 1 = as it is, 0.7 is usual."
    )(command)


@click.command()
@_snapshot
@click.option("--rows", required=True, help="Seeds of the images to start from, as 85,100-103.")
@click.option("--cols", required=True, help="Seeds of the images whose styles are taken.")
@click.option("--styles", required=True, help="Layers to take from the column's image: 0-3 are coarse.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("mix.png"), show_default=True, help="A .png or a .jpg."
)
@_truncation
@_class
@_device
def mix(
    snapshot: Path,
    rows: str,
    cols: str,
    styles: str,
    out: Path,
    trunc: float | None,
    trunc_cutoff: int | None,
    chosen: str | None,
    device: str,
) -> None:
    """Mix the styles of images: a picture with the sources on its edges.

    Each row starts from the image on its left. In the layers of --styles it takes the styles of the image above, in all
    others it keeps its own. SNAPSHOT is a snapshot file or a run folder.
    """
    from ganzoo import generation

    from .mixing import mixing_table, parse_layers, ws_of_seeds

    row_seeds, col_seeds = generation.parse_seeds(rows), generation.parse_seeds(cols)
    generator = _load(snapshot, device, "no styles to mix")
    layers = parse_layers(styles, generator)
    psi = _check_truncation(generator, trunc, trunc_cutoff)
    shape = len(row_seeds) + 1, len(col_seeds) + 1
    generation.check_grid(out, *shape, generator.growth.resolution)
    sources = [
        ws_of_seeds(generator, seeds, chosen=chosen, trunc=psi, trunc_cutoff=trunc_cutoff)
        for seeds in (row_seeds, col_seeds)
    ]
    cells = mixing_table(*sources, layers)
    images = [None if ws is None else _draw(generator, ws) for ws in _track(cells, "images", shape[0] * shape[1])]
    generation.save_grid(out, images, *shape, background=generator.recipe.data.background)
    _say_snapshot(generator)
    echo(f"mixes:    {out} ({len(row_seeds)} x {len(col_seeds)}, layers {styles} of {generator.num_ws})")


@click.command()
@_snapshot
@click.option("--target", type=click.Path(path_type=Path), required=True, help="The picture to come near to.")
@click.option("--steps", type=click.IntRange(min=1), default=1000, show_default=True, help="Of the optimisation.")
@click.option(
    "--space",
    type=click.Choice(["w", "w+"]),
    default="w",
    show_default=True,
    help="One w for all layers, or one for each: nearer to the picture, further from what the network knows.",
)
@click.option(
    "--outdir", type=click.Path(path_type=Path), default=Path("projection"), show_default=True, help="Where files go."
)
@click.option(
    "--vgg16",
    type=click.Path(path_type=Path),
    help="torchvision's vgg16-397923af.pth: compare features, not pixels and a Laplacian pyramid.",
)
@click.option("--fit", is_flag=True, help="Bring the picture to size and colours as the recipe does its data.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of the noise on w.")
@click.option("--class", "chosen", metavar="K", help="Class name or index to start from.")
@_device
def project(
    snapshot: Path,
    target: Path,
    steps: int,
    space: Any,
    outdir: Path,
    vgg16: Path | None,
    fit: bool,
    seed: int,
    chosen: str | None,
    device: str,
) -> None:
    """Find the w whose image is nearest to a picture.

    Writes target.png, projection.png, w.safetensors (for `ganzoo edit --w`) and way.mp4, or way.gif where ganzoo[video]
    is not installed, into --outdir. SNAPSHOT is a snapshot file or a run folder.
    """
    import numpy as np
    import torch

    from ganzoo.data.images import save_image, uint8_to_float
    from ganzoo.generation import opaque, write_video
    from ganzoo.generation.video import can_write_mp4

    from .projection import Projector, load_target, pyramid_distance, vgg_distance

    for name in ("target.png", "projection.png"):
        if target.is_file() and (outdir / name).exists() and (outdir / name).samefile(target):
            raise GanzooError(f"{target}: would be overwritten by the result; choose another --outdir")
    generator = _load(snapshot, device, "no w to project into")
    background = generator.recipe.data.background
    picture = load_target(target, generator, fit=fit)
    wanted = uint8_to_float(torch.from_numpy(picture.copy()).to(generator.device)[None])
    distance = pyramid_distance(wanted) if vgg16 is None else vgg_distance(wanted, vgg16, background)
    projector = Projector(generator, distance, steps=steps, space=space, chosen=chosen, seed=seed)
    frames: list[np.ndarray] = []
    with torch.no_grad():
        before = float(distance(projector.image(projector.ws)))
    if not math.isfinite(before):
        weights = "" if vgg16 is None else f", or {vgg16},"
        raise GanzooError(f"{generator.path}{weights} is broken: its image has the distance {before} to the target")
    save_image(outdir / "target.png", picture)

    for i in _track(range(steps), "steps", steps):
        if i % max(1, steps // _FRAMES) == 0:
            frames.append(projector.picture())
        projector.step()
    found = projector.picture()
    with torch.no_grad():
        after = float(distance(projector.image(projector.ws)))

    save_image(outdir / "projection.png", found)
    projector.save(outdir / "w.safetensors")
    video = outdir / ("way.mp4" if can_write_mp4() else "way.gif")
    beside = (np.concatenate([opaque(x, background) for x in (frame, picture)], axis=2) for frame in [*frames, found])
    write_video(video, beside, fps=30)
    _say_snapshot(generator)
    how = "pixels and pyramid" if vgg16 is None else "VGG16"
    echo(f"distance: {before:.4g} -> {after:.4g} ({how}, {steps} steps in {space})")
    echo(f"noise:    {len(projector.noise)} maps optimised")
    echo(f"files:    {outdir}: target.png, projection.png, w.safetensors, {video.name}")


@click.command()
@_snapshot
@click.option("--num", type=click.IntRange(min=1), help="How many, the strongest first.  [default: 10]")
@click.option("--layers", metavar="LAYERS", help="Whose styles they change, as 0-5.  [default: all]")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("directions"), show_default=True, help="Where files go."
)
@click.option("--seeds", default="0-3", show_default=True, help="Images to show them on.")
@_strength
@_cols
@_truncation
@_class
@_device
def directions(
    snapshot: Path,
    num: int | None,
    layers: str | None,
    out: Path,
    seeds: str,
    strength: str,
    cols: int,
    trunc: float | None,
    trunc_cutoff: int | None,
    chosen: str | None,
    device: str,
) -> None:
    """Find the directions in w that change images most.

    They come from the weights of the style layers alone (closed-form factorisation, Shen & Zhou 2021). Each becomes
    direction_00.safetensors, for `ganzoo edit --direction`, and direction_00.png: a row for each seed, a column for
    each strength, counted in standard deviations of w. SNAPSHOT is a snapshot file or a run folder.
    """
    from ganzoo import generation

    from .directions import find_directions, save_direction
    from .mixing import parse_layers, ws_of_seeds

    numbers = generation.parse_seeds(seeds)
    strengths = _parse_strength(strength, cols)
    generator = _load(snapshot, device, "no styles to factorise")
    chosen_layers = parse_layers(layers if layers is not None else f"0-{generator.num_ws - 1}", generator)
    psi = _check_truncation(generator, trunc, trunc_cutoff)
    generation.check_grid(out / "direction.png", len(numbers), len(strengths), generator.growth.resolution)
    ws = ws_of_seeds(generator, numbers, chosen=chosen, trunc=psi, trunc_cutoff=trunc_cutoff)
    found = find_directions(generator, chosen_layers, num)

    made = []
    for i, direction in enumerate(_track(found, "directions", len(found))):
        images = [_draw(generator, direction.apply(row, x)) for row in ws.split(1) for x in strengths]
        save_direction(out / f"direction_{i:02d}.safetensors", direction)
        path = out / f"direction_{i:02d}.png"
        generation.save_grid(path, images, len(ws), len(strengths), background=generator.recipe.data.background)
        made.append(f"{path.with_suffix('.*')}  eigenvalue {direction.eigenvalue:.4g}")
    _say_snapshot(generator)
    echo("\n".join(made))


@click.command()
@_snapshot
@click.option(
    "--direction", type=click.Path(path_type=Path), required=True, help="A file of `ganzoo directions`, or one's own."
)
@click.option("--seeds", help="Images to edit, as 0-7.  [default: 0-7]")
@click.option("--w", "w_file", type=click.Path(path_type=Path), help="Edit this w of `ganzoo project` instead.")
@click.option("--layers", metavar="LAYERS", help="Where to move w, as 0-5.  [default: what the file says, or all]")
@_strength
@_cols
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("edit.png"), show_default=True, help="A .png or a .jpg."
)
@_truncation
@_class
@_device
def edit(
    snapshot: Path,
    direction: Path,
    seeds: str | None,
    w_file: Path | None,
    layers: str | None,
    strength: str,
    cols: int,
    out: Path,
    trunc: float | None,
    trunc_cutoff: int | None,
    chosen: str | None,
    device: str,
) -> None:
    """Move images along a direction in w.

    A picture with a row for each image and a column for each strength: 0 is the image itself. SNAPSHOT is a snapshot
    file or a run folder. A direction is a safetensors file with a tensor `direction`, [w_dim] or [layers, w_dim].
    """
    from ganzoo import generation

    from .directions import load_direction
    from .mixing import parse_layers, ws_of_seeds
    from .projection import load_w

    if w_file is not None and (seeds, trunc, chosen) != (None, None, None):
        raise click.UsageError("--w is the image to edit: leave out --seeds, --trunc and --class")
    numbers = generation.parse_seeds("0-7" if seeds is None else seeds)
    strengths = _parse_strength(strength, cols)
    generator = _load(snapshot, device, "no w to edit")
    chosen_layers = None if layers is None else parse_layers(layers, generator)
    step = load_direction(direction, generator, layers=chosen_layers)
    psi = _check_truncation(generator, trunc, trunc_cutoff)
    rows = 1 if w_file is not None else len(numbers)
    generation.check_grid(out, rows, len(strengths), generator.growth.resolution)
    if w_file is not None:
        ws, generator = load_w(w_file, generator)
    else:
        ws = ws_of_seeds(generator, numbers, chosen=chosen, trunc=psi, trunc_cutoff=trunc_cutoff)
    cells = (step.apply(row, x) for row in ws.split(1) for x in strengths)
    images = [_draw(generator, moved) for moved in _track(cells, "images", rows * len(strengths))]
    generation.save_grid(out, images, rows, len(strengths), background=generator.recipe.data.background)
    _say_snapshot(generator)
    echo(f"edits:    {out} ({rows} rows, strengths {', '.join(f'{x:g}' for x in strengths)})")


def _load(snapshot: Path, device: str, missing: str) -> LoadedGenerator:
    from ganzoo.generation import load_generator

    generator = load_generator(snapshot, device=device)
    generator.style(missing)
    return generator


def _check_truncation(generator: LoadedGenerator, trunc: float | None, cutoff: int | None) -> float:
    if cutoff is not None and trunc is None:
        raise click.UsageError("--trunc-cutoff says where truncation ends: give --trunc PSI as well, 0.7 is usual")
    psi = 1.0 if trunc is None else trunc
    generator.check_truncation(psi, cutoff)
    return psi


def _draw(generator: LoadedGenerator, ws: Tensor) -> np.ndarray:
    """uint8 [C, R, R] of ws [1, all layers, w_dim]."""
    from ganzoo.generation import sample_w

    return next(sample_w(generator, ws))


def _parse_strength(text: str, cols: int) -> list[float]:
    """'-3..3' -> ``cols`` numbers, evenly spaced; '2' -> that one. Raises GanzooError for anything else."""
    number = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
    match = re.fullmatch(rf"\s*({number})\s*(?:\.\.\s*({number})\s*)?", text, re.IGNORECASE)
    ends = [float(x) for x in match.groups() if x] if match and match[1] else []
    if not ends or not all(abs(x) < 1e6 for x in ends):
        raise GanzooError(f"strength {text!r}: write a range such as -3..3, or one number")
    if len(ends) == 1 or ends[0] == ends[1]:
        return ends[:1]
    if cols == 1:
        raise GanzooError(f"strength {text!r}: a range takes two columns or more; give --cols 2, or one number")
    first, last = ends
    return [first + (last - first) * i / (cols - 1) for i in range(cols)]


def _say_snapshot(generator: LoadedGenerator) -> None:
    echo(f"snapshot: {generator.path} (kimg {generator.nimg / 1000:g})")
    if generator.growth.resolution < generator.img_resolution:
        echo(f"note:     taken while growing, at {generator.growth.resolution} px of {generator.img_resolution}")


def _track(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """A bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(items, what, total=total, console=console, transient=True, disable=not console.is_terminal)
