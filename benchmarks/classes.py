"""Asked for class k, does a conditional GAN make class k? Judged by a classifier, on the built-in faces.

    python benchmarks/classes.py --run runs/00000-classic_faces_cpu-faces
    python benchmarks/classes.py --recipe recipes/classic_faces_cpu.yaml --out runs --picture classes.png

The snapshot is of a GAN trained on the dataset ``faces`` with its labels, which are hair styles. A small network learns
to read them from drawn faces, in a minute on one core, and is tested on others. Then it reads generated ones. Prints
Markdown; the exit code is 1 if fewer than --least of the generated faces have the hair style that was asked for, or if
the classifier itself is not at least as sure of drawn ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from style_statistics import Reader, draw_faces, measure
from style_statistics import train as train_reader
from torch import Tensor

import ganzoo
from ganzoo.data.images import float_to_uint8, uint8_to_float
from ganzoo.errors import GanzooError
from ganzoo.generation import LoadedGenerator, latents_of_every_class
from ganzoo.generation.pictures import save_grid

ATTRIBUTE = "hair_style"
_BATCH = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--run", type=Path, help="a snapshot, or a run folder for its newest one")
    what.add_argument("--recipe", type=Path, help="train this first")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="where --recipe makes its run folder")
    parser.add_argument("--num", type=int, default=500, help="generated faces a class")
    parser.add_argument("--faces", type=int, default=10_000, help="drawn faces to learn to read from")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--least", type=float, default=0.9, help="share that must be of the class asked for")
    parser.add_argument("--picture", type=Path, help="where to draw a grid with a row a class")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    try:
        run = args.run
        if run is None:
            result = ganzoo.train(args.recipe, outdir=args.out)
            if result.signal is not None:
                sys.exit(f"interrupted; `ganzoo run --resume {result.run_dir}` goes on")
            run = result.run_dir
        generator = ganzoo.load_generator(run)
        check(generator)
        if args.picture is not None:
            draw(generator, args.picture)
    except GanzooError as error:
        sys.exit(f"error: {error}")

    torch.manual_seed(args.seed)
    resolution, mirror = generator.growth.resolution, generator.recipe.data.mirror
    reader = Reader(resolution)
    images, targets = draw_faces(resolution, args.faces, seed=args.seed + 1, mirror=mirror)
    train_reader(reader, images, {ATTRIBUTE: targets[ATTRIBUTE]}, epochs=args.epochs)
    held_out, targets = draw_faces(resolution, 2000, seed=args.seed + 2, mirror=mirror)
    skill = measure(reader, held_out, {ATTRIBUTE: targets[ATTRIBUTE]})[ATTRIBUTE]

    asked = torch.arange(generator.c_dim).repeat_interleave(args.num)
    read = read_classes(generator, reader, asked, seed=args.seed)
    names = generator.class_names or [str(k) for k in range(generator.c_dim)]
    counts = confusion(asked, read, len(names))
    right = float((asked == read).float().mean())
    print(f"{generator.recipe.name}, {generator.nimg / 1000:g} kimg, torch {torch.__version__}\n")
    print(f"Of 2,000 held-out drawn faces, the classifier reads {skill:.1%} right.\n")
    print(table(counts, names))
    print(f"\nOver all: {right:.1%} of {len(asked):,} generated faces.")
    if right < args.least or skill < args.least:
        sys.exit(f"less than {args.least:.0%}")


def check(generator: LoadedGenerator) -> None:
    """Raise GanzooError if what is asked for is not known, or cannot be."""
    source = generator.recipe.data.source
    if source is None or source.name != "faces" or generator.img_channels != 3:
        raise GanzooError(
            f"{generator.path}: was not trained on the built-in faces in RGB, the only ones known in detail"
        )
    if generator.c_dim == 0:
        raise GanzooError(f"{generator.path}: was trained without labels; set data.labels to true")


@torch.no_grad()
def read_classes(generator: LoadedGenerator, reader: Reader, asked: Tensor, *, seed: int) -> Tensor:
    """Classes int64 [N] that the reader sees in faces generated for the classes ``asked``, int64 [N].

    Faces are rounded to 8 bits first, as files are.
    """
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(len(asked), generator.z_dim, generator=random)
    c = torch.eye(generator.c_dim)[asked]
    found = []
    for some_z, some_c in zip(z.split(_BATCH), c.split(_BATCH), strict=True):
        images = uint8_to_float(float_to_uint8(generator(some_z, some_c).float()))
        found.append(reader(images)[ATTRIBUTE].argmax(1))
    return torch.cat(found)


def confusion(asked: Tensor, read: Tensor, classes: int) -> Tensor:
    """int64 [classes, classes]: how often class ``row`` was asked for and class ``column`` read."""
    return torch.bincount(asked * classes + read, minlength=classes**2).reshape(classes, classes)


def table(counts: Tensor, names: Sequence[str]) -> str:
    """Markdown, a class a row: the share that was read as it, and what it was taken for most often if not."""
    rows = ["| asked for | faces | read as that | taken most often for |", "|---|---|---|---|"]
    for k, name in enumerate(names):
        others = counts[k].clone()
        others[k] = 0
        n, other = int(counts[k].sum()), int(others.argmax())
        taken = f"{names[other]} ({int(others[other]) / n:.1%})" if others[other] else ""
        rows.append(f"| {name} | {n:,} | {int(counts[k, k]) / n:.1%} | {taken} |")
    return "\n".join(rows)


def draw(generator: LoadedGenerator, path: Path, cols: int = 10) -> None:
    """A grid with a row a class, the same latents in each."""
    z, c = latents_of_every_class(generator, range(cols))
    images = float_to_uint8(torch.cat([generator(a, b) for a, b in zip(z.split(10), c.split(10), strict=True)]))
    save_grid(path, list(images.cpu().numpy()), generator.c_dim, cols)


if __name__ == "__main__":
    main()
