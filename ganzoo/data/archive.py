"""Writing zips and folders that NVIDIA's StyleGAN code reads too."""

from __future__ import annotations

import io
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ganzoo.data.images import to_pillow
from ganzoo.data.labels import to_dataset_json
from ganzoo.data.pack import atomic_folder
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
    with atomic(dest, error=DataError) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        return _write(archive.writestr, chunks, labels, class_names)


def write_folder(
    dest: Path,
    chunks: Iterator[FittedChunk],
    *,
    labels: np.ndarray | None,
    class_names: Sequence[str] | None,
    replace: bool = False,
) -> int:
    """The files of ``write_zip`` as a folder. replace: delete what is at ``dest`` once the new folder is complete."""

    def write(name: str, content: bytes | memoryview | str) -> None:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    with atomic_folder(dest) as folder:
        count = _write(write, chunks, labels, class_names)
        if replace and os.path.lexists(dest):
            shutil.rmtree(dest)
    return count


def is_image_folder(path: Path) -> bool:
    """Whether ``path`` is a folder as ``write_folder`` makes it, and holds nothing else; or is empty."""
    if not path.is_dir() or path.is_symlink():
        return False
    names = {child.name for child in path.iterdir()}
    folders = names - {DATASET_JSON}
    return not names or (DATASET_JSON in names and all(re.fullmatch(r"\d{5,}", name) for name in folders))


def _write(
    write: Callable[[str, bytes | memoryview | str], None],
    chunks: Iterator[FittedChunk],
    labels: np.ndarray | None,
    class_names: Sequence[str] | None,
) -> int:
    """Hand every file's name and content to ``write``; returns the number of images."""
    kept: list[int] = []
    names: list[str] = []
    for chunk in chunks:
        for index, image in zip(chunk.indices, chunk.images, strict=True):
            name = f"{len(names):08d}"
            name = f"{name[:5]}/img{name}.png"
            buffer = io.BytesIO()
            to_pillow(image).save(buffer, format="png", compress_level=0)
            write(name, buffer.getbuffer())
            names.append(name)
            kept.append(index)
    write(DATASET_JSON, to_dataset_json(names, None if labels is None else labels[kept], class_names))
    return len(names)
