"""What adaptive augmentation does for 300 images: a metric over training, with and without it, in one picture.

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
import math
import statistics
import sys
from dataclasses import dataclass
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
    parser.add_argument("--metric", default="kid")
    parser.add_argument("--picture", type=Path, help="write the curves here")
    args = parser.parse_args()
    with_ada, without = (curve(run, args.metric) for run in (args.with_ada, args.without))

    print(f"| kimg | {args.metric} without ADA | {args.metric} with ADA |\n|---|---|---|")
    for kimg in sorted(with_ada.keys() | without.keys()):
        print(f"| {kimg:g} | {shown(without.get(kimg))} | {shown(with_ada.get(kimg))} |")
    for name, values in (("without ADA", without), ("with ADA", with_ada)):
        print(f"{name}: best {best(values)}, last {means(values)[-1]}")
    if args.picture:
        draw(args.picture, args.metric, with_ada, without, p_of(args.with_ada))
    least, last = best(without), means(without)[-1]
    rises = last.value - least.value > 2 * math.hypot(last.error, least.error)
    of_ada = best(with_ada)
    falls = of_ada.end >= LATE * max(with_ada) and of_ada.value < least.value
    print(f"rises without ADA: {rises}; falls with ADA, and further: {falls}")
    sys.exit(not (rises and falls))


@dataclass(frozen=True)
class Mean:
    """Of the evaluations from kimg ``start`` to ``end``."""

    start: float
    end: float
    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ± {self.error:.1g} from kimg {self.start:g} to {self.end:g}"


def means(values: Curve, count: int = 5) -> list[Mean]:
    """Of every ``count`` evaluations in a row. Raises SystemExit if there are fewer."""
    at = sorted(values)
    if len(at) < count:
        raise SystemExit(f"{len(at)} evaluations are too few to compare: {count} are needed in each run")
    windows = [at[i : i + count] for i in range(len(at) - count + 1)]
    found = []
    for window in windows:
        numbers = [values[kimg][0] for kimg in window]
        found.append(
            Mean(window[0], window[-1], statistics.mean(numbers), statistics.stdev(numbers) / math.sqrt(count))
        )
    return found


def best(values: Curve) -> Mean:
    """The lowest."""
    return min(means(values), key=lambda mean: mean.value)


def curve(run: Path, metric: str) -> Curve:
    """The metric at each evaluation."""
    results = [(record["nimg"] / 1000, one) for record in lines(run / "metrics.jsonl") for one in record["results"]]
    return {kimg: (one["value"], one["standard_error"] or 0.0) for kimg, one in results if one["name"] == metric}


def p_of(run: Path) -> dict[float, float]:
    """ADA's p at each tick."""
    return {tick["nimg"] / 1000: tick["augmentation"]["p"] for tick in lines(run / "stats.jsonl")}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def shown(value: tuple[float, float] | None) -> str:
    return "" if value is None else f"{value[0]:.3g} ± {value[1]:.1g}"


def draw(path: Path, metric: str, with_ada: Curve, without: Curve, p: dict[float, float]) -> None:
    """The two curves with means of five and their standard errors, and ADA's p below them."""
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(8, 5.5), sharex=True, height_ratios=[3, 1], layout="constrained"
    )
    for name, values, colour in (("without ADA", without, "tab:red"), ("with ADA", with_ada, "tab:blue")):
        top.plot(
            list(values), [value for value, _ in values.values()], color=colour, marker=".", linewidth=0.5, alpha=0.5
        )
        smooth = means(values)
        middle, y = [(mean.start + mean.end) / 2 for mean in smooth], [mean.value for mean in smooth]
        top.errorbar(middle, y, [mean.error for mean in smooth], label=f"{name}, mean of 5", color=colour, capsize=2)
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
