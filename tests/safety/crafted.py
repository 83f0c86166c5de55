"""Files that strangers could send, and what watches a folder."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import torch

import ganzoo
from ganzoo.interfaces import GrowthState
from ganzoo.training.checkpoint import TrainingState, save_snapshot
from ganzoo_classic.mlp import Generator

RECIPE = """
name: small
data: {source: {name: faces, args: {num_images: 8}}, img_resolution: 8, img_channels: 3}
generator: {name: mlp, args: {z_dim: 4, hidden_dim: 6}}
discriminator: {name: mlp, args: {hidden_dim: 6}}
loss: {name: minimax}
growth: {name: fixed, args: {batch_size: 4}}
train: {total_kimg: 0.01}
"""


def make_snapshot(folder: Path, *, recipe: str = RECIPE, c_dim: int = 0, **metadata: str) -> Path:
    """A whole snapshot of a multi-layer perceptron, digest and all, with metadata of a stranger's choice."""
    torch.manual_seed(0)
    G = Generator(img_resolution=8, img_channels=3, c_dim=c_dim, z_dim=4, hidden_dim=6)
    extra = {"class_names": "null", "plugins": "{}", "ganzoo": ganzoo.__version__, **metadata}
    growth = GrowthState(8, 1.0, 4, 0.001, 0.001)
    return save_snapshot(folder, G, TrainingState(nimg=1000), growth, recipe=recipe, extra=extra)


def safetensors_bytes(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with any header, honest or not. length: what it claims to be long."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tree(*folders: Path) -> dict[str, str]:
    """Every file below ``folders`` with the digest of its contents."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
