"""What folders and zips of image files have in common."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from ganzoo.data.decode import decode
from ganzoo.data.labels import from_class_folders, from_dataset_json
from ganzoo.errors import DataError, one_line
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
# Pictures, too, but nothing here decodes them; a set of 500 photographs must not silently become one of 20.
UNREADABLE = frozenset(
    {
        *(".heic", ".heif", ".hif", ".jxl", ".jp2", ".j2k", ".jpx", ".svg", ".eps", ".psd", ".xcf", ".exr", ".hdr"),
        *(".dds", ".ico", ".pcx"),
        *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".raw", ".srw", ".pef"),
    }
)
LARGEST_FILE = 2**30  # bytes; a sparse file and a few kilobytes of zip can claim any number
DATASET_JSON = "dataset.json"


class ImageFiles(Dataset):
    """Encoded images, named by their paths below a root with ``/`` between folders, in sorted order."""

    def __init__(self, path: Path, files: Iterable[str], dataset_json: bytes | None) -> None:
        """files: all that there are, of which images are taken; ``passed_over`` counts pictures that cannot be read.

        Raises DataError if there are no images, or ``dataset_json`` does not fit them.
        """
        files = sorted(files)
        names = [name for name in files if is_image_name(name)]
        self.passed_over = Counter(suffix for name in files if (suffix := _suffix(name)) in UNREADABLE)
        if not names:
            note = f" {self.passed_over_note()}" if self.passed_over else ""
            raise DataError(f"{path}: no images. Looked for {' '.join(sorted(SUFFIXES))} at any depth.{note}")
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
        return one_line(f"{self.path}/{self.names[index]}")

    def passed_over_note(self) -> str | None:
        """What to say about pictures of kinds that cannot be read; None if there are none."""
        if not self.passed_over:
            return None
        kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(self.passed_over.items()))
        return f"Passed over pictures that cannot be read here: {kinds}. Convert them to PNG or JPEG to use them."

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
        folders = sorted({one_line("/".join(p[depth:])) for p in parts} - {""})
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


def read_file(path: Path) -> bytes:
    """Raises DataError, naming the file, for what cannot be read, is neither a file nor a
    link to one, or is larger than a picture can be."""
    name = one_line(str(path))
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{name}: cannot be read: neither a file nor a link to one. Remove it.")
        if (size := path.stat().st_size) > LARGEST_FILE:
            raise DataError(f"{name}: refused: {size:,} bytes are more than such a file can need. Remove it.")
        return path.read_bytes()
    except OSError as problem:
        raise DataError(f"{name}: cannot be read: {problem.strerror}. Repair or remove it.") from problem


def is_image_name(name: str) -> bool:
    """Whether a path (with ``/``) is an image to train on; hidden files and macOS's resource forks are not."""
    return _suffix(name) in SUFFIXES


def _suffix(name: str) -> str:
    """'.png' of a path (with ``/``), in small letters; '' for hidden files and macOS's resource forks."""
    parts = name.split("/")
    hidden = any(part.startswith(".") and part != ".." for part in parts) or parts[0] == "__MACOSX"
    return "" if hidden else PurePosixPath(parts[-1]).suffix.lower()
