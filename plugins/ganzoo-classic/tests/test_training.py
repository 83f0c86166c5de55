"""Short runs: what only shows once the loop, the optimiser and checkpoints come together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ganzoo
from ganzoo.weights import load_weights

RECIPE: dict[str, Any] = {
    "recipe_version": 1,
    "name": "small",
    "data": {"source": {"name": "faces", "args": {"num_images": 16}}, "img_resolution": 8, "cache": "off"},
    "generator": {"name": "dcgan", "args": {"z_dim": 4, "ngf": 4, "fmap_max": 8}},
    "discriminator": {"name": "dcgan", "args": {"ndf": 4, "fmap_max": 8}},
    "loss": {"name": "wgan"},
    "growth": {"name": "fixed", "args": {"batch_size": 4, "lr": 0.01}},
    "train": {"total_kimg": 0.016, "d_steps": 2, "checkpoint_kimg": 0.008, "grid": [2, 2]},
    "system": {"device": "cpu", "precision": "fp32", "threads": 1, "workers": 0},
}
CLIPPED = RECIPE | {
    "regularizers": [{"name": "weight-clipping", "args": {"clip": 0.01}}],
    "optimizer": {"name": "rmsprop", "args": {}},
}


def checkpoint(run_dir: Path, nimg: int) -> dict[str, Tensor]:
    return load_weights(run_dir / "checkpoints" / f"checkpoint-{nimg:09d}.safetensors")[0]


def longest(run_dir: Path, prefix: str) -> dict[str, float]:
    """Largest magnitude of each trained tensor of one player."""
    tensors = checkpoint(run_dir, 16)
    return {
        name: x.abs().max().item()
        for name, x in tensors.items()
        if name.startswith(prefix) and not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    }


def test_weight_clipping_holds_all_of_d_and_nothing_of_g(tmp_path: Path) -> None:
    run_dir = ganzoo.train(CLIPPED, outdir=tmp_path).run_dir
    sizes = longest(run_dir, "D/")
    assert max(sizes.values()) == pytest.approx(0.01)
    assert max(longest(run_dir, "G/").values()) > 0.1
    assert max(longest(ganzoo.train(RECIPE, outdir=tmp_path).run_dir, "D/").values()) > 0.1


def test_resuming_with_weight_clipping_is_exact(tmp_path: Path) -> None:
    whole = ganzoo.train(CLIPPED, outdir=tmp_path).run_dir
    part = ganzoo.train(CLIPPED, outdir=tmp_path, overrides=["train.total_kimg=0.008"]).run_dir
    ganzoo.train(CLIPPED, resume=part)
    one, two = (checkpoint(run_dir, 16) for run_dir in (whole, part))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
