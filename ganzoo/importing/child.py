"""The process that reads a file of a stranger: file on standard input, numbers and names on standard output.

It gives up, before it looks at the file, whatever the system lets it give up: memory, time, opening files, starting
processes. Standard output must be a file: first the storages, one after the other, then a JSON object, then the length
of that in 8 bytes.
"""

from __future__ import annotations

import codecs
import json
import os
import pickle
import struct
import sys
import zipfile
from typing import IO, Any

from ganzoo.importing import formats
from ganzoo.importing.flatten import Flattener
from ganzoo.importing.unpickler import DamagedError, RefusedError, Storage

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

MIB = 2**20
CHUNK = 4 * MIB
MALFORMED = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    ArithmeticError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    NotImplementedError,
    TypeError,
    ValueError,
    struct.error,
)


def memory_limit(size: int) -> int:
    """Bytes of address space to read a file of ``size`` bytes with."""
    return 512 * MIB + 3 * size


def limit(size: int) -> list[str]:
    """Give up what can be given up; returns what the system does not limit."""
    if resource is None:
        return ["memory", "time", "files", "processes"]
    for codec in ("latin-1", "cp437", "utf-8", "ascii"):  # found in files, which cannot be opened any more then
        codecs.lookup(codec)
    wanted = {
        "memory": ("RLIMIT_AS", memory_limit(size)),
        "time": ("RLIMIT_CPU", 30 + size // (8 * MIB)),
        "output": ("RLIMIT_FSIZE", 256 * MIB + 2 * size),
        "processes": ("RLIMIT_NPROC", 0),
        "core files": ("RLIMIT_CORE", 0),
        "files": ("RLIMIT_NOFILE", 0),
    }
    refused = []
    for what, (name, value) in wanted.items():
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (AttributeError, ValueError, OSError):
            refused.append(what)
    return refused


def main() -> None:
    file, out = sys.stdin.buffer, sys.stdout.buffer
    size = os.fstat(file.fileno()).st_size
    unlimited = limit(size)
    try:
        answer = extract(file, size, out)
    except RefusedError as error:
        answer = {"refused": str(error)[:300]}
    except DamagedError as error:
        answer = {"damaged": str(error)[:300]}
    except MemoryError:
        answer = {"memory": memory_limit(size)}
    except RecursionError:
        answer = {"damaged": "it is nested too deeply"}
    except OSError as error:
        answer = {"damaged": f"it cannot be read ({error.strerror})"}
    except MALFORMED as error:
        answer = {"damaged": f"{type(error).__name__}: {str(error)[:200]}"}
    text = json.dumps({**answer, "unlimited": unlimited}).encode()
    out.write(text + len(text).to_bytes(8, "little"))
    out.flush()


def extract(file: IO[bytes], size: int, out: IO[bytes]) -> dict[str, Any]:
    """Write the numbers of ``file`` to ``out``; returns what they are."""
    format, content, archive = formats.read(file, size)
    found = Flattener()
    found.visit(content)
    places: dict[int, int] = {}
    storages: list[dict[str, Any]] = []
    networks: dict[str, Any] = {}
    position = 0
    for name, network in found.networks.items():
        tensors: dict[str, Any] = {}
        for key, ref in network.tensors.items():
            place = id(ref.storage)
            if place not in places:
                places[place] = len(storages)
                if position + ref.storage.nbytes > 16 * MIB + 2 * size:
                    raise DamagedError("it says that it holds more numbers than it has bytes")
                storages.append({"dtype": ref.storage.dtype, "numel": ref.storage.numel, "start": position})
                position += _copy(ref.storage, file, archive, out)
            tensors[key] = [places[place], ref.offset, list(ref.size), list(ref.stride)]
        networks[name] = {**network.facts(), "tensors": tensors}
    facts = {"networks": networks, "values": found.values, "left_out": found.left_out, "storages": storages}
    return {"format": format, **facts}


def _copy(storage: Storage, file: IO[bytes], archive: zipfile.ZipFile | None, out: IO[bytes]) -> int:
    """Write a storage; returns its bytes."""
    nbytes = storage.nbytes
    if storage.data is not None:
        if storage.start + nbytes > len(storage.data):
            raise DamagedError("a storage that is cut off")
        out.write(memoryview(storage.data)[storage.start : storage.start + nbytes])
        return nbytes
    if storage.key is not None:
        if archive is None:
            raise DamagedError("a storage that is not in the file")
        with archive.open(storage.key) as source:
            _stream(source, nbytes, out)
        return nbytes
    file.seek(storage.start)
    _stream(file, nbytes, out)
    return nbytes


def _stream(source: IO[bytes], nbytes: int, out: IO[bytes]) -> None:
    while nbytes:
        chunk = source.read(min(nbytes, CHUNK))
        if not chunk:
            raise DamagedError("it is cut off")
        out.write(chunk)
        nbytes -= len(chunk)
