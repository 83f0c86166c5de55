"""Images in many large files, read where they lie: tar shards of WebDataset, parquet files of Hugging Face.

For sets that no disk of one machine holds: nothing is unpacked or copied. The order is a shuffled one of shards, and
within a few neighbouring ones of images (``data/batches.py``), so that what is read next lies close together.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import threading
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ganzoo.data.decode import decode
from ganzoo.data.sources.files import is_image_name
from ganzoo.errors import DataError
from ganzoo.interfaces import Dataset

_LARGEST_IMAGE = 2**30  # bytes, encoded
_CACHED_GROUPS = 12  # row groups kept in memory: those that the order mixes, and the next


class _Shards(Dataset):
    """Images in order of files, and within these of places. The fingerprint is over names and sizes, not contents."""

    def __init__(self, path: str, suffix: str) -> None:
        """Raises DataError if there are no shards, or one of them is damaged."""
        self.path = Path(path)
        self.files = [self.path] if self.path.is_file() else sorted(self.path.glob(f"*{suffix}"))
        self.name = self.path.resolve().stem
        if not self.files:
            raise DataError(f"{path}: no {suffix} files")
        self._fingerprint = hashlib.sha256()
        self.shards: Sequence[int] = self._index()
        if not sum(self.shards):
            raise DataError(f"{path}: no images in its {len(self.files)} {suffix} file(s)")
        self._starts = np.concatenate([[0], np.cumsum(self.shards)])
        self._fingerprint.update(b"" if self.labels is None else self.labels.tobytes())
        self._fingerprint.update(json.dumps(self.class_names).encode())
        self.fingerprint = self._fingerprint.hexdigest()[:32]

    def __len__(self) -> int:
        return int(self._starts[-1])

    def image(self, index: int) -> np.ndarray:
        return decode(self._read(*self._place(index)), self.filename(index))

    def _place(self, index: int) -> tuple[int, int]:
        """(shard, number in it)."""
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        return shard, index - int(self._starts[shard])

    @abstractmethod
    def _index(self) -> list[int]:
        """Find the images of every shard, and labels; returns how many each has."""

    @abstractmethod
    def _read(self, shard: int, number: int) -> bytes:
        """An encoded image."""


class TarShards(_Shards):
    """Uncompressed tars, each with images and, if there are classes, a text file ``<key>.cls`` beside each image.

    As WebDataset writes them: ``00017.jpg``, ``00017.cls``. Members are read in place and never extracted.
    """

    def __init__(self, *, path: Annotated[str, Field(description="a .tar, or a folder of them")]) -> None:
        """Raises DataError if there are none, one is damaged, or only some of the images have a class."""
        super().__init__(path, ".tar")

    def filename(self, index: int) -> str:
        shard, number = self._place(index)
        return f"{self.files[shard]}/{self._names[shard][number]}"

    def _index(self) -> list[int]:
        self._names: list[list[str]] = []
        self._offsets: list[np.ndarray] = []
        self._sizes: list[np.ndarray] = []
        classes: list[int | None] = []
        for file in self.files:
            names, offsets, sizes, of_keys = _scan(file)
            self._names.append(names)
            self._offsets.append(np.array(offsets, np.int64))
            self._sizes.append(np.array(sizes, np.int64))
            classes += [of_keys.get(_key(name)) for name in names]
            for name, offset, size in zip(names, offsets, sizes, strict=True):
                self._fingerprint.update(f"{file.name}\0{name}\0{offset}\0{size}\n".encode(errors="surrogateescape"))
        known = [c for c in classes if c is not None]
        if known:
            if len(known) < len(classes):
                name = self._first_without(classes)
                raise DataError(
                    f"{self.path}: {name} has no .cls file, and others have. Add it, or remove all of them."
                )
            self.labels = np.array(known, np.int64)
        return [len(names) for names in self._names]

    def _first_without(self, classes: list[int | None]) -> str:
        number = classes.index(None)
        for file, names in zip(self.files, self._names, strict=True):
            if number < len(names):
                return f"{file.name}/{names[number]}"
            number -= len(names)
        raise AssertionError

    def _read(self, shard: int, number: int) -> bytes:
        size = int(self._sizes[shard][number])
        try:
            with self.files[shard].open("rb") as file:
                file.seek(int(self._offsets[shard][number]))
                data = file.read(size)
        except OSError as problem:
            raise DataError(f"{self.files[shard]}: cannot be read: {problem.strerror or problem}") from problem
        if len(data) < size:
            raise DataError(f"{self.files[shard]}: ends within {self._names[shard][number]}. Copy it again.")
        return data


def _scan(path: Path) -> tuple[list[str], list[int], list[int], dict[str, int]]:
    """Names, offsets and sizes of a tar's images, and classes by key."""
    names, offsets, sizes = [], [], []
    classes: dict[str, int] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if not member.isreg() or member.issparse():
                    continue
                if is_image_name(member.name):
                    if member.size > _LARGEST_IMAGE:
                        raise DataError(f"{path}/{member.name}: {member.size:,} bytes are no honest picture")
                    names.append(member.name)
                    offsets.append(member.offset_data)
                    sizes.append(member.size)
                elif member.name.endswith(".cls"):
                    classes[_key(member.name)] = _class_of(tar, member, path)
                tar.members = []  # type: ignore[attr-defined]  # tarfile would keep them all
            end = path.stat().st_size
    except tarfile.ReadError as problem:
        hint = "" if _is_plain(path) else " Shards are read in place and must not be compressed: unpack it with gunzip."
        raise DataError(f"{path}: cannot be read as a tar: {problem}.{hint}") from problem
    except (tarfile.TarError, OSError) as problem:
        raise DataError(f"{path}: cannot be read as a tar: {problem}") from problem
    if offsets and offsets[-1] + sizes[-1] > end:
        raise DataError(f"{path}: ends within {names[-1]}. Copy it again.")
    return names, offsets, sizes, classes


