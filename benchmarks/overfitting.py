"""Does D know its images by heart? What it says of those trained on, of others like them, and of generated ones.

    python benchmarks/overfitting.py with/0000* without/0000*

For runs on a part of what there is (``data.max_images``): D of each checkpoint of a run judges the images of the part,
those left out, and as many of the moving average of G. Prints D's mean logit of each, and where unseen images are
between generated ones (0 %: D knows its images by heart) and those trained on (100 %: D knows what real images are).
Karras et al. 2020 (arXiv:2006.06676), figure 1, watch the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ganzoo import Discriminator, Generator, GrowthState
from ganzoo.build import build_networks
from ganzoo.data.images import uint8_to_float
from ganzoo.data.opening import open_all, open_data
from ganzoo.plugins import load_plugins
from ganzoo.recipe import Recipe, load_recipe
from ganzoo.registry import Registry
from ganzoo.training.checkpoint import list_checkpoints
from ganzoo.weights import load_weights

BATCH = 20  # a multiple of the groups of minibatch standard deviation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="run folders")
    args = parser.parse_args()
    print("| run | kimg | D's logit: trained on | unseen | generated | unseen are at |\n|---|---|---|---|---|---|")
    for run in args.runs:
        judge_run(run)


@torch.no_grad()
def judge_run(run: Path) -> None:
    registry = load_plugins().registry
    recipe = load_recipe(run / "recipe.yaml", registry)
    data = open_data(recipe.data, registry, log=lambda line: None)
    size, total = recipe.data.img_resolution, open_all(recipe.data, data, registry, log=lambda line: None)
    trained, images = (one.read(range(one.info.num_images), size) for one in (data, total))
    known = {image.tobytes() for image in trained}
    unseen = np.stack([image for image in images if image.tobytes() not in known])
    reals = [uint8_to_float(torch.from_numpy(pixels)) for pixels in (trained, unseen)]
    growth = GrowthState(size, alpha=1.0, batch_size=BATCH, g_lr=0.0, d_lr=0.0)
    for checkpoint in list_checkpoints(run / "checkpoints"):
        G, D = players_of(checkpoint, recipe, registry, img_channels=data.info.img_channels)
        torch.manual_seed(0)
        fake = torch.cat([G(torch.randn(BATCH, G.z_dim), growth=growth) for _ in range(len(trained) // BATCH)])
        known_at, unseen_at, fake_at = (mean_logit(D, x, growth) for x in (*reals, fake))
        kimg = int(checkpoint.stem.split("-")[1]) / 1000
        share = (unseen_at - fake_at) / (known_at - fake_at)
        print(f"| {run} | {kimg:.0f} | {known_at:.1f} | {unseen_at:.1f} | {fake_at:.1f} | {share:.0%} |")


def players_of(
    checkpoint: Path, recipe: Recipe, registry: Registry, *, img_channels: int
) -> tuple[Generator, Discriminator]:
    """G's moving average and D, to be evaluated."""
    G, D = build_networks(recipe, registry, img_channels=img_channels, c_dim=0)
    tensors, _ = load_weights(checkpoint)
    for name, module in (("G_ema", G), ("D", D)):
        module.load_state_dict({k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")})
        module.eval()
    return G, D


def mean_logit(D: Discriminator, img: Tensor, growth: GrowthState) -> float:
    """Of whole batches: minibatch standard deviation looks at groups."""
    whole = len(img) // BATCH * BATCH
    return torch.cat([D(part, growth=growth)[:, 0] for part in img[:whole].split(BATCH)]).mean().item()


if __name__ == "__main__":
    main()
