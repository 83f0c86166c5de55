"""Writing zips that NVIDIA's StyleGAN code reads too."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ganzoo.data.images import to_pillow
from ganzoo.data.labels import to_dataset_json
from ganzoo.data.packing import FittedChunk
from ganzoo.data.sources.files import DATASET_JSON
from ganzoo.errors import DataError
from ganzoo.files import atomic


def write_zip(
    dest: Path, chunks: Iterator[FittedChunk], *, labels: np.ndarray | None, class_names: Sequence[str] | None
) -> int:
    """Write ``00000/img00000000.png`` ... and ``dataset.json``, all stored, as ``dataset_tool.py`` does.

    RGBA gets straight alpha; NVIDIA's tools take grey and RGB only. Returns the number of images.
    Raises DataError if the file cannot be written; it appears whole or not at all.
    """
    kept: list[int] = []
    names: list[str] = []
    with atomic(dest, error=DataError) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for chunk in chunks:
            for index, image in zip(chunk.indices, chunk.images, strict=True):
                name = f"{len(names):08d}"
                name = f"{name[:5]}/img{name}.png"
                buffer = io.BytesIO()
                to_pillow(image).save(buffer, format="png", compress_level=0)
                archive.writestr(name, buffer.getbuffer())
                names.append(name)
                kept.append(index)
        archive.writestr(DATASET_JSON, to_dataset_json(names, None if labels is None else labels[kept], class_names))
    return len(names)
