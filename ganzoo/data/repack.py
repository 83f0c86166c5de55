"""``ganzoo data pack``: images at one size, as a pack or as a zip for NVIDIA's tools."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from ganzoo.data.archive import write_zip
from ganzoo.data.cache import check_space, format_bytes
from ganzoo.data.fit import Fit
from ganzoo.data.opening import channels_of, open_dataset
from ganzoo.data.pack import write_pack
from ganzoo.data.packing import fit_images
from ganzoo.data.subset import at_most, of_classes
from ganzoo.errors import DataError


def pack_images(
    src: str,
    dest: Path,
    *,
    resolution: int,
    fit: Literal["crop", "resize", "pad"] = "crop",
    filter: Literal["lanczos", "box"] = "lanczos",
    channels: int | None = None,
    background: str = "white",
    classes: Sequence[str | int] | None = None,
    max_images: int | None = None,
    skip_bad: int = 0,
    log: Callable[[str], None] = print,
    progress: bool = False,
) -> None:
    """Fit the images at ``src`` and write them to ``dest``: a zip if it ends in .zip, else a pack folder.

    The arguments mean what they do in a recipe's ``data``. Raises DataError for bad data, if ``dest`` exists, or if
    the disk is too small; ``dest`` appears whole or not at all.
    """
    dataset = at_most(of_classes(open_dataset(src, log), classes), max_images)
    if os.path.lexists(dest):
        raise DataError(f"{dest}: exists already; remove it or choose another name")
    how = Fit(resolution, channels or channels_of(dataset, log), fit, filter, background)
    check_space(
        dest.parent, len(dataset) * how.bytes_per_image, way_out="Choose another disk, or a smaller --resolution."
    )
    started = time.monotonic()
    chunks = fit_images(dataset, how, skip_bad=skip_bad, log=log, progress=progress)
    if dest.suffix.lower() == ".zip":
        count = write_zip(dest, chunks, labels=dataset.labels, class_names=dataset.class_names)
        size = dest.stat().st_size
    else:
        fingerprint = how.fingerprint(dataset.fingerprint)
        count = write_pack(
            dest, chunks, fit=how, labels=dataset.labels, class_names=dataset.class_names, fingerprint=fingerprint
        )
        size = sum(file.stat().st_size for file in dest.iterdir())
    kind = {1: "grey", 3: "RGB", 4: "RGBA"}[how.channels]
    log(
        f"{dest}: {count:,} images, {resolution} x {resolution} {kind}, {format_bytes(size)}, "
        f"in {time.monotonic() - started:.1f} s. Train on it with: ganzoo run RECIPE --data {dest}"
    )
