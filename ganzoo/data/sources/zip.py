"""Image files in a zip, in the layout of NVIDIA's ``dataset_tool.py`` or any other."""

from __future__ import annotations

import copy
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ganzoo.data.sources.files import DATASET_JSON, LARGEST_FILE, ImageFiles
from ganzoo.errors import DataError, one_line

# Bytes, unpacked, from which on more than so many times what they are packed is no picture, and no labels.
_BOMB_BYTES, _BOMB_RATIO = 2**26, 200


class ZipDataset(ImageFiles):
    """Every image in a zip. ``dataset.json`` at its root or class folders give the labels.

    Nothing is ever extracted to a path, so names such as ``../../x.png`` are only names.
    """

    def __init__(self, *, path: Annotated[str, Field(description="the zip")]) -> None:
        """Raises DataError if it is missing, damaged, empty, or labelled inconsistently."""
        try:
            self._zip = zipfile.ZipFile(path)
        except Exception as problem:  # see _read
            raise DataError(f"{path}: cannot be read as a zip: {one_line(str(problem))}") from problem
        members = {member.filename.replace("\\", "/"): member for member in self._zip.infolist()}
        self._list(Path(path), members)

    def _list(self, path: Path, members: dict[str, zipfile.ZipInfo]) -> None:
        """Take ``members``, by their names below ``path``, for what there is."""
        self.path, self._members = path, members
        super().__init__(path, members, self._read(DATASET_JSON) if DATASET_JSON in members else None)

    def _below(self, folder: str) -> ZipDataset:
        part = copy.copy(self)  # of the same open file, which threads may share
        prefix = f"{folder}/"
        members = {n.removeprefix(prefix): member for n, member in self._members.items() if n.startswith(prefix)}
        part._list(self.path / folder, members)
        return part

    def read(self, index: int) -> bytes:
        return self._read(self.names[index])

    def checksums(self) -> Iterable[tuple[int, int]]:
        return [(self._members[name].file_size, self._members[name].CRC) for name in self.names]

    def _read(self, name: str) -> bytes:
        member, place = self._members[name], one_line(f"{self.path}/{name}")
        size, packed = member.file_size, member.compress_size
        if size > LARGEST_FILE or (size > _BOMB_BYTES and size > _BOMB_RATIO * packed):
            raise DataError(f"{place}: refused as a decompression bomb ({size:,} bytes unpacked, {packed:,} packed)")
        try:
            return self._zip.read(member)
        except Exception as problem:  # of damaged zips, zipfile and its decompressors raise nearly anything
            raise DataError(f"{place}: cannot be read from the zip: {one_line(str(problem))}") from problem
