"""The pack: a folder with every image already brought to size, to be memory-mapped.

pack.json            format, counts, how images were fitted, class names, fingerprint
images-0032.u8       raw uint8 [N, C, 32, 32]; one file a level, down to images-0001.u8
labels.npy           int64 [N] or float32 [N, c_dim], if there are labels
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from ganzoo.data.fit import Fit
from ganzoo.data.labels import MOST_CLASSES
from ganzoo.data.packing import FittedChunk
from ganzoo.errors import DataError

FORMAT = "ganzoo-pack/1"
INFO_FILE = "pack.json"
LABELS_FILE = "labels.npy"


class _Info(BaseModel):
    """The content of ``pack.json``, checked: the folder may come from anywhere."""

    num_images: int = Field(ge=1, lt=2**40)
    fit: dict[str, Any]
    fingerprint: str = Field(pattern=r"^[\w-]{1,64}$")
    labels: bool
    class_names: list[str] | None = Field(max_length=MOST_CLASSES)
    skipped: list[str]


class Pack:
    """An open pack. levels: resolution -> memory-mapped uint8 [N, C, R, R]; RGBA is premultiplied by alpha."""

    def __init__(self, path: Path) -> None:
        """Raises DataError if ``path`` is not a pack, is of a later format, or is damaged."""
        self.path = path
        try:
            content = json.loads((path / INFO_FILE).read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise ValueError(f"of format {content['format']}; this ganzoo reads {FORMAT}")
            info = _Info.model_validate(content)
            self.num_images, self.fit, self.fingerprint = info.num_images, Fit(**info.fit), info.fingerprint
            self.class_names, self.skipped = info.class_names, info.skipped
            # Mapped first: a header may claim more than there is, and room would be made for it.
            self.labels = np.array(np.load(path / LABELS_FILE, mmap_mode="r")) if info.labels else None
            self.levels = {r: _map(path, (self.num_images, self.fit.channels, r, r)) for r in self.fit.levels}
            if self.labels is not None:
                _check_labels(self.labels, self.num_images)
        except (OSError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as problem:
            raise DataError(f"{path}: a damaged pack ({problem}). Delete it and pack anew.") from problem

    def check(self, resolution: int) -> None:
        """Raise DataError if a level's file was cut since it was opened: reading on would end the program (SIGBUS)."""
        file, expected = self.path / _level_name(resolution), self.levels[resolution].size
        with suppress(FileNotFoundError):  # what was removed can be read while it is open
            if file.stat().st_size < expected:
                raise DataError(
                    f"{file}: has become smaller than {expected:,} bytes while it was read. Whatever writes there must "
                    "stop; a pack that ganzoo made for itself is made anew when the run goes on (--resume)."
                )


def _check_labels(labels: np.ndarray, num_images: int) -> None:
    if len(labels) != num_images:
        raise ValueError(f"{len(labels)} labels for {num_images} images")
    if (labels.dtype, labels.ndim) not in ((np.dtype(np.int64), 1), (np.dtype(np.float32), 2)):
        raise ValueError(f"labels are {labels.dtype} {list(labels.shape)}")
    if labels.ndim == 1 and labels.min() < 0:
        raise ValueError(f"label {labels.min()} is negative")
    if labels.ndim == 1 and labels.max() >= MOST_CLASSES:
        raise ValueError(f"label {labels.max()} is too large; {MOST_CLASSES:,} classes at most")
    if labels.ndim == 2 and not (1 <= labels.shape[1] <= MOST_CLASSES and np.isfinite(labels).all()):
        raise ValueError(f"label vectors {list(labels.shape)} are too long, or not finite")


def is_pack(path: Path) -> bool:
    """Whether ``path`` looks like a pack folder."""
    return (path / INFO_FILE).is_file()


def write_pack(
    dest: Path,
    chunks: Iterator[FittedChunk],
    *,
    fit: Fit,
    labels: np.ndarray | None,
    class_names: Sequence[str] | None,
    fingerprint: str,
) -> int:
    """Write a pack to ``dest``, which must not exist; it appears whole or not at all. Returns the number of images.

    labels: of every image of the source; those of skipped images are left out. Raises DataError if writing fails.
    """
    kept: list[int] = []
    skipped: list[str] = []
    with atomic_folder(dest) as folder:
        with ExitStack() as stack:
            files = {r: stack.enter_context((folder / _level_name(r)).open("wb")) for r in fit.levels}
            for chunk in chunks:
                kept += chunk.indices
                skipped += chunk.skipped
                for resolution, images in chunk.levels().items():
                    files[resolution].write(images.data)
        if labels is not None:
            np.save(folder / LABELS_FILE, labels[kept], allow_pickle=False)
        info = {
            "format": FORMAT,
            "num_images": len(kept),
            "fit": asdict(fit),
            "labels": labels is not None,
            "class_names": None if class_names is None else list(class_names),
            "fingerprint": fingerprint,
            "skipped": skipped,
        }
        (folder / INFO_FILE).write_text(json.dumps(info, indent=1), encoding="utf-8")
    return len(kept)


def remove_leftovers(dest: Path) -> None:
    """Delete what processes that were killed while writing ``dest`` left. Only for who holds its lock."""
    for folder in dest.parent.glob(f".{dest.name}.*.tmp"):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def atomic_folder(dest: Path) -> Iterator[Path]:
    """Fill the folder this yields; it is then renamed to ``dest``, whole or not at all. Raises DataError."""
    temporary = dest.with_name(f".{dest.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.rename(dest)
    except OSError as problem:
        raise DataError(
            f"{dest}: cannot be written: {problem.strerror or problem}. Free some space or choose another place."
        ) from problem
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _level_name(resolution: int) -> str:
    return f"images-{resolution:04d}.u8"


def _map(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    file = path / _level_name(shape[-1])
    expected = math.prod(shape)
    if file.stat().st_size != expected:
        raise ValueError(f"{file.name} has {file.stat().st_size:,} bytes instead of {expected:,}")
    return np.asarray(np.memmap(file, np.uint8, "r", shape=shape))
