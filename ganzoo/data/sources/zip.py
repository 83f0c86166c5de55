"""Image files in a zip, in the layout of NVIDIA's ``dataset_tool.py`` or any other."""

from __future__ import annotations

import copy
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ganzoo.data.sources.files import DATASET_JSON, ImageFiles, is_image_name
from ganzoo.errors import DataError

_LARGEST_FILE = 2**30  # bytes, unpacked; a few kilobytes of zip can claim any number


class ZipDataset(ImageFiles):
    """Every image in a zip. ``dataset.json`` at its root or class folders give the labels.

    Nothing is ever extracted to a path, so names such as ``../../x.png`` are only names.
    """

    def __init__(self, *, path: Annotated[str, Field(description="the zip")]) -> None:
        """Raises DataError if it is missing, damaged, empty, or labelled inconsistently."""
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as problem:
            raise DataError(f"{path}: cannot be read as a zip: {problem}") from problem
        members = {member.filename.replace("\\", "/"): member for member in self._zip.infolist()}
        self._list(Path(path), members)

    def _list(self, path: Path, members: dict[str, zipfile.ZipInfo]) -> None:
        """Take ``members``, by their names below ``path``, for what there is."""
        self.path, self._members = path, members
        names = sorted(name for name in members if is_image_name(name))
        dataset_json = self._read(DATASET_JSON) if DATASET_JSON in members else None
        super().__init__(path, names, dataset_json)

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
        member = self._members[name]
        if member.file_size > _LARGEST_FILE:
            raise DataError(
                f"{self.path}/{name}: refused as a decompression bomb ({member.file_size:,} bytes unpacked)"
            )
        try:
            return self._zip.read(member)
        except (OSError, EOFError, zlib.error, RuntimeError, NotImplementedError, zipfile.BadZipFile) as problem:
            raise DataError(f"{self.path}/{name}: cannot be read from the zip: {problem}") from problem
