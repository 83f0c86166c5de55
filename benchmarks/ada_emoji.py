"""What adaptive augmentation does for 200 images: a metric over training, with and without it, in one picture.

    ganzoo run recipes/stylegan2_ada_emoji.yaml --data emoji.zip --outdir with
    ganzoo run recipes/stylegan2_ada_emoji.yaml --data emoji.zip --outdir without --set augmentation=null
    python benchmarks/ada_emoji.py --with with/00000-* --without without/00000-* --picture ada.png

Reads ``metrics.jsonl`` and ``stats.jsonl`` of the two runs. Prints a row for each evaluation, and of each run its best
and its last value; exit code 1 unless without ADA the last is worse than the best, beyond twice its standard error, and
with ADA the best is at the end and below the other's.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

Curve = dict[float, tuple[float, float]]  # kimg -> value, standard error
LATE = 0.8  # the best with ADA must come after this share of the run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--with", dest="with_ada", type=Path, required=True, help="run folder with ADA")
    parser.add_argument("--without", type=Path, required=True, help="run folder without")
    parser.add_argument("--metric", default="fid")
    parser.add_argument("--picture", type=Path, help="write the curves here")
    args = parser.parse_args()
    with_ada, without = (curve(run, args.metric) for run in (args.with_ada, args.without))

    print(f"| kimg | {args.metric} without ADA | {args.metric} with ADA |\n|---|---|---|")
    for kimg in sorted(with_ada.keys() | without.keys()):
        print(f"| {kimg:g} | {shown(without.get(kimg))} | {shown(with_ada.get(kimg))} |")
    for name, values in (("without ADA", without), ("with ADA", with_ada)):
        at = best(values)
        print(f"{name}: best {shown(values[at])} at kimg {at:g}, last {shown(values[max(values)])}")
    if args.picture:
        draw(args.picture, args.metric, with_ada, without, p_of(args.with_ada))
    rises = without[max(without)][0] - without[best(without)][0] > 2 * without[max(without)][1]
    falls = best(with_ada) >= LATE * max(with_ada) and with_ada[best(with_ada)][0] < without[best(without)][0]
    print(f"rises without ADA: {rises}; falls with ADA, and further: {falls}")
    sys.exit(not (rises and falls))


def curve(run: Path, metric: str) -> Curve:
    """The metric at each evaluation."""
    results = [(record["nimg"] / 1000, one) for record in lines(run / "metrics.jsonl") for one in record["results"]]
    return {kimg: (one["value"], one["standard_error"] or 0.0) for kimg, one in results if one["name"] == metric}


def p_of(run: Path) -> dict[float, float]:
    """ADA's p at each tick."""
    return {tick["nimg"] / 1000: tick["augmentation"]["p"] for tick in lines(run / "stats.jsonl")}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def best(values: Curve) -> float:
    """Where the metric is lowest."""
    return min(values, key=lambda kimg: values[kimg][0])


def shown(value: tuple[float, float] | None) -> str:
    return "" if value is None else f"{value[0]:.2f} ± {value[1]:.2f}"


def draw(path: Path, metric: str, with_ada: Curve, without: Curve, p: dict[float, float]) -> None:
    """The two curves with their standard errors, and ADA's p below them."""
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(8, 5.5), sharex=True, height_ratios=[3, 1], layout="constrained"
    )
    for name, values, colour in (("without ADA", without, "tab:red"), ("with ADA", with_ada, "tab:blue")):
        y, error = zip(*values.values(), strict=True)
        top.errorbar(list(values), y, error, label=name, color=colour, marker="o", markersize=3, capsize=2)
    top.set(yscale="log", ylabel=f"{metric.upper()} (small), lower is better")
    for axis in (top.yaxis.set_major_formatter, top.yaxis.set_minor_formatter):
        axis("{x:g}")
    top.grid(alpha=0.3, which="both")
    top.legend()
    bottom.plot(list(p), list(p.values()), color="tab:blue")
    bottom.set(xlabel="images shown, thousands", ylabel="ADA's p", ylim=(0, None))
    bottom.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
