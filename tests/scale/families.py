"""A tiny recipe of each family whose training must not depend on how many processes share a batch."""

from __future__ import annotations

import json
from typing import Any

BATCH_SIZE = 8

FAMILIES: dict[str, dict[str, Any]] = {
    # Growing and fading, minibatch stddev over strided groups, a penalty at mixtures, classes of AC-GAN.
    "progan": {
        "data": {"labels": True},
        "generator": {"name": "progan", "args": {"z_dim": 8, "fmap_base": 32, "fmap_max": 8}},
        "discriminator": {"name": "progan", "args": {"fmap_base": 32, "fmap_max": 8, "mbstd_group_size": 4}},
        "loss": {"name": "wgan-gp"},
        "growth": {
            "name": "fade",
            "args": {"batch_size": BATCH_SIZE, "lr": 0.002, "stable_kimg": 0.016, "fade_kimg": 0.024},
        },
    },
    # Lazy regularizers, one with a running mean; noise, mixing, w_avg, and ADA with everything that it draws.
    "stylegan2": {
        "generator": {
            "name": "stylegan2",
            "args": {"z_dim": 8, "w_dim": 8, "mapping_layers": 2, "channel_base": 64, "channel_max": 8},
        },
        "discriminator": {
            "name": "stylegan2",
            "args": {"channel_base": 64, "channel_max": 8, "mapping_layers": 2, "mbstd_group_size": 4},
        },
        "loss": {"name": "non-saturating"},
        "regularizers": [
            {"name": "r1", "args": {"gamma": 1.0, "every": 4}},
            {"name": "path-length", "args": {"every": 2, "batch_shrink": 2}},
        ],
        "augmentation": {
            "name": "ada",
            "args": {"groups": ["blit", "geom", "color", "filter", "noise", "cutout"], "p_start": 0.5},
        },
    },
    # Batch norm over the batch, conditional; labels drawn; two steps of D, of which G sees the second's images; R1.
    "biggan": {
        "data": {"labels": True},
        "generator": {"name": "biggan", "args": {"z_dim": 8, "ch": 4, "shared_dim": 4}},
        "discriminator": {"name": "biggan", "args": {"ch": 4}},
        "loss": {"name": "biggan-hinge"},
        "regularizers": [{"name": "r1", "args": {"gamma": 1.0, "every": 2}}],
        "train": {"d_steps": 2, "reuse_fakes": True},
    },
    # A pool of generated images for each domain, full after the first steps; holes at random places.
    "cyclegan": {
        "data": {"img_resolution": 32, "inputs": {"kind": "degrade", "degrade": {"name": "inpaint"}}},
        "generator": {"name": "cyclegan", "args": {"ngf": 4, "n_blocks": 1}},
        "discriminator": {"name": "cyclegan", "args": {"ndf": 4, "n_layers": 1}},
        "loss": {"name": "cyclegan", "args": {"pool_size": 12}},
        # Instance norm and L1 distances magnify rounding from step to step: the learning rate is that of the paper.
        "growth": {"name": "fixed", "args": {"batch_size": BATCH_SIZE, "lr": 0.0002}},
    },
    # Batch norm of torch's in both, minibatch discrimination, spectra of Gram matrices.
    "dcgan": {
        "generator": {"name": "dcgan", "args": {"z_dim": 8, "ngf": 4, "fmap_max": 8}},
        "discriminator": {
            "name": "dcgan",
            "args": {"ndf": 4, "fmap_max": 8, "mbdisc_kernels": 4},
        },
        "loss": {"name": "minimax", "args": {"saturating": False}},
        "regularizers": ["gdpp"],
        "augmentation": {"name": "diffaugment"},
    },
}


def recipe_of(family: str, *, steps: int, whole_batch: bool = True) -> str:
    """A recipe of 8 px cartoon faces for ``steps`` steps on one thread, every one of which is reported."""
    own = FAMILIES[family]
    growth = {"name": "fixed", "args": {"batch_size": BATCH_SIZE, "lr": 0.002}}
    return json.dumps(
        {
            "seed": 3,
            # Adam makes steps of full size from gradients that are rounding alone, as of a bias before a norm; not so.
            "optimizer": {"args": {"eps": 1e-4}},
            "growth": growth,
            **own,
            "name": family,
            "data": {
                "source": {"name": "faces", "args": {"num_images": 20}},
                "img_resolution": 8,
                "mirror": True,
                **own.get("data", {}),
            },
            "train": {
                "total_kimg": steps * BATCH_SIZE / 1000,
                "tick_kimg": BATCH_SIZE / 1000,
                "image_kimg": 1000,
                "grid": [1, 2],
                **own.get("train", {}),
            },
            "system": {"device": "cpu", "precision": "fp32", "threads": 1, "workers": 0, "whole_batch": whole_batch},
        }
    )
