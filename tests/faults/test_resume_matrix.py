"""A run that was stopped and resumed ends as one that was not, bit for bit: GANs x precision x readers x processes."""

import itertools
import json

import pytest
from fault_driver import Trial, result_of

from ganzoo.training.checkpoint import list_checkpoints
from ganzoo.weights import load_weights, read_metadata

TOTAL, STOP = 96, 56  # images; 8 a step
FADE = {"name": "fade", "args": {"batch_size": 8, "lr": 0.002, "stable_kimg": 0.024, "fade_kimg": 0.048}}
FIXED = {"name": "fixed", "args": {"batch_size": 8, "lr": 0.002}}
PROGAN = {"fmap_base": 32, "fmap_max": 4}
STYLE = {"z_dim": 8, "w_dim": 8, "mapping_layers": 2, "mixing_prob": 0.9}
STYLE2 = {"channel_base": 32, "channel_max": 4}

GANS = {
    "progan in mid-fade": {
        "generator": {"name": "progan", "args": {"z_dim": 8, **PROGAN}},
        "discriminator": {"name": "progan", "args": PROGAN},
        "loss": {"name": "wgan-gp"},
        "growth": FADE,
    },
    "stylegan with mixing": {
        "generator": {"name": "stylegan", "args": {**STYLE, "mapping_fmaps": 8, **PROGAN}},
        "discriminator": {"name": "stylegan", "args": PROGAN},
        "loss": {"name": "non-saturating"},
        "regularizers": [{"name": "r1", "args": {"gamma": 1.0, "every": 4}}],
        "growth": {**FADE, "args": {**FADE["args"], "start_resolution": 4}},
    },
    "stylegan2 with ada and path length": {
        "generator": {"name": "stylegan2", "args": {**STYLE, **STYLE2}},
        "discriminator": {"name": "stylegan2", "args": STYLE2},
        "loss": {"name": "non-saturating"},
        "regularizers": [
            {"name": "r1", "args": {"gamma": 1.0, "every": 4}},
            {"name": "path-length", "args": {"every": 3}},
        ],
        "augmentation": {"name": "ada", "args": {"ada_kimg": 0.1, "p_start": 0.3}},
        "growth": FIXED,
        "train": {"reuse_fakes": True},
    },
    "biggan with spectral norm": {
        "data": {"labels": True},
        "generator": {"name": "biggan", "args": {"z_dim": 8, "ch": 2, "shared_dim": 4}},
        "discriminator": {"name": "biggan", "args": {"ch": 2}},
        "loss": {"name": "biggan-hinge"},
        "growth": FIXED,
        "train": {"d_steps": 2},
    },
    "cyclegan with its pool": {
        "data": {"inputs": {"kind": "degrade", "degrade": {"name": "inpaint"}}},
        "generator": {"name": "cyclegan", "args": {"ngf": 2, "n_blocks": 1}},
        "discriminator": {"name": "cyclegan", "args": {"ndf": 2, "n_layers": 1}},
        "loss": {"name": "cyclegan", "args": {"pool_size": 6}},
        "growth": FIXED,
    },
}
ALL = list(itertools.product(GANS, ("fp32", "bf16"), (0, 2), (1, 2)))
QUICK = {  # every value once
    ("progan in mid-fade", "fp32", 2, 1),
    ("stylegan2 with ada and path length", "bf16", 0, 1),
    ("cyclegan with its pool", "fp32", 0, 2),
}


def recipe(gan, precision, workers):
    changes = {"eval": None, "system": {"precision": precision, "workers": workers}, **GANS[gan]}
    often = {"total_kimg": TOTAL / 1000, "tick_kimg": 0.04, "checkpoint_kimg": 0.04, "snapshot_kimg": 0.04}
    changes["train"] = {**often, **changes.get("train", {})}
    changes["data"] = {"cache": "auto", **changes.get("data", {})}
    return changes


@pytest.mark.parametrize(
    ("gan", "precision", "workers", "ranks"),
    [pytest.param(*case, marks=[] if case in QUICK else pytest.mark.slow) for case in ALL],
)
def test_the_same_end(world, gan, precision, workers, ranks):
    changes = recipe(gan, precision, workers)
    stopped = Trial(world, ranks=ranks, **changes)
    processes = stopped.start(at=[STOP, "term"])  # the last one gets the signal, and all of them stop
    assert [process.wait() for process in processes] == [143] * ranks
    assert f"stopped by SIGTERM at kimg {STOP / 1000:g}" in processes[0].output, processes[0].output
    newest = list_checkpoints(stopped.run_dir / "checkpoints")[-1]
    state = json.loads(read_metadata(newest)["state"])
    assert state["nimg"] == STOP and ("fading" in state["phase"]) == (GANS[gan]["growth"]["name"] == "fade")
    tensors, _ = load_weights(newest)
    assert ("rng/1" in tensors) == (ranks == 2)
    if gan == "cyclegan with its pool":
        own = {name for name in tensors if name.startswith("rank/")}
        assert not own, "its pool is that of the whole batch, the same in both"
    stopped.finish()
    assert result_of(stopped.run_dir) == world.baseline(ranks=ranks, **changes)
