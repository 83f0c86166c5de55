"""Which checkpoints stay, and which snapshot is the best."""

import pytest
import torch

from ganzoo.errors import CheckpointError
from ganzoo.training.checkpoint import TrainingState, is_best, list_checkpoints, prune_checkpoints
from ganzoo.weights import save_weights


@pytest.fixture
def checkpoints(tmp_path):
    """Write checkpoints of these ages; a negative one is damaged."""

    def write(*ages):
        for nimg in ages:
            path = tmp_path / f"checkpoint-{abs(nimg):09d}.safetensors"
            save_weights(path, {"x": torch.ones(3)}, {})
            if nimg < 0:
                path.write_bytes(path.read_bytes()[:-1])
        return tmp_path

    return write


def ages(folder):
    return [int(path.stem.split("-")[1]) for path in list_checkpoints(folder)]


def test_the_newest_are_kept(checkpoints):
    folder = checkpoints(8, 16, 24, 1_000_000_000)
    prune_checkpoints(list_checkpoints(folder)[-1], keep=2)
    assert ages(folder) == [24, 1_000_000_000]


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_a_damaged_one_from_before_the_crash_takes_no_place(checkpoints, keep):
    """Resumed at 16, because 24 is damaged, and now at 20: 24 must neither push out 20 nor be taken for it."""
    folder = checkpoints(8, 16, -24, 20)
    prune_checkpoints(folder / "checkpoint-000000020.safetensors", keep)
    assert ages(folder) == [8, 16, 20][-keep:]


def test_nothing_is_deleted_before_the_new_one_was_found_whole(checkpoints):
    folder = checkpoints(8, 16, -24)
    with pytest.raises(CheckpointError, match="damaged"):
        prune_checkpoints(folder / "checkpoint-000000024.safetensors", keep=1)
    assert ages(folder) == [8, 16, 24]


def test_best_is_remembered_with_its_time():
    state = TrainingState(nimg=10)
    assert is_best(state, "fid", 30.0)
    state.nimg = 20
    assert not is_best(state, "fid", 30.0) and not is_best(state, "fid", 31.0)
    assert is_best(state, "recall", 0.2, lower_is_better=False)
    assert is_best(state, "fid", 29.0)
    assert not is_best(state, "recall", 0.1, lower_is_better=False)
    assert state.best == {"fid": (29.0, 20), "recall": (0.2, 20)}
