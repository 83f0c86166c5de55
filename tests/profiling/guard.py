"""What a step costs, to be held against what it cost: counts.json, which `python tests/profiling` writes anew.

Operations, kernels and peak memory are counted on fake tensors, and do not vary from run to run.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from ganzoo.plugins import load_plugins
from ganzoo.profiling.phases import growth_of, stretches
from ganzoo.profiling.step import StepCase
from ganzoo.recipe import load_recipe
from ganzoo.training.system import System

COUNTS = Path(__file__).parent / "counts.json"
RECIPES = Path(__file__).parents[2] / "recipes"

_STYLEGAN2 = [
    "augmentation=null",
    "regularizers=[{name: r1, args: {gamma: 1, every: 16}}, {name: path-length, args: {every: 4}}]",
    *(f"{player}.args.channel_max=128" for player in ("generator", "discriminator")),
    "growth.args.batch_size=16",
]
CASES = {
    "progan fp32": ("quickstart", "fp32", []),
    "progan bf16": ("quickstart", "bf16", []),
    "stylegan2 bf16, 16 px": ("stylegan2_ada_emoji", "bf16", _STYLEGAN2),
    "stylegan2 bf16, 32 px": ("stylegan2_ada_emoji", "bf16", [*_STYLEGAN2, "data.img_resolution=32"]),
    "dcgan fp32": ("dcgan_64", "fp32", []),
}
SLOW = {"progan fp32", "stylegan2 bf16, 32 px"}


def count(case: str) -> dict[str, dict[str, int]]:
    """'32 px, D' -> flops, kernels, peak_bytes, for every resolution and part of a step."""
    name, precision, changes = CASES[case]
    registry = load_plugins().registry
    recipe = load_recipe(RECIPES / f"{name}.yaml", registry, changes)
    system = System(torch.device("cpu"), precision, torch.channels_last, 1, "counted")
    found = {}
    for stretch in stretches(recipe, registry, 1):
        growth = growth_of(recipe, registry, stretch)
        step = StepCase.build(recipe, registry, growth, system=system, fake=True)
        step.state.d_step = step.state.g_step = 1  # lazy ones are not due
        step.step()
        for part in step.parts():
            n = step.count(part)
            found[f"{stretch.resolution} px, {part.name}"] = {
                "flops": n.flops,
                "kernels": n.kernels,
                "peak_bytes": n.peak_bytes,
            }
    return found


def write() -> None:
    counts = {"torch": torch.__version__.split("+")[0], "cases": {case: count(case) for case in CASES}}
    COUNTS.write_text(json.dumps(counts, indent=1) + "\n")
