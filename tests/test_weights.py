"""Files of weights: whole or not there, and able to tell."""

import os
import stat
import subprocess
import sys

import pytest
import torch

from ganzoo import CheckpointError
from ganzoo.weights import load_weights, read_metadata, save_weights

TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "scalar": torch.tensor(3.5),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "bytes": torch.arange(5, dtype=torch.uint8),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, TENSORS, {"format": "test/1", "note": "é"})
    return path


def test_round_trip(path):
    tensors, metadata = load_weights(path)
    assert {k: v for k, v in metadata.items() if k != "sha256"} == {"format": "test/1", "note": "é"}
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(tensors[name], tensor), name
        assert tensors[name].dtype == tensor.dtype


def test_readable_by_others_and_nothing_left_over(path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(path.parent) == [path.name]


def test_the_digest_depends_on_content_alone(tmp_path):
    one = save_weights(tmp_path / "1", dict(TENSORS), {"x": "1", "y": "2"})
    two = save_weights(tmp_path / "2", dict(reversed(TENSORS.items())), {"y": "2", "x": "1"})
    other = save_weights(tmp_path / "3", TENSORS, {"x": "1", "y": "3"})
    assert one == two != other


def test_every_flipped_bit_is_noticed(path):
    good = path.read_bytes()
    step = max(1, len(good) // 150)
    for position in range(0, len(good), step):
        damaged = bytearray(good)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"w\.safetensors"):
            load_weights(path)


def test_every_truncation_is_noticed(path):
    good = path.read_bytes()
    for length in range(0, len(good), 37):
        path.write_bytes(good[:length])
        with pytest.raises(CheckpointError):
            load_weights(path)


def test_a_missing_file_and_a_strangers_file_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        read_metadata(tmp_path / "none.safetensors")
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="not written by ganzoo"):
        load_weights(tmp_path / "foreign.safetensors")


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_disk_that_refuses_leaves_the_old_file_and_no_other(path):
    """A limit on the size of files stands for a full disk: both make a write in the middle of the file fail."""
    before = path.read_bytes()
    code = (
        "import resource, signal, sys, torch\n"
        "from ganzoo.weights import save_weights\n"
        "from ganzoo import CheckpointError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "try:\n"
        "    save_weights(sys.argv[1], {'a': torch.zeros(100_000)}, {})\n"
        "except CheckpointError as error:\n"
        "    sys.exit('cannot be written' not in str(error))\n"
        "sys.exit(3)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 0
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]
