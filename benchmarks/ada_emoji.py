"""What adaptive augmentation does for 300 images: a metric over training, with and without it, in one picture.

    ganzoo run recipes/stylegan2_ada_emoji.yaml --data emoji.zip --outdir with
    ganzoo run recipes/stylegan2_ada_emoji.yaml --data emoji.zip --outdir without --set augmentation=null
    ...  # the same with --set seed=1, --set seed=2
    python benchmarks/ada_emoji.py --with with/0000* --without without/0000* --picture ada.png

Reads ``metrics.jsonl`` and ``stats.jsonl`` of the runs. One run swings by as much as the two kinds differ, so it takes
several of each, and means of five evaluations in a row. When the metric is best without ADA is decided for each run
by the others, so that no run is judged at its own luckiest moment. Exit code 1 unless from there to the end the metric
rises without ADA and falls with it, each by more than twice the standard error over runs, and ends lower in every run
with ADA than in any without.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from ganzoo.training.report import read_stats

Curve = dict[float, float]  # kimg -> value
Means = dict[tuple[float, float], float]  # kimg of the first and the last of five evaluations in a row -> mean
COUNT = 5
COLOURS = {"without ADA": "tab:red", "with ADA": "tab:blue"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--with", dest="with_ada", type=Path, nargs="+", required=True, help="run folders with ADA")
    parser.add_argument("--without", type=Path, nargs="+", required=True, help="run folders without")
    parser.add_argument("--metric", default="kid")
    parser.add_argument("--end", type=float, default=math.inf, help="leave out what was measured after so many kimg")
    parser.add_argument("--picture", type=Path, help="write the curves here")
    args = parser.parse_args()
    curves = {
        "without ADA": [smooth(metric_of(run, args.metric, args.end)) for run in args.without],
        "with ADA": [smooth(metric_of(run, args.metric, args.end)) for run in args.with_ada],
    }
    if args.picture:
        draw(args.picture, args.metric, curves, [p_of(run, args.end) for run in args.with_ada])
    if min(map(len, curves.values())) < 2:
        raise SystemExit("no verdict on one run: it swings by as much as ADA changes; give two or more of each kind")
    without, with_ada = curves["without ADA"], curves["with ADA"]
    turns = [best(without[:i] + without[i + 1 :]) for i in range(len(without))]

    print(f"| | {args.metric} when best without ADA | in the end | ratio |\n|---|---|---|---|")
    rise = mean_change("without ADA", without, turns)
    fall = mean_change("with ADA", with_ada, [best(without)] * len(with_ada))
    rises = rise[0] > 2 * rise[1]
    falls = fall[0] < -2 * fall[1] and max(map(last, with_ada)) < min(map(last, without))
    print(f"rises without ADA: {rises}; falls with ADA, and further: {falls}")
    sys.exit(not (rises and falls))


def smooth(values: Curve) -> Means:
    """Means of every five evaluations in a row, in order. Raises SystemExit if there are fewer."""
    at = sorted(values)
    if len(at) < COUNT:
        raise SystemExit(f"{len(at)} evaluations are too few to compare: {COUNT} are needed in each run")
    windows = [at[i : i + COUNT] for i in range(len(at) - COUNT + 1)]
    return {(window[0], window[-1]): statistics.mean(values[kimg] for kimg in window) for window in windows}


def best(curves: Sequence[Means]) -> tuple[float, float]:
    """When the mean over runs is lowest. Raises SystemExit if they were not evaluated at the same kimg."""
    return min(shared(curves).items(), key=lambda item: item[1])[0]


def shared(curves: Sequence[Means]) -> Means:
    """The mean over runs, wherever all of them were evaluated. Raises SystemExit if that is nowhere."""
    spans = [span for span in curves[0] if all(span in curve for curve in curves)]
    if not spans:
        raise SystemExit("the runs were not evaluated at the same kimg: give them the same eval.every_kimg")
    return {span: statistics.mean(curve[span] for curve in curves) for span in spans}


def mean_change(name: str, curves: Sequence[Means], turns: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The logarithm of each run's last value over that at its turn: mean over runs, and standard error. Prints all."""
    changes = []
    for curve, turn in zip(curves, turns, strict=True):
        if turn not in curve:
            raise SystemExit(f"a run {name} has no evaluations from kimg {turn[0]:g} to {turn[1]:g}, which others have")
        end = list(curve)[-1]
        changes.append(math.log(curve[end] / curve[turn]))
        before, after = (f"{curve[span]:.3g} at {span[0]:.0f} to {span[1]:.0f} kimg" for span in (turn, end))
        print(f"| {name} | {before} | {after} | {math.exp(changes[-1]):.2f} |")
    mean, error = statistics.mean(changes), statistics.stdev(changes) / math.sqrt(len(changes))
    low, high = math.exp(mean - error), math.exp(mean + error)
    print(f"| **{name}** | | | **{math.exp(mean):.2f}**, from {low:.2f} to {high:.2f} |")
    return mean, error


def last(curve: Means) -> float:
    return list(curve.values())[-1]


def metric_of(run: Path, metric: str, end: float) -> Curve:
    """The metric at each evaluation."""
    results = [
        (record["nimg"] / 1000, one) for record in read_stats(run / "metrics.jsonl") for one in record["results"]
    ]
    return {kimg: one["value"] for kimg, one in results if one["name"] == metric and kimg <= end}


def p_of(run: Path, end: float) -> Curve:
    """ADA's p at each tick."""
    ticks = [(tick["nimg"] / 1000, tick["augmentation"]["p"]) for tick in read_stats(run / "stats.jsonl")]
    return {kimg: p for kimg, p in ticks if kimg <= end}


def draw(path: Path, metric: str, curves: dict[str, list[Means]], ps: list[Curve]) -> None:
    """A thin line for each run, a thick one for their mean, and ADA's p below them."""
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(8, 5.5), sharex=True, height_ratios=[3, 1], layout="constrained"
    )
    for name, runs in curves.items():
        for one in runs:
            top.plot(*middles(one), color=COLOURS[name], linewidth=0.7, alpha=0.6)
        top.plot(*middles(shared(runs)), color=COLOURS[name], linewidth=2.5, label=f"{name}, mean of {len(runs)} runs")
    top.set(yscale="log", ylabel=f"{metric.upper()} (small), lower is better", title="means of 5 evaluations in a row")
    for axis in (top.yaxis.set_major_formatter, top.yaxis.set_minor_formatter):
        axis("{x:g}")
    top.grid(alpha=0.3, which="both")
    top.legend()
    for p in ps:
        bottom.plot(list(p), list(p.values()), color=COLOURS["with ADA"], linewidth=0.7)
    bottom.set(xlabel="images shown, thousands", ylabel="ADA's p", ylim=(0, None))
    bottom.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def middles(curve: Means) -> tuple[list[float], list[float]]:
    """The middle of each span, and the value."""
    return [(start + end) / 2 for start, end in curve], list(curve.values())


if __name__ == "__main__":
    main()