def _class_of(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> int:
    file = tar.extractfile(member)
    assert file is not None
    text = file.read(32).decode("ascii", errors="replace").strip()
    if not text.isdigit():
        raise DataError(f"{path}/{member.name}: {text!r} is no class; it is to be a number from 0 on")
    return int(text)


def _key(name: str) -> str:
    """What the files of a sample share: the path up to the first dot of its last part."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]


def _is_plain(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) not in (b"\x1f\x8b", b"BZ", b"\xfd7", b"\x28\xb5")


class ParquetShards(_Shards):
    """Parquet files with encoded images in a column, as Hugging Face publishes them; needs the extra ``parquet``.

    The column is ``image``, or the first that holds bytes: binary, or a struct with a field ``bytes``. A column
    ``label`` of integers has the classes. What is read at a time is a row group, of which the last few are kept.
    """

    def __init__(self, *, path: Annotated[str, Field(description="a .parquet, or a folder of them")]) -> None:
        """Raises DataError if there are none, one is damaged, has no images, or pyarrow is not installed."""
        try:
            import pyarrow.parquet
        except ImportError as problem:
            raise DataError(f"{path}: reading parquet needs pyarrow: pip install 'ganzoo[parquet]'") from problem
        self._parquet: Any = pyarrow.parquet
        self._failures = (pyarrow.ArrowException, OSError)
        self._kept: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()
        super().__init__(path, ".parquet")

    def filename(self, index: int) -> str:
        group, number = self._place(index)
        file, row_group = self._groups[group]
        return f"{self.files[file]}: row {number} of row group {row_group}"

    def _index(self) -> list[int]:
        self._groups: list[tuple[int, int]] = []
        sizes, labels = [], []
        for number, path in enumerate(self.files):
            try:
                file = self._parquet.ParquetFile(path)
                if number == 0:
                    self._column = _image_column(file.schema_arrow, path)
                    self.class_names = _class_names(file.schema_arrow)
                    self._has_labels = "label" in file.schema_arrow.names
                if self._column not in file.schema_arrow.names:
                    raise DataError(f"{path}: has no column {self._column!r}, and {self.files[0].name} has")
                if self._has_labels:
                    labels.append(file.read(columns=["label"]).column("label").to_numpy())
                of_groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            except DataError:
                raise
            except (*self._failures, KeyError) as problem:
                raise DataError(f"{path}: cannot be read as parquet: {problem}") from problem
            self._groups += [(number, i) for i in range(len(of_groups))]
            sizes += of_groups
            self._fingerprint.update(f"{path.name}\0{path.stat().st_size}\0{of_groups}\n".encode())
        if labels:
            joined = np.concatenate(labels)
            if joined.dtype.kind not in "iu" or (joined.size and joined.min() < 0):
                raise DataError(f"{self.path}: the column 'label' is to hold classes, whole numbers from 0 on")
            self.labels = joined.astype(np.int64)
        return sizes

    def _read(self, shard: int, number: int) -> bytes:
        with self._lock:
            rows = self._kept.get(shard)
            if rows is None:
                file, row_group = self._groups[shard]
                try:
                    table = self._parquet.ParquetFile(self.files[file]).read_row_group(
                        row_group, columns=[self._column]
                    )
                except self._failures as problem:
                    raise DataError(f"{self.files[file]}: cannot be read: {problem}") from problem
                rows = self._kept[shard] = table.column(self._column)
            self._kept.move_to_end(shard)
            while len(self._kept) > _CACHED_GROUPS:
                self._kept.popitem(last=False)
        value = rows[number].as_py()
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            file, row_group = self._groups[shard]
            raise DataError(
                f"{self.files[file]}: row {number} of row group {row_group} has no bytes, only a path perhaps: embed "
                "the images in the files"
            )
        return data


def _image_column(schema: Any, path: Path) -> str:
    import pyarrow

    def holds_bytes(kind: Any) -> bool:
        if pyarrow.types.is_struct(kind):
            return any(field.name == "bytes" for field in kind)
        return bool(pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))

    found = [field.name for field in schema if holds_bytes(field.type)]
    if not found:
        raise DataError(f"{path}: no column holds encoded images; there are: {', '.join(schema.names)}")
    return "image" if "image" in found else str(found[0])


def _class_names(schema: Any) -> list[str] | None:
    """Those that Hugging Face's ``datasets`` writes into the file."""
    try:
        described = json.loads((schema.metadata or {})[b"huggingface"])
        names = described["info"]["features"]["label"]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def shards_at(path: Path) -> _Shards | None:
    """The shards that ``path`` is or holds, if it does and has no images beside them."""
    names = [path.name] if path.is_file() else [child.name for child in path.iterdir()]
    if any(is_image_name(name) for name in names):
        return None
    if any(name.endswith(".tar") for name in names):
        return TarShards(path=str(path))
    if any(name.endswith(".parquet") for name in names):
        return ParquetShards(path=str(path))
    return None
