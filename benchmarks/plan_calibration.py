"""How close `ganzoo plan` comes to published seconds per kimg: StyleGAN2 on one A100.

    python benchmarks/plan_calibration.py           # with the efficiencies of ganzoo/profiling/roofline.py
    python benchmarks/plan_calibration.py --fit     # and look for those that come closest

Published by StyleGAN3's authors for the configuration `auto` of stylegan2-ada-pytorch, which is counted here: half the
channels below 512 px, two mapping layers, ADA. Their code has kernels of its own, which fuse what ours does one after
another, and computes in fp16 at the four highest resolutions only, ours in bf16 at all.
"""

from __future__ import annotations

import argparse
import itertools
import math
from pathlib import Path

from ganzoo.plugins import load_plugins
from ganzoo.profiling.gpus import find_gpu
from ganzoo.profiling.phases import count_step, stretches
from ganzoo.profiling.roofline import KERNEL_SECONDS, OF_BANDWIDTH, OF_FLOPS, Rates, seconds
from ganzoo.recipe import load_recipe

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "stylegan2_ffhq_1024.yaml"
PUBLISHED = {128: (32, 6.79), 256: (16, 12.53), 512: (8, 41.06), 1024: (4, 90.39)}  # images a step, s/kimg


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", action="store_true", help="also look for the efficiencies that come closest")
    args = parser.parse_args()
    costs = {resolution: count(resolution, batch) for resolution, (batch, _) in PUBLISHED.items()}
    print(f"of FLOP/s {OF_FLOPS}, of bandwidth {OF_BANDWIDTH}, least time of a kernel {KERNEL_SECONDS * 1e6:g} us")
    show(costs, OF_FLOPS, OF_BANDWIDTH, KERNEL_SECONDS)
    if args.fit:
        shares = [0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 1.0]
        grid = list(itertools.product(shares, [*shares, 1.25, 1.5, 2.0], [1e-6, 2e-6, 3e-6, 5e-6, 7e-6, 10e-6]))
        best = min(grid, key=lambda point: error(costs, *point))
        print(f"\nclosest: of FLOP/s {best[0]}, of bandwidth {best[1]}, least time of a kernel {best[2] * 1e6:g} us")
        show(costs, *best)


def count(resolution: int, batch: int):
    registry = load_plugins().registry
    base = 32768 if resolution >= 512 else 16384
    changes = [
        f"data.img_resolution={resolution}",
        f"generator.args.channel_base={base}",
        f"discriminator.args.channel_base={base}",
        "generator.args.mapping_layers=2",
        f"growth.args.batch_size={batch}",
        "augmentation={name: ada}",
    ]
    recipe = load_recipe(RECIPE, registry, changes)
    return count_step(recipe, registry, stretches(recipe, registry, 1)[0], precision="bf16")


def per_kimg(cost, of_flops: float, of_bandwidth: float, kernel: float) -> float:
    gpu = find_gpu("a100-40")
    rates = Rates(gpu.bf16 * of_flops, gpu.tf32 * of_flops, gpu.bandwidth * of_bandwidth, kernel)
    return sum(times * seconds(operations, rates) for times, operations in cost.parts.values()) / cost.images * 1000


def error(costs, *point: float) -> float:
    return sum(math.log(per_kimg(cost, *point) / PUBLISHED[r][1]) ** 2 for r, cost in costs.items())


def show(costs, *point: float) -> None:
    print("resolution  batch  GFLOP/img  GB/img  kernels  published s/kimg   plan  plan / published")
    for resolution, cost in costs.items():
        batch, published = PUBLISHED[resolution]
        plan = per_kimg(cost, *point)
        print(
            f"{resolution:>10d} {batch:>6d} {cost.flops / batch / 1e9:>10.0f} {cost.bytes_moved / batch / 1e9:>7.1f} "
            f"{cost.kernels:>8.0f} {published:>17.1f} {plan:>6.1f} {plan / published:>17.2f}"
        )


if __name__ == "__main__":
    main()
