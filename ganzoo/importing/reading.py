"""The side of the process that asks: starts the reader of a stranger's file, and checks what it says."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

import ganzoo
from ganzoo.errors import CheckpointError
from ganzoo.interfaces import ForeignNetwork, ForeignWeights

base_seconds = 60  # to read a small file in, however slow the machine
MAX_ANSWER = 256 * 2**20  # bytes of names and shapes

_CHILD = "import sys; sys.path.insert(0, {root!r}); from ganzoo.importing.child import main; main()"
_DTYPES = {
    name: getattr(torch, name)
    for name in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
}


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Storage(_Answer):
    dtype: str
    numel: int = Field(ge=0)
    start: int = Field(ge=0)


class _Network(_Answer):
    kind: str
    class_name: str
    args: dict[str, Any]
    attributes: dict[str, Any]
    tensors: dict[str, tuple[int, int, list[int], list[int]]]


class _Content(_Answer):
    format: str
    networks: dict[str, _Network]
    values: dict[str, Any]
    left_out: list[str]
    storages: list[_Storage]
    unlimited: list[str]


def read_foreign(path: Path, *, log: Callable[[str], None] = lambda line: None) -> ForeignWeights:
    """What a file of others holds, as numbers and names; none of its code is run, and none is imported for it.

    It is read in a process of its own that has given up memory beyond what such a file needs, opening files, starting
    processes. log: is told if this system cannot limit all of that. Raises CheckpointError if the file is missing,
    damaged, or asks for anything but numbers, by the name of what it asks for.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give a file of weights, such as network.pkl or model.pth")
    size = path.stat().st_size
    with tempfile.TemporaryFile() as out:
        with open(path, "rb") as file:
            answer = _ask(path, file, out, size)
        if answer.get("unlimited"):
            log(f"note: this system does not limit {', '.join(map(str, answer['unlimited']))} of the reader of {path}")
        try:
            content = _Content.model_validate(answer)
            return _build(path, content, out)
        except (ValidationError, ValueError, RuntimeError, IndexError, KeyError) as error:
            raise CheckpointError(f"{path}: its reader answered what cannot be: {type(error).__name__}") from error


def _ask(path: Path, file: IO[bytes], out: IO[bytes], size: int) -> dict[str, Any]:
    """The reader's answer. Raises CheckpointError if it refused the file, or did not survive it."""
    seconds = base_seconds + size // (4 * 2**20)
    root = str(Path(ganzoo.__file__).resolve().parent.parent)
    command = [sys.executable, "-I", "-c", _CHILD.format(root=root)]
    try:
        done = subprocess.run(command, stdin=file, stdout=out, stderr=subprocess.PIPE, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise CheckpointError(
            f"{path}: was not read within {seconds} seconds, and is no file of weights, or a hostile one; nothing is "
            "written"
        ) from None
    answer = _last_answer(out) if done.returncode == 0 else None
    if answer is None:
        raise CheckpointError(f"{path}: its reader {_end(done)}: the file is damaged, or hostile; nothing is written")
    if "refused" in answer:
        raise CheckpointError(
            f"{path}: refused: it asks for {answer['refused']}, which no weights need that ganzoo imports. Nothing of "
            "it was run and nothing is written; docs/import.md lists what can be read"
        )
    if "memory" in answer:
        raise CheckpointError(
            f"{path}: refused: it asks for more than {answer['memory'] / 2**20:,.0f} MiB of memory, and has "
            f"{size / 2**20:,.1f} MiB; nothing is written"
        )
    if "damaged" in answer:
        raise CheckpointError(f"{path}: cannot be read as weights: {answer['damaged']}; get the file again")
    return answer


def _last_answer(out: IO[bytes]) -> dict[str, Any] | None:
    end = out.seek(0, 2)
    if end < 8:
        return None
    out.seek(end - 8)
    length = int.from_bytes(out.read(8), "little")
    if length > min(end - 8, MAX_ANSWER):
        return None
    out.seek(end - 8 - length)
    try:
        answer = json.loads(out.read(length))
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _end(done: subprocess.CompletedProcess[bytes]) -> str:
    if done.returncode < 0:
        try:
            name = signal.Signals(-done.returncode).name
        except ValueError:
            name = str(-done.returncode)
        limits = ("SIGXCPU", "SIGKILL")
        return f"was ended by {name}" + (", as one that takes longer or more than it may" if name in limits else "")
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return f"failed ({lines[-1][:200]})" if lines else "gave no answer"


def _build(path: Path, content: _Content, out: IO[bytes]) -> ForeignWeights:
    storages: list[Tensor] = []
    for storage in content.storages:
        dtype = _DTYPES[storage.dtype]
        out.seek(storage.start)
        data = bytearray(out.read(storage.numel * dtype.itemsize))
        storages.append(torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype))
    networks = {}
    for name, network in content.networks.items():
        tensors = {
            key: _view(storages[place], offset, size, stride)
            for key, (place, offset, size, stride) in network.tensors.items()
        }
        networks[name] = ForeignNetwork(
            kind=network.kind,
            class_name=network.class_name,
            args=network.args,
            attributes=network.attributes,
            tensors=tensors,
        )
    return ForeignWeights(networks=networks, values=content.values, left_out=tuple(content.left_out))


def _view(storage: Tensor, offset: int, size: list[int], stride: list[int]) -> Tensor:
    """A tensor of its own, floating point as float32. Checked once more: as_strided would read beyond the storage."""
    if len(size) != len(stride) or min([offset, *size, *stride]) < 0 or math.prod(size) > storage.numel():
        raise ValueError("a view that does not fit")
    if math.prod(size) == 0:
        x = storage.new_empty(size)
    else:
        if offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) >= storage.numel():
            raise ValueError("a view that does not fit")
        x = storage.as_strided(size, stride, offset).clone(memory_format=torch.contiguous_format)
    return x.float() if x.is_floating_point() else x
