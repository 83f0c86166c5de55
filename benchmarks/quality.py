"""Does what is faster harm quality? The CIFAR-10 run of ProGAN in two ways, some seeds each, at one small budget.

    python benchmarks/quality.py --data cifar10.zip --out quality                          # fp32 and bf16, 3 seeds each
    python benchmarks/quality.py --data cifar10.zip --out quality --only bf16              # e.g. beside --only fp32
    python benchmarks/quality.py --out quality --picture precision.png                     # the table of what is there
    python benchmarks/quality.py --data cifar10.zip --out reuse --ways train.reuse_fakes=false,true

Each run has a folder in --out; one that is finished is not trained again. Prints the last value of each metric by way
and seed, and how far the means are apart. Exit code 1 if the ranges of the two ways do not overlap in one of the
metrics: then their difference is larger than what seeds do.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from train_step import ROOT, machine

from ganzoo.training.report import read_stats

SCHEDULE = ["growth.args.stable_kimg=3", "growth.args.fade_kimg=3", "eval.every_kimg=8"]
Curve = dict[float, float]  # kimg -> value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="cifar10.zip; without it nothing is trained")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", default=str(ROOT / "recipes" / "progan_cifar10_cpu.yaml"))
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", help=f"instead of {' '.join(SCHEDULE)}")
    parser.add_argument("--kimg", type=float, default=24, help="thousands of images shown to each")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ways", default="system.precision=fp32,bf16", metavar="KEY=SLOW,FAST", help="what differs")
    parser.add_argument("--only", metavar="VALUE", help="train in this way only")
    parser.add_argument("--picture", type=Path, help="write the curves here")
    args = parser.parse_args()
    key, _, values = args.ways.partition("=")
    ways = values.split(",")
    if len(ways) != 2 or args.only not in (None, *ways):
        parser.error("--ways needs one key with two values, and --only one of these")

    if args.data:
        for seed in range(args.seeds):
            for way in (args.only,) if args.only else ways:
                train(args, key, way, seed)
    found = {way: {seed: curves(args.out / f"{way}-{seed}", args.kimg) for seed in range(args.seeds)} for way in ways}
    if missing := [f"{way}-{seed}" for way, seeds in found.items() for seed, of_run in seeds.items() if not of_run]:
        raise SystemExit(f"not finished yet: {', '.join(missing)}")
    print(f"{machine()}; {args.recipe}, {args.kimg:g} kimg, {args.ways}\n")
    alike = [report(metric, found) for metric in found[ways[0]][0]]
    if args.picture:
        draw(found, key, args.picture)
    sys.exit(not all(alike))


def train(args: argparse.Namespace, key: str, way: str, seed: int) -> None:
    """``ganzoo run``, unless it is finished."""
    out = args.out / f"{way}-{seed}"
    if curves(out, args.kimg):
        return
    settings = {key: way, "seed": seed, "train.total_kimg": args.kimg}
    overrides = [f"{name}={value}" for name, value in settings.items()] + (args.set or SCHEDULE)
    command = [sys.executable, "-m", "ganzoo", "run", args.recipe, "--data", args.data, "--outdir", str(out)]
    subprocess.run([*command, *(part for one in overrides for part in ("--set", one))], check=True)


def curves(out: Path, kimg: float) -> dict[str, Curve]:
    """Of each metric of the newest run in a folder; nothing if it has not come to ``kimg``."""
    runs = sorted(out.glob("[0-9]*-*/metrics.jsonl"))
    if not runs:
        return {}
    records = read_stats(runs[-1])
    found: dict[str, Curve] = {}
    for record in records:
        for one in record["results"]:
            found.setdefault(one["name"], {})[record["nimg"] / 1000] = one["value"]
    return found if records and records[-1]["nimg"] / 1000 >= kimg else {}


def report(metric: str, found: dict[str, dict[int, dict[str, Curve]]]) -> bool:
    """Print the last values. True if the ranges of the two ways overlap."""
    last = {way: [list(seeds[seed][metric].values())[-1] for seed in sorted(seeds)] for way, seeds in found.items()}
    for way, values in last.items():
        listed = "  ".join(f"{value:8.4f}" for value in values)
        print(f"{metric:<5s} {way:<5s} {listed}   mean {statistics.mean(values):.4f}")
    low, high = max(map(min, last.values())), min(map(max, last.values()))
    (slow, of_slow), (fast, of_fast) = last.items()
    apart = statistics.mean(of_fast) - statistics.mean(of_slow)
    spread = max(max(values) - min(values) for values in last.values())
    verdict = "ranges overlap" if low <= high else "RANGES DO NOT OVERLAP"
    print(f"{metric:<5s} {fast} - {slow}: {apart:+.4f}, range of seeds {spread:.4f}: {verdict}\n")
    return low <= high


def draw(found: dict[str, dict[int, dict[str, Curve]]], key: str, path: Path) -> None:
    """A panel a metric, a colour a way, a line a seed."""
    from matplotlib import pyplot as plt

    metrics = list(next(iter(found.values()))[0])
    figure, panels = plt.subplots(1, len(metrics), figsize=(4.5 * len(metrics), 3.6), layout="constrained")
    for axes, metric in zip(panels, metrics, strict=True):
        for (way, seeds), colour in zip(found.items(), ("tab:blue", "tab:red"), strict=True):
            for seed, of_run in seeds.items():
                curve = of_run[metric]
                label = f"{key}={way}" if seed == 0 else None
                axes.plot(list(curve), list(curve.values()), color=colour, marker=".", alpha=0.8, label=label)
        axes.set(xlabel="thousand images shown", ylabel=metric, yscale="log")
        axes.grid(alpha=0.3, which="both")
        axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
