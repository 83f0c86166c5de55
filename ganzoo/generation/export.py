"""A data set of generated images, in the layout of NVIDIA's ``dataset_tool.py``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ganzoo.data.archive import is_image_folder, write_folder, write_zip
from ganzoo.data.cache import check_space
from ganzoo.data.labels import to_vectors
from ganzoo.data.packing import FittedChunk
from ganzoo.errors import DataError, GanzooError
from ganzoo.generation.inputs import MAX_SEED, labels_for_seeds, seeds_to_latents
from ganzoo.generation.load import LoadedGenerator
from ganzoo.generation.sample import sample
from ganzoo.interfaces import Noise

_CHUNK = 256  # images whose latents are held at a time


def export_dataset(
    generator: LoadedGenerator,
    out: Path | str,
    *,
    num: int,
    seed: int = 0,
    chosen: str | int | None = None,
    trunc: float | None = None,
    trunc_cutoff: int | None = None,
    noise: Noise | None = None,
    batch_size: int = 32,
    force: bool = False,
    advance: Callable[[int], None] = lambda n: None,
) -> None:
    """Write ``num`` images and their labels to ``out``: a zip if it ends in .zip, else a folder.

    Image i is that of seed ``seed + i``. With classes its label is i modulo their number, so that each has as many
    images as any other to one: a snapshot does not know how frequent its classes were. chosen: a class name or index
    for all instead. Class names go into ``dataset.json``, from where ganzoo reads them. trunc, trunc_cutoff, noise,
    batch_size: as in ``sample``. advance: called with the number of images made since the last call.
    Raises DataError as ``check_export`` does, if the disk is too small, or if writing fails, and GanzooError for a
    class or a truncation that does not exist; ``out`` appears whole or not at all.
    """
    out = Path(out)
    check_export(out, num=num, seed=seed, force=force)
    c_dim, size = generator.c_dim, generator.growth.resolution
    labels = None
    if c_dim or chosen is not None:
        fixed = labels_for_seeds(generator, [seed], chosen)  # refuses a class that does not exist
        assert fixed is not None
        labels = np.arange(num) % c_dim if chosen is None else np.full(num, int(fixed.argmax()))
    if trunc is not None:
        generator.check_truncation(trunc, trunc_cutoff)
    if noise is not None:
        generator.style("no noise to choose")
    check_space(out.parent, num * generator.img_channels * size**2, way_out="Choose another disk, or a smaller --num.")

    def chunks() -> Iterator[FittedChunk]:
        for start in range(0, num, _CHUNK):
            indices = list(range(start, min(start + _CHUNK, num)))
            z = seeds_to_latents([seed + i for i in indices], generator.z_dim)
            c = None if labels is None else to_vectors(labels[indices], c_dim)
            images = sample(generator, z, c, batch_size=batch_size, trunc=trunc, trunc_cutoff=trunc_cutoff, noise=noise)
            for index, image in zip(indices, images, strict=True):
                yield FittedChunk([index], image[None], [], 0)
                advance(1)

    names = generator.class_names if c_dim else None
    if out.suffix.lower() == ".zip":
        write_zip(out, chunks(), labels=labels, class_names=names)
    else:
        write_folder(out, chunks(), labels=labels, class_names=names, replace=force)


def check_export(out: Path, *, num: int, seed: int, force: bool) -> None:
    """Raise GanzooError if ``export_dataset`` could not write there, or has no such seeds: better known early.

    force: a zip may be replaced, and a folder that holds such a data set and nothing else.
    """
    if not 0 <= seed <= seed + num - 1 <= MAX_SEED:
        raise GanzooError(
            f"{num:,} images from seed {seed} on: seeds go from 0 to {MAX_SEED}, and a data set needs one"
        )
    if not os.path.lexists(out):
        return
    if not force:
        raise DataError(f"{out}: exists already; choose another name, or replace it with --force")
    if out.suffix.lower() == ".zip" and out.is_dir():
        raise DataError(f"{out}: is a folder; choose another name for the zip")
    if out.suffix.lower() != ".zip" and not is_image_folder(out):
        raise DataError(
            f"{out}: is not replaced, because it holds more than a data set that was exported; remove it, or choose "
            "another name"
        )
