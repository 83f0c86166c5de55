"""Files of weights from strangers: any header, any metadata, a recipe of their choice."""

from __future__ import annotations

import json
import pickle
import time

import pytest
import torch
from crafted import RECIPE, make_snapshot, safetensors_bytes

from ganzoo.errors import CheckpointError
from ganzoo.training.checkpoint import CHECKPOINT_FORMAT, Trainee, restore_checkpoint
from ganzoo.weights import load_weights, save_weights

META = {"format": "ganzoo-snapshot/1", "sha256": "0" * 64}


def tensor(*, dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_the_snapshot_that_the_others_spoil_is_good(here, said):
    assert "images:" in said("sample", make_snapshot(here), "--seeds", "0", "--device", "cpu")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 7,
        safetensors_bytes({}, length=2**63),
        safetensors_bytes({}, length=2**64 - 1),
        safetensors_bytes({}, length=10**9),
        safetensors_bytes(b"[" * 100_000),
        safetensors_bytes(b'{"__metadata__": ' + b"[" * 50_000),
        safetensors_bytes(b"\xff\xfe{}"),
        safetensors_bytes({"__metadata__": {"a": 1}}),
        safetensors_bytes({"__metadata__": META, "a": tensor(), "b": tensor()}, bytes(8)),  # overlapping
        safetensors_bytes({"__metadata__": META, "a": tensor(offsets=(4, 12))}, bytes(12)),  # a hole
        safetensors_bytes({"__metadata__": META, "a": tensor(offsets=(8, 0))}, bytes(8)),
        safetensors_bytes({"__metadata__": META, "a": tensor(shape=(3,))}, bytes(8)),  # another size
        safetensors_bytes({"__metadata__": META, "a": tensor(shape=(2**62, 2**62))}, bytes(8)),
        safetensors_bytes({"__metadata__": META, "a": tensor(shape=(-2,))}, bytes(8)),
        safetensors_bytes({"__metadata__": META, "a": tensor(shape=(0, 2**63), offsets=(0, 0))}),
        safetensors_bytes({"__metadata__": META, "a": tensor(shape=(0, 2**62), offsets=(0, 0))}),
        safetensors_bytes({"__metadata__": META, "a": tensor(shape=[1] * 1000, dtype="F64")}, bytes(8)),
        safetensors_bytes({"__metadata__": META, "a": tensor(dtype="OBJECT")}, bytes(8)),
        safetensors_bytes({"__metadata__": META, "a": tensor(offsets=(0, 2**63))}, bytes(8)),
        pickle.dumps({"a": 1}),
    ],
)
def test_hostile_headers(here, refused, content):
    path = here / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"bad\.safetensors"):
        load_weights(path)
    assert "bad.safetensors" in refused("sample", path, "--device", "cpu")


@pytest.mark.parametrize(
    "metadata",
    [
        {"nimg": "NaN"},
        {"nimg": "9" * 5000},
        {"nimg": "-1"},
        {"growth": "{}"},
        {"growth": "[" * 100_000},
        {"growth": json.dumps({"resolution": 2**70, "alpha": 1, "batch_size": 1, "g_lr": 1, "d_lr": 1})},
        {"growth": json.dumps({"resolution": 16384, "alpha": 1, "batch_size": 1, "g_lr": 1, "d_lr": 1})},
        {"growth": json.dumps({"resolution": 7, "alpha": 1, "batch_size": 1, "g_lr": 1, "d_lr": 1})},
        {"growth": '{"resolution": 8, "alpha": NaN, "batch_size": 1, "g_lr": 1, "d_lr": 1}'},
        {"model": "null"},
        {"model": '{"img_channels": 3, "c_dim": 1000000000}'},
        {"model": '{"img_channels": 99, "c_dim": 0}'},
        {"model": '{"img_channels": 3, "c_dim": 0, "in_channels": 1000000}'},
        {"class_names": '["one"]'},
        {"class_names": json.dumps("x" * 100)},
        {"plugins": '{"a": {"b": 1}}'},
        {"recipe": ""},
        {"recipe": "a: &a [*a]"},
        {"recipe": "[" * 10_000},
        {"recipe": RECIPE.replace("z_dim: 4", "z_dim: 1000000000000")},
        {"recipe": RECIPE.replace("z_dim: 4", "z_dim: 4611686018427387904")},
        {"recipe": RECIPE.replace("hidden_dim: 6", "hidden_dim: 3000000", 1)},
        {"recipe": RECIPE.replace("hidden_dim: 6", "hidden_dim: 6, hidden_layers: 1000000", 1)},
        {"recipe": RECIPE.replace("img_resolution: 8", "img_resolution: 16384")},
        {"recipe": RECIPE.replace("name: mlp", "name: posix.system", 1)},
        {"recipe": RECIPE.replace("name: mlp", "name: !!python/name:posix.system x", 1)},
        {"recipe": RECIPE + "\x1b[2J: 1\n"},
    ],
)
def test_hostile_metadata(here, refused, metadata):
    path = make_snapshot(here, **metadata)
    started = time.monotonic()
    said = refused("sample", path, "--seeds", "0", "--device", "cpu")
    assert path.name in said
    assert "\x1b" not in said
    assert time.monotonic() - started < 30
    assert [file.name for file in here.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "metadata",
    [
        {"state": "{}x"},
        {"state": '{"nimg": "many"}'},
        {"state": '{"unknown": 1}'},
        {"state": "[" * 100_000},
        {},
    ],
)
@pytest.mark.parametrize("rng", [None, b"[]", b"[" * 100_000, b'{"python": [3, [1], null]}'])
def test_hostile_checkpoints(here, metadata, rng):
    """The digest is right: anyone can compute it."""
    path = here / "checkpoint-1.safetensors"
    tensors = {} if rng is None else {"rng/0": torch.frombuffer(bytearray(rng), dtype=torch.uint8)}
    save_weights(path, tensors, {"format": CHECKPOINT_FORMAT, "data_fingerprint": "x", **metadata})
    with pytest.raises(CheckpointError, match="checkpoint-1"):
        restore_checkpoint(path, Trainee({}, {}), fingerprint="x")
