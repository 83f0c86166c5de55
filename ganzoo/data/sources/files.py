"""What folders and zips of image files have in common."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ganzoo.data.decode import decode
from ganzoo.data.labels import from_class_folders, from_dataset_json
from ganzoo.errors import DataError
from ganzoo.interfaces import Dataset
from ganzoo.registry import did_you_mean

# What Pillow decodes and people keep pictures in.
SUFFIXES = frozenset(
    {
        ".png",
        ".jpg",
        ".jpeg",
        ".jfif",
        ".webp",
        ".bmp",
        ".tif",
        ".tiff",
        ".gif",
        ".ppm",
        ".pgm",
        ".pbm",
        ".tga",
        ".avif",
    }
)
DATASET_JSON = "dataset.json"


class ImageFiles(Dataset):
    """Encoded images, named by their paths below a root with ``/`` between folders, in sorted order."""

    def __init__(self, path: Path, names: Sequence[str], dataset_json: bytes | None) -> None:
        """Raises DataError if there are no images, or ``dataset_json`` does not fit them."""
        if not names:
            raise DataError(f"{path}: no images. Looked for {' '.join(sorted(SUFFIXES))} at any depth.")
        self.path = path
        self.name = path.resolve().stem
        self.names = names
        if dataset_json is None:
            self.labels, self.class_names = from_class_folders(names)
        else:
            self.labels, self.class_names = from_dataset_json(dataset_json, names, f"{path}/{DATASET_JSON}")
        self._fingerprint: str | None = None

    def __len__(self) -> int:
        return len(self.names)

    def filename(self, index: int) -> str:
        return f"{self.path}/{self.names[index]}"

    def image(self, index: int) -> np.ndarray:
        return decode(self.read(index), self.filename(index))

    def below(self, folder: str) -> ImageFiles:
        """The images in ``folder`` alone, named as seen from there, with the labels that they have there.

        Where all images share a leading folder, as in a zip of one, it need not be written. Raises DataError, with the
        folders that are there, if it has no images.
        """
        parts = [name.split("/")[:-1] for name in self.names]
        first, last = min(parts), max(parts)  # what these two share, all share
        depth = next(
            (i for i, (x, y) in enumerate(zip(first, last, strict=False)) if x != y), min(len(first), len(last))
        )
        shared = "/".join(first[:depth])
        for path in dict.fromkeys((folder, f"{shared}/{folder}".lstrip("/"))):
            if any(name.startswith(f"{path}/") for name in self.names):
                part = self._below(path)
                part.name = self.name
                return part
        folders = sorted({"/".join(p[depth:]) for p in parts} - {""})
        known = ", ".join(folders[:20]) + (", ..." if len(folders) > 20 else "")
        raise DataError(
            f"{self.path}: has no folder {folder!r} with images; there are: {known or 'none'}"
            f"{did_you_mean(folder, folders)}"
        )

    @abstractmethod
    def _below(self, folder: str) -> ImageFiles:
        """The images in ``folder``, which has some."""

    @abstractmethod
    def read(self, index: int) -> bytes:
        """The encoded image. Raises DataError, naming the file, if it cannot be read."""

    @abstractmethod
    def checksums(self) -> Iterable[tuple[int, int]]:
        """(size, CRC-32) of every file, in order."""

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        """Over names, contents and labels: the same for a folder and for a zip of it."""
        if self._fingerprint is None:
            digest = hashlib.sha256()
            for name, (size, crc) in zip(self.names, self.checksums(), strict=True):
                digest.update(f"{name}\0{size}\0{crc}\n".encode(errors="surrogateescape"))
            digest.update(b"" if self.labels is None else self.labels.tobytes())
            digest.update(json.dumps(self.class_names).encode())
            self._fingerprint = digest.hexdigest()[:32]
        return self._fingerprint


def is_image_name(name: str) -> bool:
    """Whether a path (with ``/``) is an image to train on; hidden files and macOS's resource forks are not."""
    parts = name.split("/")
    hidden = any(part.startswith(".") and part != ".." for part in parts) or parts[0] == "__MACOSX"
    return not hidden and Path(parts[-1]).suffix.lower() in SUFFIXES
