"""Image files in a folder."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ganzoo.data.ahead import available_cpus, map_ahead
from ganzoo.data.cache import cache_root
from ganzoo.data.sources.files import DATASET_JSON, ImageFiles, read_file
from ganzoo.errors import DataError, GanzooError
from ganzoo.files import write_text

_WORTH_A_NOTE = 2**28  # bytes; fewer are read again in no time


class FolderDataset(ImageFiles):
    """Every image below a folder, at any depth. Class folders or a ``dataset.json`` give the labels."""

    def __init__(self, *, path: Annotated[str, Field(description="the folder")]) -> None:
        """Raises DataError if it is missing, empty, or labelled inconsistently."""
        root = Path(path)
        if not root.is_dir():
            raise DataError(f"{root}: no such folder")
        labels = root / DATASET_JSON
        super().__init__(root, _walk(root), read_file(labels) if labels.is_file() else None)

    def _below(self, folder: str) -> FolderDataset:
        return FolderDataset(path=str(self.path / folder))

    def read(self, index: int) -> bytes:
        return read_file(self.path / self.names[index])

    def checksums(self) -> Iterable[tuple[int, int]]:
        """Reads every file once; later, the note of that is good as long as no size or time of change differs."""
        stats = [self._stat(name) for name in self.names]
        listing = "\n".join(f"{n}\0{s.st_size}\0{s.st_mtime_ns}" for n, s in zip(self.names, stats, strict=True))
        key = hashlib.sha256(f"{self.path.resolve()}\n{listing}".encode(errors="surrogateescape")).hexdigest()[:32]
        note = cache_root() / "checksums" / f"{key}.json"
        with suppress(OSError, ValueError):
            crcs = json.loads(note.read_text(encoding="utf-8"))
            if len(crcs) == len(stats):
                return [(s.st_size, crc) for s, crc in zip(stats, crcs, strict=True)]
        crcs = list(map_ahead(self._crc, range(len(self)), workers=available_cpus()))
        if sum(s.st_size for s in stats) >= _WORTH_A_NOTE:
            with suppress(GanzooError):  # a note only saves time
                write_text(note, json.dumps(crcs))
        return [(s.st_size, crc) for s, crc in zip(stats, crcs, strict=True)]

    def _crc(self, index: int) -> int:
        try:
            return zlib.crc32(self.read(index))
        except DataError:
            return 0

    def _stat(self, name: str) -> os.stat_result:
        try:
            return os.stat(self.path / name)
        except OSError:  # a dangling link is a bad file like any other: packing names it, or skips it if allowed
            return os.lstat(self.path / name)


def _walk(root: Path) -> Iterator[str]:
    """Paths of all files below ``root``, with ``/``; links are followed, but no folder is entered twice."""

    def refuse(problem: OSError) -> None:
        raise DataError(
            f"{problem.filename}: cannot be read: {problem.strerror}. Make it readable, or take it away."
        ) from problem

    seen = set()
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=refuse):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        for file in files:
            yield (Path(folder) / file).relative_to(root).as_posix()
