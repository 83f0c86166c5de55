"""Files of weights: safetensors only, atomic, and able to tell whether they are whole.

safetensors notices a truncated file but not a flipped bit, so every file carries a SHA-256 of its own contents: names,
dtypes, shapes and bytes of all tensors, and all other metadata. One file is enough; nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ganzoo.errors import CheckpointError
from ganzoo.files import atomic

_DIGEST_KEY = "sha256"
# Shapes that safetensors lets pass, torch may not.
_UNREADABLE = (OSError, SafetensorError, ValueError, TypeError, RuntimeError, OverflowError)


def save_weights(path: Path | str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Write ``tensors`` and ``metadata`` to ``path``, whole or not at all; returns the SHA-256 digest (hex).

    Raises CheckpointError if the file cannot be written; an older file of the same name is then untouched.
    """
    path = Path(path)
    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    digest = content_digest(plain, metadata)
    try:
        with atomic(path, error=CheckpointError, durable=True) as temporary:
            save_file(plain, temporary, {**metadata, _DIGEST_KEY: digest})
            os.chmod(temporary, 0o644)  # safetensors creates 0600, which a colleague or a web server cannot read
    except SafetensorError as error:
        raise CheckpointError(
            f"{path}: cannot be written: {error}. Free some space or choose another folder; "
            "what was written before is untouched."
        ) from error
    return digest


def load_weights(path: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors (on the CPU) and the metadata of ``path``. Raises CheckpointError if it is missing or damaged."""
    path = Path(path)
    metadata = read_metadata(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except _UNREADABLE as error:
        raise CheckpointError(f"{path}: damaged, cannot be read: {_first_line(error)}") from error
    expected = metadata.pop(_DIGEST_KEY, None)
    if expected is None:
        raise CheckpointError(f"{path}: has no '{_DIGEST_KEY}' in its metadata, so it was not written by ganzoo")
    if content_digest(tensors, metadata) != expected:
        raise CheckpointError(f"{path}: damaged: its contents do not have the SHA-256 that was recorded when written")
    return tensors, {**metadata, _DIGEST_KEY: expected}


def read_metadata(path: Path | str) -> dict[str, str]:
    """The metadata of ``path`` without reading (or verifying) its tensors."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: {'is a folder; give a file in it' if path.is_dir() else 'no such file'}")
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except _UNREADABLE as error:
        raise CheckpointError(f"{path}: not a safetensors file, or damaged: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def content_digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 (hex) of tensors and metadata, independent of the order of either."""
    sha = hashlib.sha256(json.dumps(dict(sorted(metadata.items()))).encode())
    for name, tensor in sorted(tensors.items()):
        sha.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        if tensor.numel():
            sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()
