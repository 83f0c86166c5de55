"""The formats that weights come in: torch's zip and its older format, and plain pickles. Standard library only."""

from __future__ import annotations

import zipfile
from typing import IO, Any

from ganzoo.importing.unpickler import (
    ITEM_SIZE,
    DamagedError,
    RefusedError,
    Storage,
    StorageType,
    Unpickler,
)

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
MAX_STRUCTURE = 64 * 2**20  # bytes of a pickle that holds names and shapes, and no numbers
MAX_RECORDS = 100_000


def read(file: IO[bytes], size: int) -> tuple[str, Any, zipfile.ZipFile | None]:
    """(format, content, archive where storages with a key are) of a file of ``size`` bytes that can be sought.

    Raises RefusedError by name of what it asks for beyond weights, DamagedError where it is no file of weights.
    """
    start = file.read(4)
    file.seek(0)
    if start == b"PK\x03\x04":
        archive = _open_zip(file)
        return "torch", _read_zip(archive), archive
    try:
        first = Unpickler(file, size).load()
    except (RefusedError, MemoryError):
        raise
    except Exception as error:
        if start[:1] == b"\x80":
            raise
        raise DamagedError("it is neither a torch file nor a pickle") from error
    file.seek(0)
    if first == LEGACY_MAGIC:
        return "torch", read_legacy(file, size, None), None
    return "pickle", first, None


def _open_zip(file: IO[bytes]) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise DamagedError(f"its zip is cut off or broken ({error})") from error
    if len(archive.filelist) > MAX_RECORDS:
        raise DamagedError(f"its zip has {len(archive.filelist):,} records")
    return archive


def _read_zip(archive: zipfile.ZipFile) -> Any:
    names = archive.namelist()
    pickles = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise DamagedError("it is a zip, and none that torch.save writes: it has no data.pkl")
    root = pickles[0].removesuffix("data.pkl")
    if root + "constants.pkl" in names:
        raise RefusedError("TorchScript code, of torch.jit.save")
    if root + "byteorder" in names and archive.read(record(archive, root + "byteorder")) != b"little":
        raise DamagedError("its numbers are big-endian, which is not read")
    structure = record(archive, pickles[0])
    if structure.file_size > MAX_STRUCTURE:
        raise DamagedError(f"its structure alone has {structure.file_size:,} bytes")

    storages: dict[tuple[str, str, int], Storage] = {}

    def storage(pid: Any) -> Storage:
        dtype, key, numel = identity = _storage_id(pid)
        if identity in storages:
            return storages[identity]
        found = record(archive, f"{root}data/{key}")
        if found.file_size < numel * ITEM_SIZE[dtype]:
            raise DamagedError(f"its record {key!r} has {found.file_size:,} bytes and should have more")
        return storages.setdefault(identity, Storage(dtype, numel, key=found.filename))

    with archive.open(structure) as file:
        return Unpickler(file, structure.file_size, storage=storage).load()


def record(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """A record of the zip. torch compresses none, so that a file cannot be larger than it is."""
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise DamagedError(f"its record {name!r} is missing") from None
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise DamagedError(f"its record {name!r} is compressed, and torch compresses none")
    return info


def _storage_id(pid: Any) -> tuple[str, str, int]:
    """dtype, key, numel. Raises DamagedError for what is no id of a storage."""
    if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage" and isinstance(pid[1], StorageType)):
        raise DamagedError("a storage without a type")
    if not isinstance(pid[4], int) or not 0 <= pid[4] < 2**48:
        raise DamagedError("a storage without a size")
    return pid[1].dtype, str(pid[2]), pid[4]


def read_legacy(file: IO[bytes], size: int, data: bytes | None) -> Any:
    """torch's format before 1.6, which is also that of storages within pickles. data: the file, if in memory.

    Five pickles (a number, a version, the system, the content, keys of storages), and then the storages.
    """
    if Unpickler(file, size).load() != LEGACY_MAGIC:
        raise DamagedError("a storage that torch did not write")
    for _ in ("version", "system"):
        Unpickler(file, size).load()
    begun: dict[str, _Waiting] = {}

    def storage(pid: Any) -> Storage:
        dtype, key, numel = _storage_id(pid)
        if len(pid) > 5 and pid[5] is not None:
            raise DamagedError("a view of a storage, as torch wrote before 0.4")
        waiting = begun.setdefault(key, _Waiting(dtype, numel, data=data, key=key))
        if (waiting.dtype, waiting.numel) != (dtype, numel):
            raise DamagedError(f"two storages with the key {key!r}")
        return waiting

    content = Unpickler(file, size, storage=storage).load()
    keys = Unpickler(file, size).load()
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(begun):
        raise DamagedError("the list of its storages is not that of its tensors")
    for key in keys:
        waiting = begun[str(key)]
        numel = int.from_bytes(file.read(8), "little")
        start = file.tell()
        if numel != waiting.numel or start + waiting.nbytes > size:
            raise DamagedError("it is cut off, or says wrong sizes")
        waiting.found_at(start)
        file.seek(start + waiting.nbytes)
    return content


class _Waiting(Storage):
    """A storage whose place is known once the content has been read."""

    def found_at(self, start: int) -> None:
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "key", None)
